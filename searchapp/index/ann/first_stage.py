"""The first stage of a search: candidates from FAISS for the rows it has, and from exact comparison for the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from searchapp.index.ann.brute_force import BruteForce
from searchapp.index.ann.gpu import ExactSearch
from searchapp.index.ann.pca import Pca
from searchapp.index.ann.rescore import ordered
from searchapp.index.ann.searcher import AnnIndex, shortlist


@dataclass(frozen=True)
class Unindexed:
    """The first stage over rows that no FAISS index has: exact comparison with ``rows`` (ascending numbers)."""

    brute_force: BruteForce
    rows: np.ndarray

    def top(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The best rows of unit queries, as a ``FirstStage`` gives them."""
        return self.brute_force.top(queries, depth, self.rows)


@dataclass(frozen=True)
class Indexed:
    """The first stage over the rows of a FAISS index, and over ``unindexed`` ones beside them.

    ``reduction`` is what queries go through before FAISS, ``allowed`` a mask over the rows FAISS has (None: all).
    ``exact`` says that FAISS's scores are cosines up to rounding, like those of exact comparison. At least ``k`` rows
    of the index are found for each query, where it has so many.
    """

    ann: AnnIndex | ExactSearch
    reduction: Pca | None
    allowed: np.ndarray | None
    unindexed: Unindexed
    k: int
    exact: bool

    def top(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The best rows of unit queries, as a ``FirstStage`` gives them; ``depth`` of each kind unless ``exact``."""
        reduced = self.reduction.apply(queries) if self.reduction is not None else queries
        scores, rows = shortlist(self.ann, reduced, depth, self.allowed)
        self._fill(queries, scores, rows)
        if not len(self.unindexed.rows):
            return scores, rows
        more_scores, more_rows = self.unindexed.top(queries, depth)
        scores, rows = np.hstack([more_scores, scores]), np.hstack([more_rows, rows])
        return ordered(scores, rows, min(depth, scores.shape[1])) if self.exact else (scores, rows)

    def _fill(self, queries: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> None:
        """Put the best of all rows, in place, where lists or a graph led to fewer than k, though there are more."""
        width = rows.shape[1]
        short = rows[:, min(self.k, width) - 1] < 0
        if not short.any():
            return
        there = np.arange(self.ann.rows) if self.allowed is None else np.flatnonzero(self.allowed)
        short &= (rows >= 0).sum(1) < min(self.k, len(there))
        if short.any():
            found = self.unindexed.brute_force.top(queries[short], width, there)
            scores[short], rows[short] = ordered(*found, width)
