"""An index made of shards that answers as one: each shard's FAISS index is asked, and what they find is merged exactly.

Scores are cosines of stored vectors, so those of different shards compare. Hits stand by score, then by document
number, which is the order that one index with the same documents gives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index import Filter, VectorIndex
from searchapp.index.ann.rescore import FirstStage, best, exact_scores, ordered
from searchapp.index.masks import Passing
from searchapp.index.storage.vectors import Stored, unit
from searchapp.shards.combined import CombinedSnapshot
from searchapp.shards.root import Root

SPREAD = 2.0  # z: a shard rescores C/S + z·sqrt(C/S) of the C candidates of one index
DEEPER = 4  # times as many hits are asked of a shard whose last one is among the best of all
Found = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Across:
    """The first stage over shards whose scores are cosines: what each finds, its rows numbered from its start."""

    stages: Sequence[FirstStage]
    starts: Sequence[int]

    def top(self, queries: np.ndarray, depth: int) -> Found:
        """The best rows of unit queries, as a ``FirstStage`` gives them."""
        parts = [(stage.top(queries, depth), start) for stage, start in zip(self.stages, self.starts, strict=True)]
        return merged([(scores, shifted(rows, start)) for (scores, rows), start in parts], len(queries), depth)


class ShardedIndex(VectorIndex):
    """The vectors and documents of some shards of a root, in one generation; by default of all of them."""

    def __init__(self, snapshot: CombinedSnapshot, root: Root, device: str = "cpu") -> None:
        super().__init__(snapshot, device)
        self.root = root
        self.shards = tuple(VectorIndex(part, device) for part in snapshot.parts)
        self._starts = snapshot.starts

    @property
    def ann(self) -> None:  # type: ignore[override]
        """Raise IndexStoreError: there is one in each shard."""
        raise IndexStoreError(
            f"{self.snapshot.root} is made of shards, each with a search index of its own; name one of them"
        )

    @property
    def reduction(self) -> None:
        """Raise IndexStoreError: there is one in each shard."""
        return self.ann

    @property
    def indexed_rows(self) -> int:
        """How many vectors the FAISS indexes of all shards hold."""
        return sum(shard.indexed_rows for shard in self.shards if shard.manifest.ann is not None)

    def warm(self) -> None:
        """Open what a search needs, in each shard."""
        _ = self.columns.names
        for shard in self.shards:
            shard.warm()

    def search_vectors(
        self, queries: np.ndarray, k: int, *, candidates: int | None = None, filter: Filter | None = None
    ) -> Found:
        """``VectorIndex.search_vectors`` over all shards.

        Where they are exact the hits are those of one index, with its scores. Where they are compressed, each rescores
        its part of the candidates and ``SPREAD`` deviations more.
        """
        k = self._checked(queries, k)
        if k == 0:
            return np.zeros((len(queries), 0), dtype=np.float32), np.zeros((len(queries), 0), dtype=np.int64)
        is_first, self._is_new = self._is_new, False
        if filter is not None:
            return self.search_passing(queries, k, self.passing(filter), candidates)
        if is_first and candidates is None and self._is_over_before_faiss(len(queries)):
            return self.search_rows(queries, k, self.alive, indexed=0)
        return self._merged(queries, k, None, candidates)

    def search_passing(self, queries: np.ndarray, k: int, passing: Passing, candidates: int | None = None) -> Found:
        """``search_vectors`` among the rows that pass a filter; k is at most the number of documents."""
        if candidates != 0:
            found = self._search_kept(unit(np.array(queries, dtype=np.float32, order="C")), k, passing)
            if found is not None:
                return found
        return self._merged(queries, k, passing, candidates)

    def _merged(self, queries: np.ndarray, k: int, passing: Passing | None, candidates: int | None) -> Found:
        if self.is_exact and not candidates:
            queries = unit(np.array(queries, dtype=np.float32, order="C"))
            limit = self.manifest.documents if passing is None else passing.count
            return best(self.across(k, passing), self.vectors, queries, k, k, limit, exact=True)
        if candidates == 0 and len(self.shards) > 1 and not self.root.shared:
            raise IndexStoreError(
                f"the shards of {self.snapshot.root} were trained apart, so that their own scores do not compare; "
                "leave candidates 0 out, then exact ones do"
            )
        return self._rescored(queries, k, passing, candidates)

    def across(self, k: int, passing: Passing | None = None) -> Across:
        """What finds candidates in all shards, which are exact: among all rows that are there, or that pass."""
        allowed = self.alive if passing is None else passing.mask
        stages = [shard.first_stage(k, self._within(number, allowed)) for number, shard in enumerate(self.shards)]
        return Across(stages, self._starts[:-1].tolist())

    def _rescored(self, queries: np.ndarray, k: int, passing: Passing | None, candidates: int | None) -> Found:
        """The k best of what shards find and rescore; one whose last hit is among them is asked for more."""
        there = self._there if passing is None else self._passing_there(passing)
        depth = self.rescore_depth(k, candidates)
        parts: list[list[Found]] = [[] for _ in self.shards]
        total = round(int(there.sum()) * self.root.statistics.documents / max(1, self.manifest.documents))
        share = [depth_of(depth, count, total) for count in there.tolist()]
        asked = [min(k, share[number], count) for number, count in enumerate(there.tolist())]
        if depth == 0:
            asked = [min(k, count) for count in there.tolist()]
        open_ = [number for number, count in enumerate(asked) if count]
        found = merged([], len(queries), k)
        while open_:
            for number in open_:
                parts[number] = [self._of_shard(number, queries, asked[number], passing, candidates, share[number])]
            found = merged([one for part in parts for one in part], len(queries), k)
            last = found[0][:, -1:]
            open_ = [
                number
                for number in open_
                if asked[number] < min(k, int(there[number])) and (parts[number][0][0][:, -1:] >= last).any()
            ]
            for number in open_:
                asked[number] = min(DEEPER * asked[number], k, int(there[number]))
                share[number] = max(share[number], min(depth, DEEPER * share[number]))
        return found

    def _of_shard(
        self, number: int, queries: np.ndarray, k: int, passing: Passing | None, candidates: int | None, share: int
    ) -> Found:
        """The k best rows of one shard, numbered from its start."""
        shard, deep = self.shards[number], 0 if candidates == 0 else max(k, share)
        if passing is None:
            scores, rows = shard.search_vectors(queries, k, candidates=deep)
        else:
            own = passing.once(f"shard {number}", lambda: self._own(number, passing))
            scores, rows = shard.search_passing(queries, k, own, candidates=deep)
            if deep:
                scores, rows = compared(shard.vectors, queries, rows)
        return scores, shifted(rows, int(self._starts[number]))

    def _own(self, number: int, passing: Passing) -> tuple[Passing, int]:
        mask = self._within(number, passing.mask)
        made = Passing(np.zeros(0, dtype=bool) if mask is None else mask.copy())
        return made, made.nbytes

    def _within(self, number: int, mask: np.ndarray | None) -> np.ndarray | None:
        """The part of a mask over all rows that is of one shard."""
        return None if mask is None else mask[self._starts[number] : self._starts[number + 1]]

    @cached_property
    def _there(self) -> np.ndarray:
        """How many documents each shard has, int64."""
        return np.array([shard.manifest.documents for shard in self.shards], dtype=np.int64)

    def _passing_there(self, passing: Passing) -> np.ndarray:
        """How many rows of each shard pass, int64."""
        places = np.searchsorted(passing.rows, self._starts)
        return np.diff(places).astype(np.int64)


def depth_of(depth: int, documents: int, total: int, spread: float = SPREAD) -> int:
    """How many of ``depth`` candidates over ``total`` documents a shard with some of these rescores."""
    expected = depth * documents / max(1, total)
    return min(depth, documents, math.ceil(expected + spread * math.sqrt(expected)))


def compared(vectors: Stored, queries: np.ndarray, rows: np.ndarray) -> Found:
    """What was found, by exact cosines: two equal vectors of two shards then have the same score to the last bit."""
    scores = exact_scores(vectors, unit(np.array(queries, dtype=np.float32, order="C")), rows)
    return ordered(scores, rows, rows.shape[1])


def shifted(rows: np.ndarray, start: int) -> np.ndarray:
    """Rows of a shard numbered from its start; -1 stays."""
    return np.where(rows < 0, -1, rows + start)


def merged(parts: Sequence[Found], queries: int, k: int) -> Found:
    """The k best of what several found, by score, then by row; padded with -inf and -1."""
    empty = np.zeros((queries, 0), dtype=np.float32), np.zeros((queries, 0), dtype=np.int64)
    scores = np.concatenate([empty[0], *(part[0] for part in parts)], axis=1)
    rows = np.concatenate([empty[1], *(part[1] for part in parts)], axis=1)
    return ordered(scores, rows, k)
