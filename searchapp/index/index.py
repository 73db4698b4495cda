"""One index opened for reading: candidates from FAISS, exact rescoring from the stored vectors, documents by row."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.ann import AnnIndex, open_ann
from searchapp.index.filter import Filter
from searchapp.index.manifest import Manifest
from searchapp.index.reduction import Pca, read_pca
from searchapp.index.rescore import best, ordered
from searchapp.index.rows import Rows
from searchapp.index.store import Store
from searchapp.index.vectors import Vectors, unit

FEW = 20_000  # rows passing a filter below which they are simply all compared


class VectorIndex:
    """The vectors and documents of one manifest. It stays that state while writers move on."""

    def __init__(self, store: Store) -> None:
        if store.manifest is None:
            raise IndexStoreError(f"{store.root} holds nothing yet; run `searchapp build`")
        self.store = store
        self.manifest: Manifest = store.manifest
        self.rows = Rows(store.data, self.manifest.segments)
        self.vectors = Vectors(store.data, self.manifest.segments, self.manifest.dim)

    @classmethod
    def open(cls, path: str | Path) -> VectorIndex:
        """Open a finished index. Raises IndexStoreError for one that is missing, damaged or not built to the end."""
        store = Store.open(Path(path), ready=True)
        index = cls(store)
        if index.manifest.state != "ready":
            why = f" ({store.notices[0]})" if store.notices else ""
            raise IndexStoreError(
                f"{path} is not ready: {index.manifest.rows} documents are embedded, the index over them is not "
                f"there{why}; run the same `searchapp build` again, it goes on from here"
            )
        return index

    @cached_property
    def ann(self) -> AnnIndex:
        """The FAISS index, opened when first searched."""
        if self.manifest.ann is None:
            raise IndexStoreError(f"{self.store.root} has no search index; run the same `searchapp build` again")
        return open_ann(self.store.path(self.manifest.ann.file), self.manifest.ann.parameters)

    @cached_property
    def reduction(self) -> Pca | None:
        """The projection that queries go through, if there is one."""
        part = self.manifest.reduction
        if part is None:
            return None
        return read_pca(self.store.path(part.file), (self.manifest.dim, part.dim), part.explained_variance)

    def search_vectors(
        self, queries: np.ndarray, k: int, *, candidates: int | None = None, filter: Filter | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows of each query vector (n, dim), best first: cosines float32 and rows int64, both (n, k).

        Where the index is reduced or compressed, ``candidates`` rows (default: as the index was made) are taken from it
        and rescored with the stored vectors; 0 returns its own scores. Rows are -1, and scores -inf, past the last hit.
        Equal scores stand in document order. ``k`` larger than the index is cut to it.
        """
        if queries.ndim != 2 or queries.shape[1] != self.manifest.dim:
            raise IndexStoreError(
                f"query vectors have shape {queries.shape}, the index holds vectors of {self.manifest.dim} dimensions"
            )
        if k < 1:
            raise IndexStoreError(f"k is {k}; ask for at least 1 hit")
        k = min(k, self.manifest.rows)
        queries = unit(np.array(queries, dtype=np.float32, order="C"))
        allowed = filter.mask(self.rows.fields()) if filter is not None else None
        if allowed is not None:
            passing = np.flatnonzero(allowed)
            if len(passing) <= FEW or not self.ann.filters:
                return self._exact(queries, k, passing)
        reduced = self.reduction.apply(queries) if self.reduction is not None else queries
        standard = self.manifest.ann.candidates if self.manifest.ann is not None else 0
        if candidates == 0:
            return ordered(*self.ann.search(reduced, k, allowed), k)
        depth = max(standard, 4 * k) if candidates is None else max(candidates, k)
        return best(
            lambda chosen, depth: self.ann.search(reduced[chosen], depth, allowed),
            self.vectors,
            queries,
            k,
            depth,
            self.ann.rows,
            exact=candidates is None and standard == 0,
        )

    def _exact(self, queries: np.ndarray, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compare every query with the given rows, in blocks."""
        best_scores = np.full((len(queries), 0), -np.inf, dtype=np.float32)
        best_rows = np.zeros((len(queries), 0), dtype=np.int64)
        for begin in range(0, len(rows), FEW):
            block = rows[begin : begin + FEW]
            scores = queries @ self.vectors.gather(block).T
            best_scores, best_rows = ordered(
                np.hstack([best_scores, scores]), np.hstack([best_rows, np.broadcast_to(block, scores.shape)]), k
            )
        return ordered(best_scores, best_rows, k)
