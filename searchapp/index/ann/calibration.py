"""Measures an index with calibration queries: recall@10 against exact search, and the time of a query on one thread.

The same sweep chooses an index at build time, draws the curve of ``searchapp tune``, and confirms what the manifest
says. Recall counts a hit as found when its cosine reaches that of the tenth exact hit, so ties are no misses.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from searchapp.index.ann.pca import Pca
from searchapp.index.ann.rescore import TIE, best, exact_scores
from searchapp.index.ann.rules import CANDIDATES, is_exact, parameter_grid
from searchapp.index.ann.searcher import AnnIndex, shortlist
from searchapp.index.storage.vectors import Copied, Stored

DEPTH = 10  # recall is measured at this many hits
MARGIN = 2.0  # standard errors above the target, so that it holds for 39 in 40 other sets of as many queries
TIMED, TIMED_ROWS = 40, 8_000  # queries timed one by one, and vectors held for them: fewer queries where each has many


@dataclass(frozen=True)
class CalibrationQueries:
    """Queries with their ground truth.

    ``queries`` are unit float32 (n, dim); ``least`` (n,) are the cosines of the last of each one's ``depth`` hits.
    """

    queries: np.ndarray
    least: np.ndarray
    depth: int

    @classmethod
    def over(cls, queries: np.ndarray, blocks: Iterable[np.ndarray], device: str = "cpu") -> CalibrationQueries:
        """Find the exact hits of queries among the unit rows of all blocks, one block in memory at a time."""
        import torch

        on_device, top = torch.from_numpy(queries).to(device), torch.zeros(len(queries), 0, device=device)
        rows = 0
        for block in blocks:
            scores = on_device @ torch.from_numpy(block).to(device).T
            scores = torch.topk(scores, min(DEPTH, scores.shape[1]), sorted=False).values
            top = torch.cat([top, scores], dim=1)
            top = torch.topk(top, min(DEPTH, top.shape[1]), sorted=False).values
            rows += len(block)
        return cls(queries, top.amin(1).cpu().numpy(), min(DEPTH, rows))

    def recalls(self, cosines: np.ndarray) -> np.ndarray:
        """The share of its exact hits that each query found, (n,); ``cosines`` (n, m) of the rows found for it."""
        hits = (cosines >= self.least[:, None] - TIE).sum(1)
        shares: np.ndarray = np.minimum(hits, self.depth) / self.depth
        return shares

    def recall(self, cosines: np.ndarray) -> float:
        """The mean recall of the queries."""
        return float(self.recalls(cosines).mean())

    def point(self, parameters: dict[str, int], candidates: int, cosines: np.ndarray) -> OperatingPoint:
        """The operating point that rescores the first ``candidates`` of ``cosines`` (n, m), best first; not timed."""
        shares = self.recalls(cosines[:, :candidates])
        error = float(shares.std() / np.sqrt(len(shares)))
        return OperatingPoint(parameters, candidates, float(shares.mean()), error=error)


@dataclass(frozen=True)
class OperatingPoint:
    """One setting of an index and what was measured with it: search parameters, candidates rescored, recall, time.

    ``error`` is the standard error of the recall, as other queries would give another recall. ``reading`` are
    milliseconds more that candidates take on average where the vectors do not fit into memory.
    """

    parameters: dict[str, int]
    candidates: int
    recall: float
    milliseconds: float = float("nan")
    error: float = 0.0
    reading: float = 0.0

    @property
    def expected(self) -> float:
        """Milliseconds that a query takes, reading included."""
        return self.milliseconds + self.reading


@dataclass(frozen=True)
class MeasuredIndex:
    """An index that is measured: FAISS's part, the reduction in front of it, and the vectors to rescore with.

    ``alive`` is a mask over its rows, false where a document was deleted; None where none was. Deleted rows are never
    found, as in a search. ``row_milliseconds`` is what reading a row adds where the vectors do not fit into memory.
    """

    ann: AnnIndex
    reduction: Pca | None
    vectors: Stored
    alive: np.ndarray | None = None
    row_milliseconds: float = 0.0

    @property
    def count(self) -> int:
        """Rows that can be found."""
        return self.ann.rows if self.alive is None else int(self.alive.sum())

    def reduced(self, queries: np.ndarray) -> np.ndarray:
        """Queries as the first stage takes them."""
        return self.reduction.apply(queries) if self.reduction is not None else queries

    def top(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The candidates of unit queries, as a ``FirstStage`` gives them."""
        return shortlist(self.ann, self.reduced(queries), depth, self.alive)

    def search(self, queries: np.ndarray, k: int, candidates: int) -> tuple[np.ndarray, np.ndarray]:
        """Search as a reader of the index does; with 0 candidates its scores are taken as exact."""
        depth = max(candidates, k)
        return best(self, self.vectors, queries, k, depth, self.count, exact=candidates == 0)


