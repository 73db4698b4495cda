"""The way of a query through an index as it stands, without a filter: the hits of the general search, sooner.

What does not change while an index stands is prepared once: the reduction and FAISS's rotation as one matrix, the rows
beside the FAISS index, how many rows are gone. Where this way cannot be sure of the answer (the last hit may be tied
with a row that was left out, lists led to too few rows, too many candidates are gone), it returns None, and the general
search of ``searchapp.index.ann.rescore`` answers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import gt
from typing import Any

import numpy as np

from searchapp.index.ann.faiss_lib import import_faiss
from searchapp.index.ann.gathered import Gathered
from searchapp.index.ann.pca import Pca
from searchapp.index.ann.rescore import SPARE, TIE, cosines, exact_scores, ordered
from searchapp.index.ann.searcher import SMALL_BATCH, AnnIndex
from searchapp.index.storage.vectors import Vectors, unit

FOLDED = 1_024  # dimensions up to which a rotation is folded into the reduction; its matrix then stays in the cache
ROUNDED = 1e-3  # what the length of a unit vector stored as fp16 is off 1, at most
SINGLE = np.dtype(np.float32)
Found = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Beside:
    """The rows that FAISS does not have: unit float32 ``vectors`` (n, dim), and their numbers, ascending."""

    vectors: np.ndarray
    rows: np.ndarray

    def best(self, query: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, float]:
        """At most ``count`` best rows of a unit query, by ascending number: cosines, rows, the best of those left."""
        scores = self.vectors @ query
        if len(scores) <= count:
            return scores, self.rows, -math.inf
        order = np.argpartition(scores, len(scores) - count - 1)
        left = float(scores[order[len(scores) - count - 1]])
        kept = np.sort(order[len(scores) - count :])
        return scores[kept], self.rows[kept], left


class DirectSearch:
    """Searches all that is there, with one query or several. Safe to share between threads.

    ``alive`` masks the rows that are there (None: all), of which there are ``documents``; ``exact`` says that FAISS's
    scores are cosines up to rounding.
    """

    def __init__(
        self,
        ann: AnnIndex,
        reduction: Pca | None,
        vectors: Vectors,
        *,
        alive: np.ndarray | None,
        documents: int,
        beside: Beside | None,
        exact: bool,
    ) -> None:
        self._faiss = import_faiss()
        self._vectors, self._beside, self._exact, self._documents = vectors, beside, exact, documents
        self._matrix, self._index = _folded(ann, reduction)
        self._covered = ann.rows
        self._alive = alive[: ann.rows] if alive is not None else None
        there = ann.rows if self._alive is None else int(self._alive.sum())
        self._there = there
        stored = None if exact else vectors.contiguous(ann.rows)
        self._kept = None if stored is None else Gathered(stored, vectors.dim)
        self._refined = None if stored is None else _refined(self._index, self._matrix, vectors.dim, stored)
        self._plain = self._refined is not None and beside is None and self._alive is None
        self._plans: dict[tuple[int, int], tuple[int, Any]] = {}
        self._gone = 0.0 if self._alive is None else 1 - there / max(1, ann.rows)  # the share of FAISS's rows

    def search(self, query: np.ndarray, k: int, depth: int) -> Found | None:
        """The k best rows of a query (dim,): cosines (1, k) and rows (1, k); None where that is not sure.

        ``depth`` candidates are rescored; k is at most the number of documents.
        """
        if query.dtype != SINGLE:
            query = query.astype(SINGLE)
        length = math.sqrt(query.dot(query))
        if not 0 < length < math.inf:
            return None
        query = query / length  # which lies in one piece, whatever the query did
        if self._plain:
            return self._by_refined(query, k, depth)
        return self._by_cosines(query, k) if self._exact else self._by_codes(query, k, depth)

    def many(self, queries: np.ndarray, k: int, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """``search`` with several: cosines (n, k), rows (n, k), and where these are sure, bool (n,).

        None where FAISS cannot compare candidates itself: then nothing is gained.
        """
        if self._beside is not None:
            return None
        queries = unit(np.array(queries, dtype=np.float32, order="C"))
        if self._exact:
            return self._many_cosines(queries, k)
        if self._refined is None:
            return None
        asked, parameters = self._plan(k + SPARE, depth)
        scores, rows = self._refined.search(queries, asked, params=parameters)
        left = np.full(len(queries), -np.inf) if asked == self._covered else scores[:, -1] + ROUNDED
        left[rows[:, -1] < 0] = np.inf
        if self._alive is not None:
            rows[(rows >= 0) & ~self._alive[rows]] = -1
        found = ordered(exact_scores(self._vectors, queries, rows), rows, k)
        return *found, (left < found[0][:, -1] - TIE) & (found[1][:, -1] >= 0)

    def _many_cosines(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """``_by_cosines`` of several unit queries: some rows more are asked for than left out by a mask.

        FAISS compares with a mask one query after the other, and without one several with each vector that it reads.
        """
        asked, _ = self._counts(k + SPARE, k + SPARE)
        turned = queries if self._matrix is None else queries @ self._matrix
        scores, rows = self._several(np.ascontiguousarray(turned), asked)
        if self._alive is not None:
            gone = (rows < 0) | ~self._alive[rows]
            order = np.argsort(gone, axis=1, kind="stable")  # those that are there, as they stood, then the others
            scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
            rows[np.take_along_axis(gone, order, 1)] = -1
        seen = min(k + 1, self._documents)  # a hit more than is wanted, which must not be nearly tied with the last
        if rows.shape[1] < seen:
            return None
        apart = scores[:, : seen - 1] - scores[:, 1:seen] >= TIE
        return scores[:, :k], rows[:, :k], apart.all(axis=1) & (rows[:, seen - 1] >= 0)

    def _several(self, queries: np.ndarray, asked: int) -> Found:
        """What FAISS finds for several queries; on one thread where they are few."""
        faiss = self._faiss
        before = faiss.omp_get_max_threads()
        if before > 1 and len(queries) < SMALL_BATCH:
            faiss.omp_set_num_threads(1)
        try:
            scores, rows = self._index.search(queries, asked)
        finally:
            faiss.omp_set_num_threads(before)
        return scores, rows

    def _by_cosines(self, query: np.ndarray, k: int) -> Found | None:
        """Where FAISS compares all its vectors exactly: more than k rows, none of them nearly tied."""
        scores, rows = self._candidates(query, k + SPARE)
        if self._beside is not None:
            more, others, left = self._beside.best(query, k + SPARE)
            scores, rows = np.concatenate([scores, more]), np.concatenate([rows, others])
            order = np.argsort(-scores, kind="stable")[: k + 1]
            scores, rows = scores[order], rows[order]
            if len(scores) >= k and left >= scores[k - 1] - TIE:
                return None
        if len(rows) <= k and len(rows) < self._documents:
            return None
        if (scores[:k] - scores[1 : k + 1] < TIE).any() if len(scores) > k else (np.diff(scores) > -TIE).any():
            return None
        return scores[None, :k], rows[None, :k]

    def _by_refined(self, query: np.ndarray, k: int, depth: int) -> Found | None:
        """``_by_codes`` where FAISS has all rows, all are there, and it compares its candidates itself."""
        asked, parameters = self._plan(k + SPARE, depth)
        found, rows = self._searched(self._refined, query, asked, parameters)
        if len(rows) < asked:  # lists led to too few
            return None
        scores = self._compared(query, rows)
        points = scores.tolist()
        if not all(map(gt, points, points[1:])):  # FAISS's order is not theirs: some are nearly as far, or equal
            order = np.lexsort((rows, -scores))
            scores, rows = scores[order], rows[order]
        if asked < self._covered and found.item(-1) + ROUNDED >= scores.item(k - 1) - TIE:
            return None
        return scores[None, :k], rows[None, :k]

    def _by_codes(self, query: np.ndarray, k: int, depth: int) -> Found | None:
        """Where FAISS has codes: the best of its candidates, compared exactly."""
        if self._refined is not None:
            rows, left = self._refine(query, k + SPARE, depth)
        else:
            depth = min(depth, self._there)
            _, found = self._candidates(query, depth)
            if len(found) < depth:
                return None
            rows, left = np.sort(found), -math.inf
        if self._beside is not None:
            scores = self._compared(query, rows)
            _, others, more = self._beside.best(query, k + SPARE)
            scores = np.concatenate([scores, cosines(self._vectors, query, others)])
            rows, left = np.concatenate([rows, others]), max(left, more)  # which all come after those that FAISS has
        elif len(rows) < k:
            return None
        else:
            scores = self._compared(query, rows)
        if len(rows) < k:
            return None
        order = (-scores).argsort(kind="stable")[:k]
        best = scores[order]
        least = best.item(-1) - TIE
        if left >= least:
            return None
        if self._refined is None and depth < self._there and scores[rows.searchsorted(found[-1])] >= least:
            return None
        return best[None], rows[order][None]

    def _compared(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The cosines of a unit query with rows that FAISS has."""
        if self._kept is not None and len(rows) <= self._kept.most:
            return self._kept.cosines(query, rows)
        return cosines(self._vectors, query, rows)

    def _refine(self, query: np.ndarray, count: int, depth: int) -> tuple[np.ndarray, float]:
        """The best ``count`` of ``depth`` candidates by FAISS's own comparison, ascending; the most any other can have.

        FAISS multiplies the stored numbers, and does not divide by the length that rounding left them with. What it
        left out may therefore have a cosine that is higher than its product, by ``ROUNDED`` at most.
        """
        asked, parameters = self._plan(count, depth)
        scores, rows = self._searched(self._refined, query, asked, parameters)
        if len(rows) < asked:  # lists led to too few
            return rows, math.inf
        left = -math.inf if asked == self._covered else scores.item(-1) + ROUNDED
        if self._alive is not None:
            rows = rows[self._alive[rows]]
        rows.sort()
        return rows, left

    def _plan(self, count: int, depth: int) -> tuple[int, Any]:
        """How many rows to ask FAISS for, and its parameters to compare so many candidates exactly; made once."""
        if (known := self._plans.get((count, depth))) is None:
            asked, deep = self._counts(count, min(depth, self._there))
            factor = max(1.0, deep / asked + 1e-6)
            known = asked, self._faiss.IndexRefineSearchParameters(k_factor=factor)
            self._plans[count, depth] = known
        return known

    def _counts(self, count: int, depth: int) -> tuple[int, int]:
        """How many rows to ask FAISS for, and how many candidates, so that enough of them are there."""
        if self._alive is None:
            return min(self._covered, count), min(self._covered, max(count, depth))
        more = 1 + 2 * self._gone
        asked, deep = math.ceil(count * more) + 2, math.ceil(depth * more) + 2
        return min(self._covered, asked), min(self._covered, max(asked, deep))

    def _candidates(self, query: np.ndarray, count: int) -> Found:
        """At most ``count`` rows that FAISS finds and that are there, best first."""
        asked, _ = self._counts(count, count)
        turned = query if self._matrix is None else query @ self._matrix
        scores, rows = self._searched(self._index, turned, asked, None)
        if self._alive is not None:
            kept = self._alive[rows]
            scores, rows = scores[kept], rows[kept]
        return scores[:count], rows[:count]

    def _searched(self, index: Any, query: np.ndarray, asked: int, parameters: Any) -> Found:
        """What an index of FAISS's finds on one thread, best first, without the places it leaves empty."""
        faiss = self._faiss
        scores, rows = np.empty(asked, dtype=np.float32), np.empty(asked, dtype=np.int64)
        before = faiss.omp_get_max_threads()
        if before > 1:
            faiss.omp_set_num_threads(1)
        try:
            index.search_c(1, faiss.swig_ptr(query), asked, faiss.swig_ptr(scores), faiss.swig_ptr(rows), parameters)
        finally:
            if before > 1:
                faiss.omp_set_num_threads(before)
        if asked and rows.item(-1) < 0:
            kept = rows >= 0
            scores, rows = scores[kept], rows[kept]
        return scores, rows


