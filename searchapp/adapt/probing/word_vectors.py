"""One vector for each word: the mean of a frozen model's last hidden states at the word's own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from searchapp.encoder import Encoder
from searchapp.encoder.batching import BUDGET, pad, plan_batches
from searchapp.errors import ModelError
from searchapp.progress import Progress, Silent

WINDOW = 1_024  # sentences that are tokenized, sorted and held together


@dataclass(frozen=True)
class WordVectors:
    """``vectors`` float16 (words, dim), zero where ``known`` (words,) is false; ``cut`` sentences were too long."""

    vectors: np.ndarray
    known: np.ndarray
    cut: int


def align(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return which tokens belong to which words of ``" ".join(words)``: two int64 arrays (pairs,), token and word.

    ``offsets`` are the characters each token covers. A token belongs to every word of which it covers a character, one
    that covers a blank only to the word behind it, and one that covers nothing (BOS) to none.
    """
    lengths = np.array([len(word) for word in words])
    ends = np.cumsum(lengths + 1) - 1
    spans = np.array(offsets, dtype=np.int64).reshape(-1, 2)
    first = np.searchsorted(ends, spans[:, 0], side="right")
    last = np.maximum(np.searchsorted(ends - lengths, spans[:, 1], side="left") - 1, first)
    last = np.minimum(last, len(words) - 1)
    counts = np.where(spans[:, 1] > spans[:, 0], last - first + 1, 0)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(np.arange(len(spans)), counts), np.repeat(first, counts) + within


def word_vectors(
    encoder: Encoder,
    sentences: Sequence[Sequence[str]],
    path: Path,
    *,
    shift: bool = False,
    progress: Progress | None = None,
) -> WordVectors:
    """Write every word's vector to ``path``: the mean of the last hidden states at its own tokens.

    With ``shift`` the states one token earlier, which predict its tokens: how MNTP trains a model, and how the paper
    reads one so trained. A sentence is its words joined by blanks, tokenized as the tokenizer does it (with BOS where
    it adds one), without template; what exceeds the model's positions is cut off. A word that is left without a state
    (cut off, dropped by the tokenizer, or the first token with ``shift``) has the zero vector. Memory is bounded by
    ``WINDOW`` sentences. ``progress`` has a stage of the file's name, in sentences. Raises ModelError for values that
    float16 cannot hold.
    """
    known: list[np.ndarray] = []
    cut = 0
    progress = progress or Silent()
    progress.stage(path.name, len(sentences), "sentence")
    with path.open("wb") as file:
        for begin in range(0, len(sentences), WINDOW):
            window = sentences[begin : begin + WINDOW]
            vectors, read, shortened = _read_window(encoder, window, shift)
            vectors.tofile(file)
            known.append(read)
            cut += shortened
            progress.advance(len(window))
    every = np.concatenate(known)
    return WordVectors(np.memmap(path, np.float16, "r", shape=(len(every), encoder.width)), every, cut)


def _read_window(
    encoder: Encoder, sentences: Sequence[Sequence[str]], shift: bool
) -> tuple[np.ndarray, np.ndarray, int]:
    """Vectors float16 (words, dim), which words have one, and how many sentences were cut."""
    positions = getattr(encoder.model.config, "max_position_embeddings", None)
    encodings = encoder.tokenizer.backend_tokenizer.encode_batch([" ".join(words) for words in sentences])
    ids = [np.array(encoding.ids[:positions], dtype=np.int64) for encoding in encodings]
    begins = np.cumsum([0, *map(len, sentences)])
    vectors = np.zeros((begins[-1], encoder.width), dtype=np.float16)
    known = np.zeros(begins[-1], dtype=bool)
    lengths = [len(tokens) for tokens in ids]
    for chosen in plan_batches(lengths, BUDGET[encoder.device]):
        if not lengths[chosen[0]]:  # sorted by length: only empty ones are left
            break
        width = lengths[chosen[0]]
        places, owners = [], []
        for row, number in enumerate(chosen):
            tokens, words = align(sentences[number], encodings[number].offsets[: lengths[number]])
            at = tokens - 1 if shift else tokens
            places.append(row * width + at[at >= 0])
            owners.append(begins[number] + words[at >= 0])
        owner = np.concatenate(owners)
        order = np.argsort(owner, kind="stable")
        found, starts, counts = np.unique(owner[order], return_index=True, return_counts=True)
        if not len(found):
            continue
        states = _states(encoder, [ids[number] for number in chosen], np.concatenate(places)[order])
        with np.errstate(over="ignore"):  # found out below
            vectors[found] = np.add.reduceat(states, starts, axis=0) / counts[:, None]
        known[found] = True
    if not np.isfinite(vectors).all():
        raise ModelError(
            f"{encoder.checkpoint.name} gives values in {encoder.dtype} that are not finite or too large for float16; "
            "use float32, or another model"
        )
    return vectors, known, sum(len(encoding.ids) > length for encoding, length in zip(encodings, lengths, strict=True))


def _states(encoder: Encoder, sequences: Sequence[np.ndarray], places: np.ndarray) -> np.ndarray:
    """Last hidden states, float32 (places, dim), at flat ``places`` of the batch, longest sequence first."""
    import torch

    ids, mask = pad(sequences, encoder.tokenizer, encoder.model.config.vocab_size)
    place = next(encoder.model.parameters()).device
    with torch.inference_mode():
        hidden = encoder.model(
            input_ids=torch.from_numpy(ids).to(place),
            attention_mask=None if mask.all() else torch.from_numpy(mask.astype(np.int64)).to(place),
            use_cache=False,
        ).last_hidden_state
        states: np.ndarray = hidden.flatten(0, 1)[torch.from_numpy(places).to(place)].float().cpu().numpy()
    return states
