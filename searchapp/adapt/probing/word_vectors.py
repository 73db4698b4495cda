"""One vector for each word: the mean of a frozen model's last hidden states at the word's own tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
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
    return read_both(encoder, sentences, {shift: path}, progress=progress)[shift]


def read_both(
    encoder: Encoder,
    sentences: Sequence[Sequence[str]],
    paths: Mapping[bool, Path],
    *,
    progress: Progress | None = None,
) -> dict[bool, WordVectors]:
    """``word_vectors`` of each shift that has a path, out of one pass over the sentences."""
    known: dict[bool, list[np.ndarray]] = {shift: [] for shift in paths}
    cut = 0
    progress = progress or Silent()
    progress.stage(next(iter(paths.values())).name, len(sentences), "sentence")
    with ExitStack() as stack:
        files = {shift: stack.enter_context(path.open("wb")) for shift, path in paths.items()}
        for begin in range(0, len(sentences), WINDOW):
            window = sentences[begin : begin + WINDOW]
            read, shortened = _read_window(encoder, window, tuple(paths))
            for shift, (vectors, found) in read.items():
                vectors.tofile(files[shift])
                known[shift].append(found)
            cut += shortened
            progress.advance(len(window))
    every = {shift: np.concatenate(parts) for shift, parts in known.items()}
    return {
        shift: WordVectors(
            np.memmap(path, np.float16, "r", shape=(len(every[shift]), encoder.width)), every[shift], cut
        )
        for shift, path in paths.items()
    }


def _read_window(
    encoder: Encoder, sentences: Sequence[Sequence[str]], shifts: Sequence[bool]
) -> tuple[dict[bool, tuple[np.ndarray, np.ndarray]], int]:
    """By shift, vectors float16 (words, dim) and which words have one; and how many sentences were cut."""
    positions = getattr(encoder.model.config, "max_position_embeddings", None)
    encodings = encoder.tokenizer.backend_tokenizer.encode_batch([" ".join(words) for words in sentences])
    ids = [np.array(encoding.ids[:positions], dtype=np.int64) for encoding in encodings]
    begins = np.cumsum([0, *map(len, sentences)])
    read = {
        shift: (np.zeros((begins[-1], encoder.width), dtype=np.float16), np.zeros(begins[-1], dtype=bool))
        for shift in shifts
    }
    lengths = [len(tokens) for tokens in ids]
    for chosen in plan_batches(lengths, BUDGET[encoder.device]):
        width = lengths[chosen[0]]
        if not width:  # sorted by length: only empty ones are left
            break
        pairs = [align(sentences[number], encodings[number].offsets[: lengths[number]]) for number in chosen]
        places = np.concatenate([tokens + row * width for row, (tokens, _) in enumerate(pairs)])
        owners = np.concatenate([words + begins[number] for number, (_, words) in zip(chosen, pairs, strict=True)])
        states = _states(encoder, [ids[number] for number in chosen])
        for shift, (vectors, known) in read.items():
            kept = places % width > 0 if shift else np.ones(len(places), dtype=bool)
            order = np.argsort(owners[kept], kind="stable")
            found, starts, counts = np.unique(owners[kept][order], return_index=True, return_counts=True)
            if not len(found):
                continue
            rows = states[places[kept][order] - shift]
            with np.errstate(over="ignore"):  # found out below
                vectors[found] = np.add.reduceat(rows, starts, axis=0) / counts[:, None]
            known[found] = True
    if not all(np.isfinite(vectors).all() for vectors, _ in read.values()):
        raise ModelError(
            f"{encoder.checkpoint.name} gives values in {encoder.dtype} that are not finite or too large for float16; "
            "use float32, or another model"
        )
    cut = sum(len(encoding.ids) > length for encoding, length in zip(encodings, lengths, strict=True))
    return read, cut


def _states(encoder: Encoder, sequences: Sequence[np.ndarray]) -> np.ndarray:
    """Last hidden states of every place of the batch, float32 (places, dim), longest sequence first."""
    import torch

    ids, mask = pad(sequences, encoder.tokenizer, encoder.model.config.vocab_size)
    place = next(encoder.model.parameters()).device
    with torch.inference_mode():
        hidden = encoder.model(
            input_ids=torch.from_numpy(ids).to(place),
            attention_mask=None if mask.all() else torch.from_numpy(mask.astype(np.int64)).to(place),
            use_cache=False,
        ).last_hidden_state
        states: np.ndarray = hidden.flatten(0, 1).float().cpu().numpy()
    return states
