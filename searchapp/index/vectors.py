"""The stored vectors: fp16, one file a segment, read in blocks while building and by row while rescoring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from searchapp.index.manifest import Segment

BLOCK = 8_192  # rows held in memory at a time


class Vectors:
    """Float32 views of the segments' vectors; ``dim`` is their length."""

    def __init__(self, folder: Path, segments: Sequence[Segment], dim: int) -> None:
        self.dim = dim
        self.rows = sum(segment.count for segment in segments)
        self._folder = folder
        self._segments = segments
        self._bases = np.array([segment.base for segment in segments], dtype=np.int64)
        self._maps: dict[int, np.ndarray] = {}

    def blocks(self, size: int = BLOCK, start: int = 0) -> Iterator[np.ndarray]:
        """Yield the vectors from row ``start`` on, in order, as float32 blocks (at most size, dim), by plain reads.

        Memory-mapped pages would count as this process's memory; what is read here is gone after each block.
        """
        for segment in self._segments:
            path = self._folder / segment.vectors
            for begin in range(max(0, start - segment.base), segment.count, size):
                count = min(size, segment.count - begin)
                flat = np.fromfile(path, dtype="<f2", count=count * self.dim, offset=begin * self.dim * 2)
                yield flat.reshape(count, self.dim).astype(np.float32)

    def raw(self, number: int, kept: np.ndarray) -> bytes:
        """The stored bytes of one segment's rows where the mask ``kept`` is true."""
        flat = np.fromfile(self._folder / self._segments[number].vectors, dtype="<f2")
        return flat.reshape(-1, self.dim)[kept].tobytes()

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Float32 (len(rows), dim) of the given row numbers, memory-mapped: only their pages are read."""
        out = np.empty((len(rows), self.dim), dtype=np.float32)
        numbers = np.searchsorted(self._bases, rows, side="right") - 1
        for number in np.unique(numbers):
            chosen = numbers == number
            out[chosen] = self._map(int(number))[rows[chosen] - self._bases[number]]
        return out

    def sample(self, size: int, seed: int = 0) -> np.ndarray:
        """At most ``size`` distinct random rows, in row order: training on the first rows costs recall."""
        if self.rows <= size:
            return np.concatenate([*self.blocks()]) if self.rows else np.zeros((0, self.dim), dtype=np.float32)
        rows = np.sort(np.random.default_rng(seed).choice(self.rows, size=size, replace=False))
        return self.gather(rows)

    def _map(self, number: int) -> np.ndarray:
        if number not in self._maps:
            segment = self._segments[number]
            self._maps[number] = np.memmap(
                self._folder / segment.vectors, dtype="<f2", mode="r", shape=(segment.count, self.dim)
            )
        return self._maps[number]