def _folded(ann: AnnIndex, reduction: Pca | None) -> tuple[np.ndarray | None, Any]:
    """One matrix (dim, n) for the reduction and FAISS's rotations, and the index behind them; None for no matrix.

    The length of what comes out is not mended: no order of candidates depends on it.
    """
    faiss = import_faiss()
    matrix, index = (None if reduction is None else reduction.components), ann.index
    while matrix is not None and isinstance(index, faiss.IndexPreTransform):  # without one FAISS is as fast itself
        if index.d > FOLDED:
            break
        turned = matrix
        step = np.zeros((1, index.d), dtype=np.float32)
        chain = [faiss.downcast_VectorTransform(index.chain.at(number)) for number in range(index.chain.size())]
        if not all(isinstance(one, faiss.LinearTransform | faiss.HadamardRotation) for one in chain):
            break
        for one in chain:
            turned, step = one.apply(np.ascontiguousarray(turned)), one.apply(step)
        if step.any():  # not linear: it adds something
            break
        matrix, index = turned, faiss.downcast_index(index.index)
    return (None if matrix is None else np.ascontiguousarray(matrix)), index


def _refined(inner: Any, matrix: np.ndarray | None, dim: int, stored: np.ndarray) -> Any:
    """An index whose search compares the candidates of ``inner`` with the fp16 numbers ``stored``, where these lie.

    ``stored`` are the bytes of all rows of ``inner``. None where FAISS is one that cannot be handed memory of others.
    """
    faiss = import_faiss()
    if not hasattr(faiss, "MaybeOwnedVectorUInt8"):
        return None
    exact = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    exact.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(stored), stored.size, exact.codes.owner)
    exact.ntotal = inner.ntotal
    before = inner
    if matrix is not None:
        turn = faiss.LinearTransform(*matrix.shape, False)
        faiss.copy_array_to_vector(np.ascontiguousarray(matrix.T).ravel(), turn.A)
        turn.is_trained = True
        before = faiss.IndexPreTransform(turn, inner)
    return faiss.IndexRefine(before, exact)  # FAISS's Python objects keep those that they point to
