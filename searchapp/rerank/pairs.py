"""Scoring pairs of a query and a document: tokenized in windows, batched by length within a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from searchapp.encoder.batching import plan_batches
from searchapp.errors import ModelError
from searchapp.progress import Progress

BUDGET = {"cpu": 2_048, "cuda": 16_384}  # padded tokens in a batch
WINDOW = 4_096  # pairs that are tokenized, sorted and held together


@dataclass(frozen=True)
class TokenizedPair:
    """Token ids of one pair and, where the model tells its two texts apart by them, their types."""

    ids: np.ndarray
    types: np.ndarray | None = None


Tokenize = Callable[[Sequence[str], Sequence[str]], list[TokenizedPair]]
Forward = Callable[[list[TokenizedPair]], np.ndarray]


def score_pairs(
    name: str,
    queries: Sequence[str],
    documents: Sequence[Sequence[str]],
    tokenize: Tokenize,
    forward: Forward,
    budget: int,
    progress: Progress | None = None,
) -> list[np.ndarray]:
    """Float32 scores of each query's documents, in order. No score depends on what shares its batch.

    ``forward`` scores one batch of at most ``budget`` padded tokens (or a single longer pair). Raises ModelError for a
    score that is no number.
    """
    pairs = [(query, text) for query, texts in zip(queries, documents, strict=True) for text in texts]
    scores = np.zeros(len(pairs), dtype=np.float32)
    for begin in range(0, len(pairs), WINDOW):
        window = pairs[begin : begin + WINDOW]
        sequences = tokenize([query for query, _ in window], [text for _, text in window])
        for chosen in plan_batches([len(item.ids) for item in sequences], budget):
            scores[begin + chosen] = forward([sequences[place] for place in chosen])
            if progress is not None:
                progress.advance(len(chosen))
    if not np.isfinite(scores).all():
        raise ModelError(f"{name} gives scores that are no numbers; use float32")
    ends = np.cumsum([len(texts) for texts in documents], dtype=np.int64)
    return np.split(scores, ends[:-1]) if len(documents) else []


def pad_right(sequences: Sequence[TokenizedPair], filler: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Token ids int64, mask int64 and types (or None), all (n, longest), padded at the end."""
    longest = max(len(item.ids) for item in sequences)
    ids = np.full((len(sequences), longest), filler, dtype=np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for row, item in enumerate(sequences):
        count = len(item.ids)
        ids[row, :count], mask[row, :count] = item.ids, 1
        if item.types is not None:
            types[row, :count] = item.types
    return ids, mask, types if any(item.types is not None for item in sequences) else None


def pad_left(sequences: Sequence[np.ndarray], filler: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token ids, mask and positions int64, all (n, longest), padded at the beginning.

    A model that is given no positions counts from the first column, padding included.
    """
    longest = max(len(item) for item in sequences)
    ids = np.full((len(sequences), longest), filler, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, item in enumerate(sequences):
        ids[row, longest - len(item) :], mask[row, longest - len(item) :] = item, 1
    return ids, mask, np.maximum(np.cumsum(mask, axis=1) - 1, 0)
