"""Digests of documents in memory: whether they are those that were given before, at about the speed of memory."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

WORDS = 4_096  # of 64 bits, whose weighted sum is taken
TOGETHER = 4  # such sums at once: what they are made of stays in the processor's cache


def batch_bytes(batch: Any, vectors: str | None) -> list[bytes]:
    """What tells a record batch of Arrow from others: its columns, and of those with numbers of vectors their sums."""
    from searchapp.corpus.vector_column import vector_column
    from searchapp.errors import CorpusError

    if vectors is not None and vectors in batch.schema.names:
        try:
            numbers = vector_column(batch, vectors)
        except CorpusError:  # said where the documents are read
            return [batch.serialize()]
        return [batch.drop_columns([vectors]).serialize(), sums(numbers)]
    return [batch.serialize()]


def sums(numbers: np.ndarray) -> bytes:
    """Sums of an array's bytes as words of 64 bits, each with its own odd weight, modulo 2 ** 64.

    Two arrays that differ have the same sums with a probability of 2 ** -32 at most (multilinear hashing: Lemire and
    Kaser, "Strongly universal string hashing is fast", The Computer Journal 2014, section 2); the upper half of each
    word is mixed into the lower one first, which is what a change of one number in two changes. It is no defence
    against arrays that were made to be alike.
    """
    held = np.ascontiguousarray(numbers).reshape(-1).view(np.uint8)
    rest = len(held) % (8 * WORDS)
    whole = held[: len(held) - rest].view(np.uint64).reshape(-1, WORDS)
    last = np.zeros(8 * WORDS, dtype=np.uint8)
    last[:rest] = held[len(held) - rest :]
    room = np.empty((TOGETHER, WORDS), dtype=np.uint64)
    found = [np.array([len(held)], dtype=np.uint64)]
    for begin in range(0, len(whole), TOGETHER):
        part = whole[begin : begin + TOGETHER]
        found.append(_summed(part, room[: len(part)]))
    found.append(_summed(last.view(np.uint64)[None], room[:1]))
    return np.concatenate(found).tobytes()


def _summed(words: np.ndarray, room: np.ndarray) -> np.ndarray:
    np.right_shift(words, np.uint64(32), out=room)
    room ^= words
    room *= _weights()
    made: np.ndarray = room.sum(axis=1)
    return made


@cache
def _weights() -> np.ndarray:
    """Odd numbers of 64 bits, always the same."""
    drawn = np.random.Generator(np.random.PCG64(20_261_130)).integers(0, 2**63, WORDS, dtype=np.uint64)
    return drawn * np.uint64(2) + np.uint64(1)
