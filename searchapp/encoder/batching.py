"""Which texts go through the model together, sorted by token count within a budget, and how they are padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from searchapp.errors import ModelError

# Positions computed in a batch, by device. On a CPU a packed batch gains from size up to here; a padded one loses more
# to padding (docs/log.md, 2026-11-24).
BUDGET = {"cpu": 2_048, "cuda": 16_384}
PACKED_BUDGET = {"cpu": 4_096, "cuda": 16_384}


def next_batch(longest_first: np.ndarray, budget: int, most: int | None = None, *, padded: bool = True) -> int:
    """How many texts make the next batch, of texts sorted by length, longest first; at least one.

    The batch stays within ``budget`` positions: padded, n texts take n times the longest; packed, the sum of their
    lengths. ``most`` bounds the number of texts.
    """
    if padded:
        count = budget // max(1, int(longest_first[0]))
    else:
        count = int(np.searchsorted(np.cumsum(longest_first[: budget + 1]), budget, side="right"))
    return max(1, min(count, len(longest_first), most or len(longest_first)))


def plan_batches(lengths: Sequence[int], budget: int, most: int | None = None) -> Iterator[np.ndarray]:
    """Yield the index arrays of padded batches, longest texts first; each of ``range(len(lengths))`` is in one.

    Longest first, so that a batch that does not fit in memory shows at once. A batch of n texts takes n times its
    longest length, and stays within ``budget`` positions unless a single text is longer. ``most`` bounds the texts in a
    batch.
    """
    sizes = np.asarray(lengths)
    order = np.argsort(-sizes, kind="stable")
    while len(order):
        count = next_batch(sizes[order], budget, most)
        yield order[:count]
        order = order[count:]


def pad(sequences: Sequence[np.ndarray], tokenizer: Any, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """Pad token ids on the right: ids int64 and mask bool, both (n, longest).

    The pad token is one for which the model has an embedding, even if the tokenizer names another. The mask is false
    where it stands. Raises ModelError for a token that the model does not know.
    """
    candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    filler = next((int(token) for token in candidates if token is not None and 0 <= token < vocabulary), 0)
    lengths = np.array([len(sequence) for sequence in sequences])
    ids = np.full((len(sequences), int(lengths.max())), filler, dtype=np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    require_known(ids, vocabulary)
    return ids, np.arange(ids.shape[1])[None, :] < lengths[:, None]


def require_known(ids: np.ndarray, vocabulary: int) -> None:
    """Raise ModelError when a token has no embedding."""
    if ids.size and (highest := int(ids.max())) >= vocabulary:
        raise ModelError(
            f"the tokenizer gives token {highest}, the model knows {vocabulary}; they belong to different models: use "
            "the tokenizer that came with the model"
        )
