"""The stored vectors: fp16, one file a segment, read in blocks while building and by row while rescoring.

Rounding to fp16 moves a vector's length off 1; what comes out as float32 has length 1 again, so that an inner product
with a unit query is the cosine.
"""

from __future__ import annotations

import mmap
import os
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from searchapp.index.manifest import Segment

BLOCK = 8_192  # rows held in memory at a time
RUN = 4  # rows of one segment from which one indexed read is cheaper than a copy of each


class Stored(Protocol):
    """Fp16 vectors of ``dim`` numbers, by row number."""

    dim: int

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """The vectors (len(rows), dim) of the given rows."""


class Held:
    """A ``Stored`` in memory."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.dim = vectors.shape[1]
        self._vectors = vectors

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of the given rows."""
        found: np.ndarray = self._vectors[rows]
        return found


class Vectors:
    """Float32 views of the segments' vectors; ``dim`` is their length.

    Rows are read from memory-mapped files, or, with ``mapped`` false, by a call each: slower by a microsecond, but what
    is mapped counts as this process's memory, and measuring an index while it is built touches every page.

    ``alive`` is a mask over the rows, false where one is gone: these are read like any other, but never among the
    ``count`` rows that ``living`` and every sample are of.
    """

    def __init__(
        self,
        folder: Path,
        segments: Sequence[Segment],
        dim: int,
        *,
        mapped: bool = True,
        alive: np.ndarray | None = None,
    ) -> None:
        self.dim = dim
        self._mapped = mapped
        self.rows = sum(segment.count for segment in segments)
        self.alive = alive
        self.count = self.rows if alive is None else int(alive.sum())
        self._folder = folder
        self._segments = segments
        self._bases = np.array([segment.base for segment in segments], dtype=np.int64)
        self._maps: dict[int, np.ndarray] = {}

    def blocks(self, size: int = BLOCK, start: int = 0) -> Iterator[np.ndarray]:
        """Yield the vectors from row ``start`` on as float32 blocks (at most size, dim) of unit rows, by plain reads.

        Memory-mapped pages would count as this process's memory; what is read here is gone after each block.
        """
        for segment in self._segments:
            path = self._folder / segment.vectors
            for begin in range(max(0, start - segment.base), segment.count, size):
                count = min(size, segment.count - begin)
                flat = np.fromfile(path, dtype="<f2", count=count * self.dim, offset=begin * self.dim * 2)
                yield unit(widen(flat.reshape(count, self.dim)))

    def among(self, alive: np.ndarray | None) -> Vectors:
        """The same vectors with another mask of the rows that are there."""
        return Vectors(self._folder, self._segments, self.dim, mapped=self._mapped, alive=alive)

    def living(self, end: int | None = None) -> Iterator[np.ndarray]:
        """Yield the rows that are there, all or those before row ``end``, as float32 blocks of unit rows."""
        begin, end = 0, self.rows if end is None else end
        for block in self.blocks():
            if begin >= end:
                return
            inside = block[: end - begin]
            kept = inside if self.alive is None else inside[self.alive[begin : begin + len(inside)]]
            begin += len(block)
            if len(kept):
                yield kept

    def nth(self, places: np.ndarray) -> np.ndarray:
        """The numbers of rows that are there, by their place (from 0 to ``count`` - 1) among these."""
        return places if self.alive is None else np.flatnonzero(self.alive)[places]

    def raw(self, number: int, kept: np.ndarray) -> bytes:
        """The stored bytes of one segment's rows where the mask ``kept`` is true."""
        flat = np.fromfile(self._folder / self._segments[number].vectors, dtype="<f2")
        return flat.reshape(-1, self.dim)[kept].tobytes()

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 (len(rows), dim) of the given row numbers."""
        return unit(widen(self.stored(rows)))

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """The fp16 vectors (len(rows), dim) of the given row numbers; only their pages are read."""
        if not len(rows):
            return np.empty((0, self.dim), dtype="<f2")
        if len(self._segments) == 1 and self._mapped:
            found: np.ndarray = self._map(0)[rows]
            return found
        out = np.empty((len(rows), self.dim), dtype="<f2")
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        numbers = np.searchsorted(self._bases, ascending, side="right") - 1
        starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
        for begin, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            number = int(numbers[begin])
            places = ascending[begin:end] - self._bases[number]
            if not self._mapped:
                self._read(number, places.tolist(), order[begin:end].tolist(), out)
                continue
            source = self._map(number)
            if end - begin >= RUN:
                out[order[begin:end]] = source[places]
            else:
                for target, place in zip(order[begin:end].tolist(), places.tolist(), strict=True):
                    out[target] = source[place]
        return out

    def sample(self, size: int, seed: int = 0) -> np.ndarray:
        """At most ``size`` distinct random rows that are there, unit float32, in row order.

        The first rows would train worse.
        """
        return np.concatenate([np.zeros((0, self.dim), dtype=np.float32), *self.sampled_blocks(size, seed)])

    def sampled_blocks(self, size: int, seed: int = 0) -> Iterator[np.ndarray]:
        """The same in blocks of at most ``BLOCK`` rows; all rows where there are no more than ``size``."""
        if self.count <= size:
            yield from self.living()
            return
        rows = self.sampled(size, seed)
        reader = Vectors(self._folder, self._segments, self.dim, mapped=False)
        for begin in range(0, size, BLOCK):
            yield reader.gather(rows[begin : begin + BLOCK])

    def sampled(self, size: int, seed: int = 0) -> np.ndarray:
        """The numbers of at most ``size`` distinct random rows that are there, ascending."""
        if self.count <= size:
            return self.nth(np.arange(self.count))
        return self.nth(np.sort(np.random.default_rng(seed).choice(self.count, size=size, replace=False)))

    def _read(self, number: int, places: list[int], targets: list[int], out: np.ndarray) -> None:
        """Read rows of one segment into the target rows of ``out``."""
        size = 2 * self.dim
        into = memoryview(out.view(np.uint8).reshape(-1))  # type: ignore[arg-type]
        with (self._folder / self._segments[number].vectors).open("rb", buffering=0) as file:
            for place, target in zip(places, targets, strict=True):
                os.preadv(file.fileno(), [into[target * size : (target + 1) * size]], place * size)

    def _map(self, number: int) -> np.ndarray:
        if number not in self._maps:
            segment = self._segments[number]
            _allow_files(len(self._segments))
            with (self._folder / segment.vectors).open("rb") as file:
                pages = mmap.mmap(file.fileno(), segment.count * self.dim * 2, access=mmap.ACCESS_READ)
            if hasattr(mmap, "MADV_RANDOM"):  # read the pages asked for, not their neighbours
                pages.madvise(mmap.MADV_RANDOM)
            self._maps[number] = np.frombuffer(pages, dtype="<f2").reshape(segment.count, self.dim)
        return self._maps[number]


def _allow_files(count: int) -> None:
    """Raise this process's limit of open files where every segment's file could not be: a mapping keeps it open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * count + 512  # rows are mapped too
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def widen(stored: np.ndarray) -> np.ndarray:
    """Fp16 to float32. NumPy converts 2 or 3 numbers a nanosecond less than PyTorch, where it is half of rescoring."""
    import torch

    wide: np.ndarray = torch.from_numpy(np.ascontiguousarray(stored, dtype=np.float16)).float().numpy()
    return wide


def unit(vectors: np.ndarray) -> np.ndarray:
    """Give float32 rows length 1, in place; zero rows stay zero."""
    norms = np.sqrt(np.vecdot(vectors, vectors))
    norms[norms == 0] = 1
    vectors /= norms[:, None]
    return vectors
