"""A FAISS index opened for searching. Row numbers are the FAISS ids."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.index.ann.faiss_lib import import_faiss, layers, set_parameters
from searchapp.index.ann.rescore import ordered

if TYPE_CHECKING:
    from searchapp.index.ann.gpu import ExactSearch

SMALL_BATCH = 16  # queries below which threads cost more than they bring


class AnnIndex:
    """A FAISS index opened for searching."""

    def __init__(self, index: Any, parameters: dict[str, int]) -> None:
        self._faiss = import_faiss()
        self._index = index
        self._parameters = parameters

    @property
    def index(self) -> Any:
        """FAISS's own object, set to the parameters of this one."""
        return self._index

    @property
    def rows(self) -> int:
        """Vectors in the index."""
        return int(self._index.ntotal)

    def vector(self, row: int) -> np.ndarray:
        """The vector of a row as the index has it, float32 (dim,)."""
        vector: np.ndarray = self._index.reconstruct(row)
        return vector

    @property
    def filters(self) -> bool:
        """Whether a row mask can be handed to this type's search."""
        faiss, inner = self._faiss, layers(self._index)[-1]
        if isinstance(inner, faiss.IndexIVF | faiss.IndexHNSW):
            return True
        return isinstance(inner, faiss.IndexFlatCodes) and not isinstance(inner, faiss.IndexFastScan | faiss.IndexPQ)

    @property
    def faiss_index(self) -> Any:
        """The index as FAISS has it."""
        return self._index

    @property
    def parameters(self) -> dict[str, int]:
        """The search parameters."""
        return self._parameters

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows of each query by inner product: scores float32 and rows int64, both (n, k); -1 for none.

        ``allowed`` is a boolean mask over the rows; only where ``filters`` is true.
        """
        with self._threads(len(queries)):
            scores, rows = self._index.search(queries, k, params=self._search_parameters(allowed))
        return scores, rows

    @contextmanager
    def _threads(self, queries: int) -> Iterator[None]:
        """One thread for a small batch."""
        before = self._faiss.omp_get_max_threads()
        if before > 1 and queries < SMALL_BATCH:
            self._faiss.omp_set_num_threads(1)
        try:
            yield
        finally:
            self._faiss.omp_set_num_threads(before)

    def set(self, parameters: dict[str, int]) -> None:
        """Take other search parameters."""
        set_parameters(self._index, parameters)
        self._parameters = parameters

    def search_lists(
        self, queries: np.ndarray, k: int, counts: np.ndarray, least: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """``search`` in as many of each query's nearest inverted lists as hold ``least`` rows.

        ``counts`` are the rows in each list. Every query visits its own lists, whatever the others of a batch need, and
        these are found once.
        """
        faiss = self._faiss
        *outer, inner = layers(self._index)
        given = queries
        for layer in outer:
            for place in range(layer.chain.size()):
                queries = layer.chain.at(place).apply(queries)
        queries = np.ascontiguousarray(queries)
        with self._threads(len(queries)):
            nearest, lists = inner.quantizer.search(queries, inner.nlist)
            there = np.where(lists < 0, 0, counts[lists])
            before = np.cumsum(there, axis=1) - there
            if isinstance(inner, faiss.IndexIVFRaBitQFastScan):  # which scores lists given to it wrongly
                visited = min(int(inner.nlist), int((before < least).sum(1).max(initial=0)))
                scores, rows = self._index.search(given, k, params=self._visiting(max(1, visited)))
                return scores, rows
            lists[(before >= least) | (there == 0)] = -1
            order = np.argsort(lists < 0, axis=1, kind="stable")[:, : max(1, int((lists >= 0).sum(1).max(initial=0)))]
            lists, nearest = np.take_along_axis(lists, order, 1), np.take_along_axis(nearest, order, 1)
            scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
            inner.search_preassigned_c(
                len(queries), faiss.swig_ptr(queries), k, faiss.swig_ptr(lists), faiss.swig_ptr(nearest),
                faiss.swig_ptr(scores), faiss.swig_ptr(rows), False, faiss.SearchParametersIVF(nprobe=lists.shape[1]),
            )  # fmt: skip
        return scores, rows

    def _visiting(self, lists: int) -> Any:
        """FAISS's search parameters for a number of inverted lists."""
        parameters = self._faiss.SearchParametersIVF(nprobe=lists)
        for _ in layers(self._index)[1:]:
            parameters = self._faiss.SearchParametersPreTransform(index_params=parameters)
        return parameters

    def _search_parameters(self, allowed: np.ndarray | None) -> Any:
        """FAISS's search parameters for a mask, one for each layer of the index; None without a mask."""
        if allowed is None:
            return None
        faiss = self._faiss
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        *outer, inner = layers(self._index)
        wider = len(allowed) / max(1, int(allowed.sum()))  # so that as many rows are met that pass as without a mask
        if isinstance(inner, faiss.IndexIVF):
            lists = min(inner.nlist, math.ceil(wider * self._parameters.get("nprobe", inner.nprobe)))
            parameters = faiss.SearchParametersIVF(nprobe=lists, sel=selector)
        elif isinstance(inner, faiss.IndexHNSW):
            breadth = min(self.rows, math.ceil(wider * self._parameters.get("efSearch", inner.hnsw.efSearch)))
            parameters = faiss.SearchParametersHNSW(efSearch=breadth, sel=selector)
        else:
            parameters = faiss.SearchParameters(sel=selector)
        for _ in outer:
            parameters = faiss.SearchParametersPreTransform(index_params=parameters)
        return parameters


def shortlist(
    stage: AnnIndex | ExactSearch, queries: np.ndarray, depth: int, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The best allowed rows by the index's own scores; more are asked for where its type takes no mask."""
    covered = stage.rows
    if allowed is None or stage.filters:
        return stage.search(queries, min(depth, covered), allowed)
    there = int(allowed.sum())
    asked = min(covered, math.ceil(1.2 * depth * covered / max(1, there)))
    while True:
        scores, rows = stage.search(queries, asked)
        rows = np.where((rows >= 0) & allowed[np.maximum(rows, 0)], rows, -1)
        if asked == covered or ((rows >= 0).sum(1) >= min(depth, there)).all():
            return ordered(scores, rows, depth)
        asked = min(covered, 4 * asked)
