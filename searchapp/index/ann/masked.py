"""The first stage over the rows that pass a filter: exactly where they are few, by codes of these rows alone where not.

Which way is taken depends on the filter and the index alone, so that a query finds the same rows each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from searchapp.index.ann.first_stage import Unindexed
from searchapp.index.ann.pca import Pca
from searchapp.index.ann.rescore import TIE, FirstStage, exact_scores, ordered
from searchapp.index.ann.restricted import Restricted
from searchapp.index.ann.searcher import AnnIndex, shortlist
from searchapp.index.storage.vectors import Stored

EXACT_NUMBERS = 1 << 18  # numbers (rows x dim) that are compared exactly as fast as their codes, and the best rescored
KEPT_NUMBERS = 1 << 22  # numbers (rows x dim) of float32 kept with a filter: 16 MB
RESTRICTED_BYTES = 64 << 20  # of the codes of the passing rows; a mask or deeper lists serve where there are more
MOST = 0.7  # share of the rows passing from which on some more candidates of all rows hold enough of them
SPREAD = 4  # times the place of the last hit among the candidates that there are to be of them
MARGIN = 1.5  # times as many candidates as that takes on average


@dataclass(frozen=True)
class Kept:
    """The first stage over rows whose unit vectors float32 (n, dim) are in memory; ``rows`` are their numbers."""

    vectors: np.ndarray
    rows: np.ndarray

    def top(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The best rows of unit queries, as a ``FirstStage`` gives them."""
        scores = queries @ self.vectors.T
        return ordered(scores, np.broadcast_to(self.rows, scores.shape), min(depth, len(self.rows)))


@dataclass(frozen=True)
class Masked:
    """The first stage over the rows of a FAISS index that pass, and over those beside it (``unindexed``).

    ``mask`` bool (rows,) is over the rows of ``ann``, of which ``count`` pass. ``restricted`` gives the index over
    these rows alone; None where there is none, and the mask is handed to FAISS or held to what it finds. ``reduction``
    is what queries go through first; ``exact`` says that FAISS's scores are cosines up to rounding. At least ``k`` rows
    are found for each query, where so many pass.
    """

    ann: AnnIndex
    reduction: Pca | None
    mask: np.ndarray
    count: int
    restricted: Callable[[], Restricted | None]
    unindexed: Unindexed
    exact: bool
    k: int

    def top(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The best rows of unit queries, as a ``FirstStage`` gives them; ``depth`` of each kind unless ``exact``."""
        reduced = self.reduction.apply(queries) if self.reduction is not None else queries
        scores, rows = self._indexed(reduced, min(depth, self.count))
        short = (rows >= 0).sum(1) < min(self.k, rows.shape[1])
        if short.any():  # a graph that few rows pass may lead to none of them
            passing = np.flatnonzero(self.mask)
            found = self.unindexed.brute_force.top(queries[short], rows.shape[1], passing)
            scores[short], rows[short] = ordered(*found, rows.shape[1])
        if not len(self.unindexed.rows):
            return scores, rows
        more_scores, more_rows = self.unindexed.top(queries, depth)
        scores, rows = np.hstack([more_scores, scores]), np.hstack([more_rows, rows])
        return ordered(scores, rows, min(depth, scores.shape[1])) if self.exact else (scores, rows)

    def _indexed(self, reduced: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        if not self.count:
            return np.zeros((len(reduced), 0), dtype=np.float32), np.zeros((len(reduced), 0), dtype=np.int64)
        if self.count < MOST * self.ann.rows or self.ann.filters:
            return self._few(reduced, depth)
        asked = min(self.ann.rows, math.ceil(MARGIN * depth * self.ann.rows / self.count))
        scores, rows = self.ann.search(reduced, asked)
        rows = np.where((rows >= 0) & self.mask[np.maximum(rows, 0)], rows, -1)
        short = (rows >= 0).sum(1) < depth
        scores, rows = ordered(scores, rows, depth)
        if short.any():  # what passes is far from these queries
            scores[short], rows[short] = self._few(reduced[short], depth)
        return scores, rows

    def _few(self, reduced: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        alone = self.restricted()
        if alone is None:
            return shortlist(self.ann, reduced, depth, self.mask)
        return alone.search(reduced, depth)


def best_passing(
    first: FirstStage, vectors: Stored, queries: np.ndarray, k: int, depth: int, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best rows of each unit query, as ``rescore.best`` gives them, from as many candidates as that needs.

    How many an index needs was measured on queries near its documents. Where what passes is far from a query, many
    rows are about as near, and codes tell them apart less well. A hit beyond the first quarter of the candidates, which
    are in the order of the codes, says so; such a query takes four times as many as that hit's place, and so does one
    whose last hit may be tied.
    """
    scores = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    unsure, depth = np.arange(len(queries)), min(depth, limit)
    while len(unsure):
        candidates = first.top(queries[unsure], depth)[1]
        cosines = exact_scores(vectors, queries[unsure], candidates)
        scores[unsure], rows[unsure] = ordered(cosines, candidates, k)
        if depth >= limit or candidates.shape[1] <= k:
            break
        hits = (cosines >= scores[unsure, -1:] - TIE) & (candidates >= 0)
        needed = SPREAD * (candidates.shape[1] - np.argmax(hits[:, ::-1], axis=1))
        open_ = (needed > candidates.shape[1]) & (candidates[:, -1] >= 0)
        unsure = unsure[open_]
        depth = min(max(depth + 1, int(needed[open_].max(initial=0))), limit)
    return scores, rows
