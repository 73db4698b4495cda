"""Ids that stand in two chunks: the first in plan order stays, whoever encoded what when.

Within a chunk its worker settles them. Across chunks the 64-bit hashes of all ids are compared, a part of their range
at a time, so that memory does not grow with the documents; where two are equal, the ids themselves are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from searchapp.index.storage.documents import DocumentStore
from searchapp.index.storage.manifest import Segment
from searchapp.shards.chunk import DATA, ChunkDone
from searchapp.shards.store import Store, fetch, working

TOGETHER = 1 << 26  # hashes that are compared at once: 1 GB with their rows


@dataclass(frozen=True, eq=False)
class Settled:
    """Rows that are left out, numbered through all chunks, ascending, and for each the row that has its id: int64."""

    bases: np.ndarray
    dropped: np.ndarray
    first: np.ndarray

    def of(self, chunk: int) -> np.ndarray:
        """The rows of a chunk that are left out, numbered within it."""
        begin, end = np.searchsorted(self.dropped, self.bases[chunk : chunk + 2])
        found: np.ndarray = self.dropped[begin:end] - self.bases[chunk]
        return found

    def document(self, row: int) -> int:
        """The number, from 1, of the document that has the id of a row, among those that are not left out."""
        place = int(np.searchsorted(self.dropped, row))
        if place < len(self.dropped) and self.dropped[place] == row:
            row = int(self.first[place])
        return row - int(np.searchsorted(self.dropped, row)) + 1


def settle(store: Store, done: Sequence[ChunkDone], together: int = TOGETHER) -> Settled:
    """Find the rows whose id stands in an earlier chunk. ``done`` are all chunks in plan order."""
    bases = np.cumsum([0, *(one.documents for one in done)], dtype=np.int64)
    passes = max(1, -(-int(bases[-1]) // together))
    edges = [number * (1 << 64) // passes for number in range(passes + 1)]
    found: list[tuple[int, int]] = []
    with working(store, "settle") as folder:
        ids = _Ids(store, done, bases, folder)
        for low, high in zip(edges, edges[1:], strict=False):
            hashes, rows = _between(store, done, bases, low, high - 1)
            order = np.argsort(hashes, kind="stable")
            hashes, rows = hashes[order], rows[order]
            starts = np.flatnonzero(np.diff(hashes) == 0)
            for begin in starts[np.diff(starts, prepend=-2) > 1].tolist():
                end = begin + 1
                while end < len(hashes) and hashes[end] == hashes[begin]:
                    end += 1
                found += _same(rows[begin:end].tolist(), ids.read)
    found.sort()
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    return Settled(bases, pairs[:, 0], pairs[:, 1])


def _same(rows: Sequence[int], read: Callable[[int], str]) -> list[tuple[int, int]]:
    """Of rows in order, whose hashes are equal, those whose id an earlier one has, each with the first that has it."""
    first: dict[str, int] = {}
    found = []
    for row in rows:
        name = read(row)
        if name in first:
            found.append((row, first[name]))
        else:
            first[name] = row
    return found


def _between(
    store: Store, done: Sequence[ChunkDone], bases: np.ndarray, low: int, high: int
) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of ids within bounds, uint64, and the rows that have them."""
    hashes, rows = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
    for one, base in zip(done, bases.tolist(), strict=False):
        for segment in one.segments:
            part = np.frombuffer(store.range(f"{DATA}/{segment.marks}", 0, 8 * segment.count), dtype="<u8")
            inside = np.flatnonzero((part >= np.uint64(low)) & (part <= np.uint64(high)))
            hashes.append(part[inside])
            rows.append(inside + base)
            base += segment.count
    return np.concatenate(hashes), np.concatenate(rows)


class _Ids:
    """The ids of rows, read from the files of their chunks, of which one is open."""

    def __init__(self, store: Store, done: Sequence[ChunkDone], bases: np.ndarray, folder: Path) -> None:
        self._store, self._done, self._bases, self._folder = store, done, bases, folder
        self._open: dict[int, DocumentStore] = {}

    def read(self, row: int) -> str:
        """The id of a row."""
        number = int(np.searchsorted(self._bases, row, side="right")) - 1
        if number not in self._open:
            one, base, segments = self._done[number], 0, []
            for part in one.segments:
                if not (self._folder / part.rows).exists():
                    fetch(self._store, f"{DATA}/{part.rows}", self._folder / part.rows, one.files[part.rows])
                segments.append(Segment(part.rows, part.vectors, base, part.count, part.marks))
                base += part.count
            if len(self._open) > 64:
                self._open.clear()
            self._open[number] = DocumentStore(self._folder, segments)
        return self._open[number].read(row - int(self._bases[number])).id
