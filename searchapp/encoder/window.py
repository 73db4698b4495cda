"""A window of a stream: texts that are read, looked up, tokenized and sorted together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from searchapp.encoder.cache import VectorCache

FIRST, TEXTS = 512, 8_192  # texts in the first window, which the model waits for; it doubles up to the second
SHARD = 512  # texts in a window that one of several devices takes
CHARACTERS = 16_000_000  # a window's texts are held in memory


class EncodeInput(NamedTuple):
    """A text, and the instruction that is put before it."""

    text: str
    instruction: str | None


def windows(inputs: Iterable[EncodeInput], most: int | None = None) -> Iterator[list[EncodeInput]]:
    """Cut a stream into windows, of ``most`` texts or growing. When it raises, what it gave before comes first."""
    held: list[EncodeInput] = []
    size, characters = min(FIRST, most or FIRST), 0
    try:
        for item in inputs:
            held.append(item)
            characters += len(item.text)
            if len(held) >= size or characters >= CHARACTERS:
                yield held
                held, size, characters = [], min(2 * size, most or TEXTS), 0
    except Exception:
        if held:
            yield held
        raise
    if held:
        yield held


@dataclass(frozen=True)
class Window:
    """The inputs of a window, each once.

    ``which`` (n,) says which of them each text is. ``known`` holds the vectors that the cache had, by the same numbers;
    ``missing`` are the inputs that are left to compute, and ``keys`` their keys in the cache.
    """

    which: np.ndarray
    known: dict[int, np.ndarray]
    missing: list[EncodeInput]
    keys: list[bytes]

    @classmethod
    def open(cls, inputs: Sequence[EncodeInput], cache: VectorCache | None, scope: str) -> Window:
        """Find what the encoder that ``scope`` names has to compute for these inputs."""
        unique = {item: number for number, item in enumerate(dict.fromkeys(inputs))}
        which = np.array([unique[item] for item in inputs], dtype=np.int64)
        if cache is None:
            return cls(which, {}, list(unique), [])
        keys = [cache.key(scope, *item) for item in unique]
        known = cache.read(keys)
        left = [number for number in range(len(keys)) if number not in known]
        every = list(unique)
        return cls(which, known, [every[number] for number in left], [keys[number] for number in left])

    def fill(self, computed: np.ndarray, dim: int, cache: VectorCache | None) -> np.ndarray:
        """Put ``computed`` float32 (missing, dim) beside what was known: float32 (n, dim) in the order of the texts."""
        if cache is not None:
            cache.write(self.keys, computed)
        if not self.known:
            return computed if len(computed) == len(self.which) else computed[self.which]
        vectors = np.empty((len(self.known) + len(computed), dim), dtype=np.float32)
        left = np.ones(len(vectors), dtype=bool)
        for number, vector in self.known.items():
            vectors[number], left[number] = vector, False
        vectors[left] = computed
        every: np.ndarray = vectors[self.which]
        return every
