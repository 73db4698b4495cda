"""One step of a search as data: which rows it left for each query, in which order, with which scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Stage:
    """What a step left of the corpus for each of n queries, best first.

    ``rows`` int64 and ``scores`` float32, both (n, width); past a query's last hit the row is -1 and the score -inf.
    Equal scores stand in row order, so that the order is total. ``name`` is one of

    - ``compressed``: the index's own scores, of a reduced or compressed index;
    - ``exact``: cosines with the stored vectors, where the index is those vectors;
    - ``rescored``: cosines with the stored vectors of what ``compressed`` found;
    - ``bm25``: the lexical side; documents without any word of the query are no hits;
    - ``fused``: both sides together;
    - ``reranked``: the top of the stage before in the order of a reranker, and below it the rest of that stage.

    ``scored`` counts, for ``reranked``, how many of a query's rows the reranker has seen; elsewhere it is the width.
    ``rescored`` counts, for ``rescored``, how many documents were compared with a query by their stored vectors: at
    least as many as it left; elsewhere it is 0. ``looked_up`` has, for each query, the scores of rows that the step did
    not find by itself and another step had to know: they have a score and no rank.
    """

    name: str
    rows: np.ndarray
    scores: np.ndarray
    seconds: float = 0.0
    scored: int | None = None
    rescored: int = 0
    looked_up: Sequence[Mapping[int, float]] | None = None

    @property
    def width(self) -> int:
        """The most rows a query has."""
        return int(self.rows.shape[1])

    def cut(self, k: int) -> Stage:
        """The first k of every query."""
        if k >= self.width:
            return self
        return replace(self, rows=self.rows[:, :k], scores=self.scores[:, :k])

    def rank(self, query: int, row: int) -> int | None:
        """The rank of a row, from 1, among those of query number ``query``; None where it is not among them."""
        rows = self.rows[query]
        place = int((rows == row).argmax()) if len(rows) else 0
        return place + 1 if len(rows) and rows[place] == row else None

    def score(self, query: int, row: int) -> float | None:
        """The score of a row; None where it is not among those of the query, or no reranker has seen it."""
        return self.place(query, row)[1]

    def place(self, query: int, row: int) -> tuple[int | None, float | None]:
        """Both ``rank`` and ``score`` of a row, by one look."""
        rank = self.rank(query, row)
        if rank is None and self.looked_up is not None:
            return None, self.looked_up[query].get(row)
        if rank is None or (self.scored is not None and rank > self.scored):
            return rank, None
        return rank, float(self.scores[query, rank - 1])

    def first(self, query: int, count: int) -> list[tuple[int | None, float | None]]:
        """``place`` of each of the first rows of a query, of which it has at least ``count``."""
        scores = self.scores[query, :count].tolist()
        told = count if self.scored is None else self.scored
        return [(number + 1, score if number < told else None) for number, score in enumerate(scores)]

    def places(self, query: int, rows: np.ndarray) -> list[tuple[int | None, float | None]]:
        """``place`` of each of some rows, by one look at all of them."""
        if self.width == 0:
            return [self.place(query, row) for row in np.asarray(rows).tolist()]
        here = self.rows[query][None] == np.asarray(rows)[:, None]
        found = here.argmax(axis=1)
        there = here.any(axis=1)
        shown = there if self.scored is None else there & (found < self.scored)
        scores = self.scores[query].take(found).tolist()
        others = self.looked_up[query] if self.looked_up is not None else {}
        return [
            (rank + 1 if known else None, score if told else None if known else others.get(row))
            for row, rank, known, score, told in zip(
                np.asarray(rows).tolist(), found.tolist(), there.tolist(), scores, shown.tolist(), strict=True
            )
        ]


@dataclass(frozen=True)
class Ranking:
    """One query in the stages of a search: it is number ``query`` in each of them, which may have others too."""

    stages: Sequence[Stage]
    query: int
