"""Measures an index with probe queries: recall@10 against exact search, and the time of a query alone on one thread.

The same sweep chooses an index at build time, draws the curve of ``searchapp tune`` and confirms what is stored in the
manifest. Recall counts a hit as found when its cosine reaches that of the tenth exact hit, so ties are no misses.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from searchapp.index.ann.pca import Pca
from searchapp.index.ann.rescore import TIE, best, exact_scores
from searchapp.index.ann.rules import CANDIDATES, ladder
from searchapp.index.ann.searcher import AnnIndex, shortlist
from searchapp.index.storage.vectors import Copied, Stored

DEPTH = 10  # recall is measured at this many hits
TIMED, TIMED_ROWS = 40, 8_000  # queries timed one by one, and vectors held for them: fewer queries where each has many


@dataclass(frozen=True)
class Probes:
    """Query vectors, unit float32 (n, dim), and ``least`` (n,), the cosine of the last of each one's ``depth`` hits."""

    queries: np.ndarray
    least: np.ndarray
    depth: int

    @classmethod
    def over(cls, queries: np.ndarray, blocks: Iterable[np.ndarray], device: str = "cpu") -> Probes:
        """Find the exact hits of queries among the unit rows of all blocks, one block in memory at a time."""
        import torch

        asked, top = torch.from_numpy(queries).to(device), torch.zeros(len(queries), 0, device=device)
        rows = 0
        for block in blocks:
            top = torch.cat([top, asked @ torch.from_numpy(block).to(device).T], dim=1)
            top = torch.topk(top, min(DEPTH, top.shape[1])).values
            rows += len(block)
        return cls(queries, top.amin(1).cpu().numpy(), min(DEPTH, rows))

    def shares(self, cosines: np.ndarray) -> np.ndarray:
        """The share of its exact hits that each query found, (n,); ``cosines`` (n, m) of what was found for it."""
        hits = (cosines >= self.least[:, None] - TIE).sum(1)
        shares: np.ndarray = np.minimum(hits, self.depth) / self.depth
        return shares

    def recall(self, cosines: np.ndarray) -> float:
        """The mean of the shares."""
        return float(self.shares(cosines).mean())

    def point(self, parameters: dict[str, int], candidates: int, cosines: np.ndarray) -> Point:
        """The setting that found ``cosines``, best candidates first, with some of them rescored; not yet timed."""
        shares = self.shares(cosines[:, :candidates])
        error = float(shares.std() / np.sqrt(len(shares)))
        return Point(parameters, candidates, float(shares.mean()), error=error)


@dataclass(frozen=True)
class Point:
    """One setting of an index: its parameters, the candidates rescored, and what the probes measured.

    ``error`` is the standard error of the recall: other queries would give another.
    """

    parameters: dict[str, int]
    candidates: int
    recall: float
    milliseconds: float = float("nan")
    error: float = 0.0


@dataclass(frozen=True)
class Subject:
    """An index that is measured: FAISS's part, the reduction in front of it, and the vectors behind it.

    ``alive`` is a mask over its rows where some are gone: these are not found, as a reader would not find them.
    """

    ann: AnnIndex
    reduction: Pca | None
    vectors: Stored
    alive: np.ndarray | None = None

    @property
    def count(self) -> int:
        """Rows that can be found."""
        return self.ann.rows if self.alive is None else int(self.alive.sum())

    def reduced(self, queries: np.ndarray) -> np.ndarray:
        """Queries as the first stage takes them."""
        return self.reduction.apply(queries) if self.reduction is not None else queries

    def search(self, queries: np.ndarray, k: int, candidates: int) -> tuple[np.ndarray, np.ndarray]:
        """Search as a reader of the index would."""
        reduced = self.reduced(queries)
        return best(
            lambda chosen, depth: shortlist(self.ann, reduced[chosen], depth, self.alive),
            self.vectors,
            queries,
            k,
            max(candidates, k),
            self.count,
            exact=candidates == 0,
        )


def sweep(
    subject: Subject, probes: Probes, steps: Sequence[dict[str, int]], depths: Sequence[int] = CANDIDATES
) -> Iterator[list[Point]]:
    """For each step of search parameters, its recall with every depth of rescoring: one search, not yet timed."""
    queries = probes.queries
    reduced = subject.reduced(queries)
    for parameters in steps:
        subject.ann.set(parameters)
        _, rows = shortlist(subject.ann, reduced, min(max(depths), subject.count), subject.alive)
        cosines = exact_scores(subject.vectors, queries, rows)
        yield [probes.point(parameters, depth, cosines) for depth in depths]


def timed(subject: Subject, probes: Probes, point: Point) -> Point:
    """The point with the CPU time of one query at a time, median of up to ``TIMED``, and the recall that searches have.

    They look deeper where the last candidate is among the best, so it may be higher than that of a sweep.
    """
    subject.ann.set(point.parameters)
    if point.candidates:
        point = probes.point(
            point.parameters, point.candidates, subject.search(probes.queries, DEPTH, point.candidates)[0]
        )
    spent = []
    queries = probes.queries[: max(1, min(TIMED, TIMED_ROWS // max(point.candidates, 1)))]
    depth = min(max(point.candidates, 2 * DEPTH), subject.count)
    _, found = shortlist(subject.ann, subject.reduced(queries), depth, subject.alive)
    subject = replace(subject, vectors=Copied(subject.vectors, np.maximum(found, 0)))
    for query in queries:
        began = time.process_time()
        subject.search(query[None], DEPTH, point.candidates)
        spent.append(time.process_time() - began)
    return replace(point, milliseconds=1_000 * float(np.median(spent)))


def calibrate(subject: Subject, probes: Probes, factory: str, target: float) -> Point:
    """The fastest setting that reaches the target with a standard error to spare, else the best recall; timed."""
    if factory == "Flat" and subject.reduction is None:
        return timed(subject, probes, Point({}, 0, 1.0))
    reached: list[Point] = []
    missed: list[Point] = []
    for points in sweep(subject, probes, ladder(factory)):
        enough = next((point for point in points if point.recall - point.error >= target), None)
        if enough is None:
            missed.append(max(points, key=lambda point: point.recall))
            continue
        reached.append(timed(subject, probes, enough))
        if len(reached) > 1 and reached[-1].milliseconds > 1.2 * reached[-2].milliseconds:
            break  # further steps visit more, for candidates that are already few
        if enough.candidates == min(CANDIDATES):
            break
    if reached:
        return min(reached, key=lambda point: point.milliseconds)
    return timed(subject, probes, max(missed, key=lambda point: point.recall))
