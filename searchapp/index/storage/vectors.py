"""The stored vectors: fp16, one file a segment, read in blocks while building and by row while rescoring.

Rounding to fp16 moves a vector's length off 1; what comes out as float32 has length 1 again, so that an inner product
with a unit query is the cosine.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from searchapp.filesystem import read_at
from searchapp.index.storage.directory import reading
from searchapp.index.storage.manifest import Segment
from searchapp.index.storage.mmap import CAN_MAP, READ, MappedFiles

BLOCK_NUMBERS = 1 << 20  # numbers (rows x dim) held in memory at a time while all rows are gone through
LEAST_BLOCK, MOST_BLOCK = 256, 8_192  # rows
PLACES = np.int32(-0x70002000)  # the bits of a float32 that sign, exponent and mantissa of an fp16 number come to
BIAS = np.float32(2.0**112)  # between the exponents of float32 and fp16
ALONE = 32_768  # numbers that PyTorch converts on one thread: on busy cores waking others takes milliseconds


def block_rows(dim: int) -> int:
    """How many rows of ``dim`` numbers make a block: 4 MB as float32, within bounds."""
    return max(LEAST_BLOCK, min(MOST_BLOCK, BLOCK_NUMBERS // dim))


class Stored(Protocol):
    """Fp16 vectors of ``dim`` numbers, by row number."""

    dim: int

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """The vectors (len(rows), dim) of the given rows."""


class Held:
    """A ``Stored`` in memory."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.count, self.dim = vectors.shape
        self._vectors = vectors

    def blocks(self) -> Iterator[np.ndarray]:
        """All of them as unit float32 blocks."""
        yield from self.sampled_blocks(self.count)

    def sampled_blocks(self, size: int) -> Iterator[np.ndarray]:
        """At most ``size`` of them, evenly spread, as unit float32 blocks."""
        chosen = np.linspace(0, self.count - 1, min(size, self.count)).astype(np.int64)
        step = block_rows(self.dim)
        for begin in range(0, len(chosen), step):
            yield unit(widen(self._vectors[chosen[begin : begin + step]]))

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of the given rows."""
        found: np.ndarray = self._vectors[rows]
        return found


class Copied:
    """A ``Stored`` with some rows of another in memory, as quick as files that are mapped and read already."""

    def __init__(self, vectors: Stored, rows: np.ndarray) -> None:
        self.dim = vectors.dim
        self._vectors, self._rows = vectors, np.unique(rows)
        self._copies = vectors.stored(self._rows)

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of the given rows; from the other where one is not among the copies."""
        places = np.minimum(np.searchsorted(self._rows, rows), len(self._rows) - 1)
        if not len(self._rows) or not np.array_equal(self._rows[places], rows):
            return self._vectors.stored(rows)
        found: np.ndarray = self._copies[places]
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
        self._mapped = mapped and CAN_MAP
        self.rows = sum(segment.count for segment in segments)
        self.alive = alive
        self.count = self.rows if alive is None else int(alive.sum())
        self._folder = folder
        self._segments = segments
        self._bases = np.array([segment.base for segment in segments], dtype=np.int64)

    def blocks(self, size: int | None = None, start: int = 0) -> Iterator[np.ndarray]:
        """Yield the vectors from row ``start`` on as float32 blocks (at most size, dim) of unit rows, by plain reads.

        Memory-mapped pages would count as this process's memory; what is read here is gone after each block.
        """
        size = size or block_rows(self.dim)
        for segment in self._segments:
            path = self._folder / segment.vectors_file
            for begin in range(max(0, start - segment.base), segment.count, size):
                count = min(size, segment.count - begin)
                with reading(path):
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
        path = self._folder / self._segments[number].vectors_file
        with reading(path):
            flat = np.fromfile(path, dtype="<f2")
        stored: bytes = flat.reshape(-1, self.dim)[kept].tobytes()
        return stored

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 (len(rows), dim) of the given row numbers."""
        return unit(widen(self.stored(rows)))

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """The fp16 vectors (len(rows), dim) of the given row numbers; only their pages are read."""
        if not len(rows):
            return np.empty((0, self.dim), dtype="<f2")
        if self._mapped:
            items, shifts = self._items
            places = rows * self.dim
            if self._shifted:
                places += shifts[self._bases.searchsorted(rows, side="right") - 1]
            found = items[places]
            vectors: np.ndarray = found.view("<f2").reshape(len(rows), self.dim)
            return vectors
        out = np.empty((len(rows), self.dim), dtype="<f2")
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        numbers = np.searchsorted(self._bases, ascending, side="right") - 1
        starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
        for begin, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            number = int(numbers[begin])
            places = ascending[begin:end] - self._bases[number]
            self._read(number, places.tolist(), order[begin:end].tolist(), out)
        return out

    def files(self) -> list[Path]:
        """The files that the vectors lie in, in row order."""
        return [self._folder / segment.vectors_file for segment in self._segments]

    def pages(self, rows: np.ndarray) -> int:
        """How many pages of the mapped files the vectors of these rows lie on; one that they share counts once."""
        size, numbers = 2 * self.dim, self._bases.searchsorted(rows, side="right") - 1
        begin = (rows - self._bases[numbers]) * size
        first, last = begin // mmap.PAGESIZE, (begin + size - 1) // mmap.PAGESIZE
        spans = np.arange(int((last - first).max(initial=0)) + 1)
        places = first[:, None] + spans
        within = places <= last[:, None]
        files = np.broadcast_to(numbers[:, None], places.shape)
        return len(np.unique(np.stack([files[within], places[within]]), axis=1).T)

    def contiguous(self, rows: int) -> np.ndarray | None:
        """The bytes of the first rows, uint8, where they are mapped one after the other; else None."""
        if not self._mapped or not rows:
            return None
        items, shifts = self._items
        first = shifts[: np.searchsorted(self._bases, rows - 1, side="right")]
        if first.any():
            return None
        size = 2 * self.dim
        return np.ndarray((rows * size,), dtype=np.uint8, buffer=items.base, strides=(1,))

    def sample(self, size: int, seed: int = 0) -> Held:
        """At most ``size`` distinct random rows that are there, in row order."""
        rows = self.sampled(size, seed)
        return Held(self.stored(rows))

    def sampled_blocks(self, size: int, seed: int = 0) -> Iterator[np.ndarray]:
        """At most ``size`` distinct random rows that are there, as unit float32 blocks: the first would train worse."""
        if self.count <= size:
            yield from self.living()
            return
        rows = self.sampled(size, seed)
        step = block_rows(self.dim)
        for begin in range(0, size, step):
            yield self.gather(rows[begin : begin + step])

    def sampled(self, size: int, seed: int = 0) -> np.ndarray:
        """The numbers of at most ``size`` distinct random rows that are there, ascending."""
        if self.count <= size:
            return self.nth(np.arange(self.count))
        return self.nth(np.sort(np.random.default_rng(seed).choice(self.count, size=size, replace=False)))

    def _read(self, number: int, places: list[int], targets: list[int], out: np.ndarray) -> None:
        """Read rows of one segment into the target rows of ``out``."""
        size = 2 * self.dim
        into = memoryview(out.view(np.uint8).reshape(-1))  # type: ignore[arg-type]
        path = self._folder / self._segments[number].vectors_file
        with reading(path), path.open("rb", buffering=0) as file:
            for place, target in zip(places, targets, strict=True):
                read_at(file, into[target * size : (target + 1) * size], place * size)

    @cached_property
    def _shifted(self) -> bool:
        """Whether files do not end where a page does, so that rows do not stand one after the other in memory."""
        return bool(self._items[1].any())

    @cached_property
    def _items(self) -> tuple[np.ndarray, np.ndarray]:
        """Every run of ``dim`` numbers in the mapped files as one item, by the number it begins with.

        With it, for each segment, what is added to ``dim`` times a row for the number that its vector begins with.
        """
        files = MappedFiles(
            [self._folder / segment.vectors_file for segment in self._segments],
            [segment.count * self.dim * 2 for segment in self._segments],
            READ,
        )
        size = 2 * self.dim
        count = (len(files.bytes) - size) // 2 + 1
        items = np.ndarray((count,), dtype=f"V{size}", buffer=files.bytes, strides=(2,))
        return items, files.starts // 2 - self._bases * self.dim


def widen(stored: np.ndarray, room: np.ndarray | None = None) -> np.ndarray:
    """Fp16 to float32, into the first numbers of ``room`` where it is given, a flat array.

    By PyTorch where the process has it: NumPy takes many times as long (docs/log.md), which would be most of rescoring.
    Without it by the bits, which takes longer than PyTorch, but nothing to import.
    """
    narrow = np.ascontiguousarray(stored, dtype=np.float16).reshape(-1)
    wide = np.empty(stored.size, dtype=np.float32) if room is None else room[: stored.size]
    convert = _widen_by_torch if "torch" in sys.modules else _widen_bits
    if stored.size <= ALONE:
        convert(narrow, wide)
    else:
        for begin in range(0, stored.size, ALONE):
            convert(narrow[begin : begin + ALONE], wide[begin : begin + ALONE])
    return wide.reshape(stored.shape)


def _widen_by_torch(narrow: np.ndarray, wide: np.ndarray) -> None:
    import torch

    torch.from_numpy(wide).copy_(torch.from_numpy(narrow))


def _widen_bits(narrow: np.ndarray, wide: np.ndarray) -> None:
    """Finite fp16 numbers as float32: sign, exponent and mantissa moved to their places, the exponent's bias mended.

    The product mends it exactly, for subnormal numbers too. What is not finite does not occur in stored vectors.
    """
    bits = wide.view(np.int32)
    bits[:] = narrow.view(np.int16)  # the sign fills the upper half
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, PLACES, out=bits)
    np.multiply(wide, BIAS, out=wide)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Give float32 rows length 1, in place; zero rows stay zero."""
    norms = np.sqrt(np.vecdot(vectors, vectors))
    norms[norms == 0] = 1
    vectors /= norms[:, None]
    return vectors