def sweep(
    index: MeasuredIndex,
    queries: CalibrationQueries,
    grid: Sequence[dict[str, int]],
    depths: Sequence[int] = CANDIDATES,
) -> Iterator[list[OperatingPoint]]:
    """For each search parameters of a grid, one search, and an operating point for each rescoring depth; not timed."""
    for parameters in grid:
        index.ann.set(parameters)
        _, rows = index.top(queries.queries, min(max(depths), index.count))
        cosines = exact_scores(index.vectors, queries.queries, rows)
        yield [queries.point(parameters, depth, cosines) for depth in depths]


def timed(index: MeasuredIndex, queries: CalibrationQueries, point: OperatingPoint) -> OperatingPoint:
    """The point with the CPU time of one query at a time (median of up to ``TIMED``), and the recall of a search.

    That recall may be higher than the one of a sweep: a search takes more candidates where the last one may be tied.
    """
    index.ann.set(point.parameters)
    if point.candidates:
        cosines, _ = index.search(queries.queries, DEPTH, point.candidates)
        point = queries.point(point.parameters, point.candidates, cosines)
    spent = []
    chosen = queries.queries[: max(1, min(TIMED, TIMED_ROWS // max(point.candidates, 1)))]
    _, found = index.top(chosen, min(max(point.candidates, 2 * DEPTH), index.count))
    index = replace(index, vectors=Copied(index.vectors, np.maximum(found, 0)))
    for query in chosen:
        began = time.process_time()
        index.search(query[None], DEPTH, point.candidates)
        spent.append(time.process_time() - began)
    reading = point.candidates * index.row_milliseconds
    return replace(point, milliseconds=1_000 * float(np.median(spent)), reading=reading)


def calibrate(
    index: MeasuredIndex, queries: CalibrationQueries, factory: str, target: float, likely: int | None = None
) -> OperatingPoint:
    """The fastest point whose recall is the target and ``MARGIN`` standard errors more, else the best recall; timed.

    ``likely`` is how many candidates are expected to be needed; deeper rescoring is measured only where it has to be.
    """
    if is_exact(factory, reduced=index.reduction is not None):
        return timed(index, queries, OperatingPoint({}, 0, 1.0))
    reached: list[OperatingPoint] = []
    missed: list[OperatingPoint] = []
    for parameters in parameter_grid(factory):
        points: list[OperatingPoint] = []
        enough = None
        for depths in _steps(likely):
            [points] = sweep(index, queries, [parameters], depths)
            enough = next((point for point in points if point.recall - MARGIN * point.error >= target), None)
            if enough is not None:
                break
        if enough is None:
            missed.append(max(points, key=lambda point: point.recall))
            continue
        reached.append(timed(index, queries, enough))
        if len(reached) > 1 and reached[-1].expected > 1.2 * reached[-2].expected:
            break  # further steps visit more lists, and the candidates are few already
        if enough.candidates == min(CANDIDATES):
            break
    if reached:
        return min(reached, key=lambda point: point.expected)
    return timed(index, queries, max(missed, key=lambda point: point.recall))


def _steps(likely: int | None) -> list[tuple[int, ...]]:
    """The depths of rescoring to measure: those near the likely one first, where that leaves many out, then all."""
    near = tuple(depth for depth in CANDIDATES if likely is not None and depth <= 2 * likely)
    return [near, CANDIDATES] if near and len(near) < len(CANDIDATES) else [CANDIDATES]
