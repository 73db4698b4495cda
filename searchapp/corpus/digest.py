"""Digests of documents in memory: whether they are those that were given before, at about the speed of memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache

import numpy as np

WORDS = 4_096  # of 64 bits, whose weighted sum is taken
BLOCK = 8 * WORDS  # bytes
TOGETHER = 4  # such sums at once: what they are made of stays in the processor's cache


def sums(numbers: np.ndarray) -> bytes:
    """Sums of an array's bytes as words of 64 bits, each with its own odd weight, modulo 2 ** 64.

    Two arrays that differ have the same sums with a probability of 2 ** -32 at most (multilinear hashing: Lemire and
    Kaser, "Strongly universal string hashing is fast", The Computer Journal 2014, section 2); the upper half of each
    word is mixed into the lower one first, which is what a change of one number in two changes. It is no defence
    against arrays that were made to be alike.
    """
    held = np.ascontiguousarray(numbers).reshape(-1).view(np.uint8)
    rest = len(held) % BLOCK
    last = np.zeros(BLOCK, dtype=np.uint8)
    last[:rest] = held[len(held) - rest :]
    found = [np.array([len(held)], dtype=np.uint64), *_blocks(held[: len(held) - rest]), *_blocks(last)]
    return np.concatenate(found).tobytes()


class Sums:
    """``sums`` of arrays behind each other: the same for the same numbers, however they are cut."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=32)
        self._last = np.zeros(BLOCK, dtype=np.uint8)  # what has not filled a block yet
        self._size = 0  # in bytes

    def update(self, numbers: np.ndarray) -> None:
        """Take an array."""
        held = np.ascontiguousarray(numbers).reshape(-1).view(np.uint8)
        begun = self._size % BLOCK
        self._size += len(held)
        if begun:
            first, held = held[: BLOCK - begun], held[BLOCK - begun :]
            self._last[begun : begun + len(first)] = first
            if begun + len(first) < BLOCK:
                return
            self._add(self._last)
        whole = len(held) - len(held) % BLOCK
        self._add(held[:whole])
        self._last[: len(held) - whole] = held[whole:]

    def digest(self) -> bytes:
        """The digest of all arrays; nothing can be taken after that."""
        self._last[self._size % BLOCK :] = 0
        self._add(self._last)
        self._hash.update(b"%d" % self._size)
        return self._hash.digest()

    def _add(self, held: np.ndarray) -> None:
        for found in _blocks(held):
            self._hash.update(found.tobytes())


def _blocks(held: np.ndarray) -> Iterator[np.ndarray]:
    """The sums of bytes that are whole blocks, some at once."""
    words = held.view(np.uint64).reshape(-1, WORDS)
    room = np.empty((TOGETHER, WORDS), dtype=np.uint64)
    for begin in range(0, len(words), TOGETHER):
        part = words[begin : begin + TOGETHER]
        yield _summed(part, room[: len(part)])


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
