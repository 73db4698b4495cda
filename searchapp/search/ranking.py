"""One step of a search as data: which rows it left for each query, in which order, with which scores."""

from __future__ import annotations

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
    least as many as it left; elsewhere it is 0.
    """

    name: str
    rows: np.ndarray
    scores: np.ndarray
    seconds: float = 0.0
    scored: int | None = None
    rescored: int = 0

    @property
    def width(self) -> int:
        """The most rows a query has."""
        return int(self.rows.shape[1])

    def cut(self, k: int) -> Stage:
        """The first k of every query."""
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
        if rank is None or (self.scored is not None and rank > self.scored):
            return rank, None
        return rank, float(self.scores[query, rank - 1])

    def places(self, query: int, rows: np.ndarray) -> list[tuple[int | None, float | None]]:
        """``place`` of each of some rows, by one look at all of them."""
        if self.width == 0:
            return [(None, None)] * len(rows)
        here = self.rows[query][None] == np.asarray(rows)[:, None]
        found = here.argmax(axis=1)
        there = here.any(axis=1)
        shown = there if self.scored is None else there & (found < self.scored)
        scores = self.scores[query].take(found).tolist()
        return [
            (rank + 1 if known else None, score if told else None)
            for rank, known, score, told in zip(found.tolist(), there.tolist(), scores, shown.tolist(), strict=True)
        ]
