"""Search parameters swept to a recall, and times taken in turn: the parts of every table of ``bench index``.

A setting is found by bisection, as recall does not fall with more candidates, wider searches or more lists: of a grid
of settings the first that reaches the target, where there are lists for each number of them. What does not reach it is
said to do so, with the best recall that it has.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from searchapp.bench.baseline import IndexBaseline, Search, Searcher, SearchParameters
from searchapp.bench.own import OURS

SINGLE = 200  # queries asked one by one in a round
LEAST, SECONDS = 10, 1.5  # of these, so many at least, and more until so many seconds are over
BATCH = 256
WORTH = 0.0005  # of recall that more candidates have to bring
SLOWER = 1.5  # times the fastest setting of an index in the first round, from which on another is measured no more
Recall = Callable[[np.ndarray], float]  # of the rows found for all queries
_Family = tuple[tuple[str, int], ...]


@dataclass
class Point:
    """A baseline with its search parameters: recall, and milliseconds a query in each round, alone and in a batch."""

    baseline: IndexBaseline
    parameters: SearchParameters
    recall: float
    alone: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)

    def described(self) -> dict[str, Any]:
        """What ``--json`` prints for it: times only where it was timed."""
        found: dict[str, Any] = {"parameters": self.parameters, "recall": self.recall}
        for name, spent in (("single_ms", self.alone), ("batch_ms", self.together)):
            if spent:
                found |= {name: statistics.median(spent), f"{name}_least": min(spent)}
        return found


def every_point(baseline: IndexBaseline, asked: np.ndarray, recall: Recall) -> list[Point]:
    """All settings of a baseline's grid, but those whose further candidates find no more."""
    points = []
    best: dict[tuple[tuple[str, int], ...], float] = {}  # by what is set beside the candidates
    for parameters in baseline.grid:
        found = recall(baseline.at(parameters)(asked))
        same = tuple(sorted((key, value) for key, value in parameters.items() if key != "candidates"))
        if found < best.get(same, -1.0) + WORTH and not baseline.name.startswith(OURS):
            continue  # more candidates take longer, and find no more
        best[same] = found
        points.append(Point(baseline, parameters, found))
    return points


def swept(
    baseline: IndexBaseline, asked: np.ndarray, recall: Recall, target: float, at: Searcher | None = None
) -> list[Point]:
    """The settings that a bisection for a recall meets; searchapp's own index is taken as it is set.

    ``at`` searches in place of the baseline's own, which may be among rows that pass a filter.
    """
    searcher = at or baseline.at
    if baseline.name.startswith(OURS):
        return [Point(baseline, {}, recall(searcher({})(asked)))]
    points = []
    for family in _families(baseline):
        low, high = 0, len(family)
        while low < high:
            middle = (low + high) // 2
            point = Point(baseline, family[middle], recall(searcher(family[middle])(asked)))
            points.append(point)
            low, high = (low, middle) if point.recall >= target else (middle + 1, high)
    return points


def worth_timing(points: Sequence[Point], target: float) -> list[Point]:
    """Of one baseline's settings those that reach the recall, the fastest of each family; else that of best recall."""
    fastest: dict[_Family, Point] = {}
    for point in points:
        family, value = _placed(point.baseline, point.parameters)
        before = fastest.get(family)
        if point.recall >= target and (before is None or value < _placed(before.baseline, before.parameters)[1]):
            fastest[family] = point
    return list(fastest.values()) or [max(points, key=lambda point: point.recall)]


def _families(baseline: IndexBaseline) -> Iterator[list[SearchParameters]]:
    """The settings of a grid that differ in one number alone, ascending."""
    found: dict[_Family, list[SearchParameters]] = {}
    for parameters in sorted(baseline.grid, key=lambda one: _placed(baseline, one)[1]):
        found.setdefault(_placed(baseline, parameters)[0], []).append(parameters)
    yield from found.values()


def _placed(baseline: IndexBaseline, parameters: SearchParameters) -> tuple[_Family, int]:
    """What is fixed in a setting, and the number that varies: the candidates where the baseline rescores any."""
    if any("candidates" in one for one in baseline.grid):
        fixed = tuple(sorted((key, value) for key, value in parameters.items() if key != "candidates"))
        return fixed, parameters.get("candidates", 0)
    return (), max(parameters.values(), default=0)


def chosen(points: Sequence[Point], target: float) -> Point:
    """Of one baseline's timed settings the fastest at the recall, else that of best recall; ours as it is set."""
    timed = [point for point in points if point.alone]
    if timed[0].baseline.name.startswith(OURS):
        return timed[0]
    reached = [point for point in timed if point.recall >= target]
    if reached:
        return min(reached, key=lambda point: statistics.median(point.alone))
    return max(timed, key=lambda point: point.recall)


def time_in_turn(
    points: Sequence[Point],
    asked: np.ndarray,
    rounds: int,
    *,
    search: Callable[[Point], Search] | None = None,
    batches: bool = True,
    whole: bool = False,
    tell: Callable[[int], None] = lambda _: None,
) -> None:
    """Time all points round after round in turn; unless ``whole``, only the fast ones of each index after the first."""
    batch = np.resize(asked, (BATCH, asked.shape[1]))
    left = list(points)
    for number in range(rounds):
        tell(number)
        for point in left:
            ready = search(point) if search else point.baseline.at(point.parameters)
            point.alone.append(one_by_one(ready, asked[:SINGLE]))
            if batches:
                point.together.append(_milliseconds(ready, batch))
        if not whole and not number:
            least: dict[str, float] = {}
            for point in left:
                least[point.baseline.name] = min(least.get(point.baseline.name, np.inf), point.alone[0])
            left = [point for point in left if point.alone[0] <= SLOWER * least[point.baseline.name]]


def one_by_one(search: Search, queries: np.ndarray) -> float:
    """Processor time in milliseconds of a query alone, after all of them together, uncounted: that finds cold caches.

    The files of an index that was not asked for a while are cold, which arrays in memory never are.
    """
    search(queries)
    began, done = time.process_time(), 0
    for query in queries:
        search(query[None])
        done += 1
        if done >= LEAST and time.process_time() - began > SECONDS:
            break
    return 1_000 * (time.process_time() - began) / done


def _milliseconds(search: Search, batch: np.ndarray) -> float:
    search(batch)
    began = time.process_time()
    search(batch)
    return 1_000 * (time.process_time() - began) / len(batch)
