"""Exact comparison: a query with every one of some rows, block by block."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from searchapp.index.ann.rescore import nearest, ordered
from searchapp.index.storage.vectors import Vectors

BLOCK_NUMBERS = 1 << 24  # numbers (rows x dim) converted to float32 at a time


class BruteForce:
    """Compares queries with stored vectors. Those from row ``kept_from`` on stay in memory once read, if they are few.

    These are the rows that the FAISS index does not have yet, which every search compares.
    """

    def __init__(self, vectors: Vectors, kept_from: int) -> None:
        self._vectors, self._kept_from = vectors, kept_from

    def top(self, queries: np.ndarray, depth: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best of ``rows`` (ascending numbers) for each unit query, best first: cosines and rows, (n, depth).

        Narrower where there are fewer rows.
        """
        best_scores = np.full((len(queries), 0), -np.inf, dtype=np.float32)
        best_rows = np.zeros((len(queries), 0), dtype=np.int64)
        size = max(1, BLOCK_NUMBERS // self._vectors.dim)
        for begin in range(0, len(rows), size):
            block = rows[begin : begin + size]
            scores = queries @ self._gather(block).T
            found = nearest(scores, np.broadcast_to(block, scores.shape), depth)
            joined = np.hstack([best_scores, found[0]]), np.hstack([best_rows, found[1]])
            best_scores, best_rows = ordered(*joined, min(depth, begin + len(block)))
        return best_scores, best_rows

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        """Unit float32 vectors of rows."""
        count = self._vectors.rows - self._kept_from
        if rows[0] < self._kept_from or count * self._vectors.dim > BLOCK_NUMBERS:
            return self._vectors.gather(rows)
        return self._kept if len(rows) == count else self._kept[rows - self._kept_from]

    @cached_property
    def _kept(self) -> np.ndarray:
        return self._vectors.gather(np.arange(self._kept_from, self._vectors.rows))
