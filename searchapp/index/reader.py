"""One index opened for reading: candidates from FAISS, exact rescoring from the stored vectors, documents by row.

Rows that came after the FAISS index was made are compared exactly beside it; rows that are gone are never found.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.ann.gpu import ExactSearch, devices, fits
from searchapp.index.ann.pca import Pca, read_pca
from searchapp.index.ann.rescore import best, nearest, ordered
from searchapp.index.ann.rules import STANDARD
from searchapp.index.ann.searcher import AnnIndex, open_ann, shortlist
from searchapp.index.filter import Filter
from searchapp.index.lexical.bm25 import LexicalIndex
from searchapp.index.storage.documents import Rows
from searchapp.index.storage.manifest import Manifest
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.vectors import Vectors, unit

FEW = 20_000  # rows passing a filter below which they are simply all compared
BLOCK_NUMBERS = 1 << 24  # numbers (rows x dim) converted to float32 at a time in exact comparison


class VectorIndex:
    """The vectors and documents of one manifest. It stays that state while writers move on."""

    def __init__(self, snapshot: Snapshot, device: str = "cpu") -> None:
        self.snapshot = snapshot
        self.device = device
        self.manifest: Manifest = snapshot.manifest

    @classmethod
    def open(cls, path: str | Path, device: str = "cpu") -> VectorIndex:
        """Open a finished index; with ``device`` cuda its first stage is searched on GPUs, where it fits there.

        Raises IndexStoreError for one that is missing, damaged or not built to the end.
        """
        snapshot = Snapshot.open(Path(path), ready=True)
        index = cls(snapshot, device)
        if index.manifest.state != "ready":
            why = f" ({snapshot.notices[0]})" if snapshot.notices else ""
            raise IndexStoreError(
                f"{path} is not ready: {index.manifest.rows} documents are embedded, the index over them is not "
                f"there{why}; run the same `searchapp build` again, it goes on from here"
            )
        return index

    @property
    def rows(self) -> Rows:
        """The documents by row."""
        return self.snapshot.documents

    @property
    def vectors(self) -> Vectors:
        """The stored vectors by row."""
        return self.snapshot.vectors

    @cached_property
    def ann(self) -> AnnIndex | ExactSearch:
        """The FAISS index, opened when first searched; on GPUs that can hold them, all its vectors instead."""
        if self.manifest.ann is None:
            raise IndexStoreError(f"{self.snapshot.root} has no search index; run the same `searchapp build` again")
        rows = self.manifest.ann.rows
        if fits(rows, self.manifest.dim, self.device):
            return ExactSearch(self.vectors.blocks(), rows, devices(self.device))
        return open_ann(self.snapshot.path(self.manifest.ann.file), self.manifest.ann.parameters, self.device)

    @cached_property
    def reduction(self) -> Pca | None:
        """The projection that queries go through, if there is one."""
        part = self.manifest.reduction
        if part is None or isinstance(self.ann, ExactSearch):  # which has the vectors as they are
            return None
        return read_pca(self.snapshot.path(part.file), (self.manifest.dim, part.dim), part.explained_variance)

    @cached_property
    def lexical(self) -> LexicalIndex:
        """BM25 over the same rows. Raises IndexStoreError where the index has no such part."""
        return LexicalIndex(self.snapshot)

    @property
    def alive(self) -> np.ndarray | None:
        """Boolean mask over the rows, false where a row is deleted; None where none is."""
        return self.snapshot.alive

    def allowed(self, filter: Filter | None = None) -> np.ndarray | None:
        """Boolean mask over the rows that are there and pass a filter; None where that is all of them."""
        if filter is None:
            return self.alive
        mask = filter.mask(self.rows.fields(), lambda number: self.rows.column(number, "metadata"))
        return mask if self.alive is None else mask & self.alive

    def ids(self) -> np.ndarray:
        """The id of every row, an array of strings; None where the row is gone."""
        parts = [self.rows.ids(number) for number in range(len(self.manifest.segments))]
        names = np.array([name for part in parts for name in part], dtype=object)
        if self.alive is not None:
            names[~self.alive] = None
        return names

    def search_vectors(
        self, queries: np.ndarray, k: int, *, candidates: int | None = None, filter: Filter | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows of each query vector (n, dim), best first: cosines float32 and rows int64, both (n, k).

        Where the index is reduced or compressed, ``candidates`` rows (default: as the index was made) are taken from it
        and rescored with the stored vectors; 0 returns its own scores. Rows are -1, and scores -inf, past the last hit.
        Equal scores stand in document order. ``k`` larger than the number of documents is cut to it.
        """
        if queries.ndim != 2 or queries.shape[1] != self.manifest.dim:
            raise IndexStoreError(
                f"query vectors have shape {queries.shape}, the index holds vectors of {self.manifest.dim} dimensions"
            )
        if k < 1:
            raise IndexStoreError(f"k is {k}; ask for at least 1 hit")
        k = min(k, self.manifest.documents)
        if k == 0:
            return np.zeros((len(queries), 0), dtype=np.float32), np.zeros((len(queries), 0), dtype=np.int64)
        allowed = self.allowed(filter)
        covered = self.manifest.rows - self.manifest.fresh
        if filter is not None and allowed is not None and int(allowed.sum()) <= FEW:
            covered = 0
        return self.search_first(queries, k, candidates, allowed, covered)

    def search_first(
        self,
        queries: np.ndarray,
        k: int,
        candidates: int | None,
        allowed: np.ndarray | None,
        covered: int,
        rows: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """``search_vectors`` with FAISS for the first ``covered`` rows (0, or all it has), exactly for those after.

        ``allowed`` is a mask over the rows; only the first ``rows`` of them are searched, all by default.
        """
        queries = unit(np.array(queries, dtype=np.float32, order="C"))
        end = self.manifest.rows if rows is None else rows
        beside = np.arange(covered, end) if allowed is None else np.flatnonzero(allowed[covered:end]) + covered
        within = None if allowed is None else allowed[:covered]
        standard = self.manifest.ann.candidates if covered and self.manifest.ann is not None else 0
        if covered and isinstance(self.ann, ExactSearch):  # in half precision
            standard = max(standard, STANDARD)
        reduced = self.reduction.apply(queries) if covered and self.reduction is not None else queries

        def find(chosen: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
            if not covered:
                return self._compare(queries[chosen], depth, beside)
            found = shortlist(self.ann, reduced[chosen], depth, within)
            found = self._filled(*found, queries[chosen], k, within)
            if not len(beside):
                return found
            near = self._compare(queries[chosen], depth, beside)
            scores, rows = np.hstack([near[0], found[0]]), np.hstack([near[1], found[1]])
            return ordered(scores, rows, min(depth, scores.shape[1])) if standard == 0 else (scores, rows)

        exact = standard == 0 and not candidates
        if candidates == 0 and not exact:
            return ordered(*find(np.arange(len(queries)), k), k)
        depth = max(standard, 4 * k) if candidates is None else max(candidates, k)
        limit = end if allowed is None else int(allowed[:end].sum())
        return best(find, self.vectors, queries, k, depth, limit, exact=exact)

    def _filled(
        self, scores: np.ndarray, rows: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The candidates of queries; where lists or a graph led to fewer than k, though there are more, of all rows."""
        short = rows[:, min(k, rows.shape[1]) - 1] < 0
        if short.any():
            there = np.arange(self.ann.rows) if allowed is None else np.flatnonzero(allowed)
            short &= (rows >= 0).sum(1) < min(k, len(there))
        if short.any():
            scores[short], rows[short] = ordered(*self._compare(queries[short], rows.shape[1], there), rows.shape[1])
        return scores, rows

    def _compare(self, queries: np.ndarray, depth: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best of the given rows, ascending, by comparing every query with each of them, in blocks."""
        best_scores = np.full((len(queries), 0), -np.inf, dtype=np.float32)
        best_rows = np.zeros((len(queries), 0), dtype=np.int64)
        size = max(1, BLOCK_NUMBERS // self.manifest.dim)
        for begin in range(0, len(rows), size):
            block = rows[begin : begin + size]
            scores = queries @ self._exact_vectors(block).T
            found = nearest(scores, np.broadcast_to(block, scores.shape), depth)
            joined = np.hstack([best_scores, found[0]]), np.hstack([best_rows, found[1]])
            best_scores, best_rows = ordered(*joined, min(depth, begin + len(block)))
        return best_scores, best_rows

    def _exact_vectors(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 vectors of rows; those of fresh rows are kept while they are few."""
        first = self.manifest.rows - self.manifest.fresh
        if rows[0] < first or self.manifest.fresh * self.manifest.dim > BLOCK_NUMBERS:
            return self.vectors.gather(rows)
        return self._fresh if len(rows) == self.manifest.fresh else self._fresh[rows - first]

    @cached_property
    def _fresh(self) -> np.ndarray:
        return self.vectors.gather(np.arange(self.manifest.rows - self.manifest.fresh, self.manifest.rows))
