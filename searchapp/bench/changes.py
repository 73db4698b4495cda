"""What ``searchapp bench index`` measures beside plain search: rows that pass a filter, and rows added and deleted."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from searchapp.bench.baseline import IndexBaseline, RowFilter, SearchParameters
from searchapp.bench.sweep import Recall, chosen, one_by_one, swept, time_in_turn, worth_timing
from searchapp.index.ann.calibration import CalibrationQueries
from searchapp.index.ann.rescore import exact_scores
from searchapp.index.storage.vectors import Held, unit, widen

SHARES = (0.01, 0.5)  # of the rows that pass
PARTS = 10_000  # a row's ``share`` is a random number below it
FILTERED = 30  # queries asked with a filter
CHANGED, PART = 1_000, 10  # rows added and deleted; of a small index one in so many
NOISE = 0.3  # length of what is put on a stored vector to make a new one
BLOCK = 8_192
Settings = Mapping[str, SearchParameters]  # by the name of a baseline
Notice = Callable[[str], None]


def shares(rows: int) -> np.ndarray:
    """The number that each row has as its metadata ``share``, int64 (rows,): a filter is a bound on it."""
    return np.random.default_rng(7).integers(0, PARTS, rows)


def row_filter(share: float, rows: int) -> RowFilter:
    """The filter that about this share of the rows pass."""
    bound = round(share * PARTS)
    return RowFilter(share, shares(rows) < bound, f"share < {bound}")


def recall_of(held: Held, queries: np.ndarray, allowed: np.ndarray | None = None) -> Recall:
    """A function from rows found to their recall@10 against exact search among the rows that are ``allowed``.

    A row that is not allowed counts as not found.
    """
    truth = CalibrationQueries.over(queries, _blocks(held, allowed))

    def recall(rows: np.ndarray) -> float:
        if allowed is not None:
            rows = np.where((rows >= 0) & allowed[np.maximum(rows, 0)], rows, -1)
        return truth.recall(exact_scores(held, queries, rows))

    return recall


def _blocks(held: Held, allowed: np.ndarray | None) -> Iterator[np.ndarray]:
    rows = np.arange(held.count) if allowed is None else np.flatnonzero(allowed)
    for begin in range(0, len(rows), BLOCK):
        yield unit(widen(held.stored(rows[begin : begin + BLOCK])))


def measure_filters(
    baselines: Sequence[IndexBaseline], held: Held, asked: np.ndarray, target: float, rounds: int, notice: Notice
) -> dict[str, list[dict[str, Any]]]:
    """For every baseline that can, its time and recall among the rows passing each filter, swept to the target."""
    found: dict[str, list[dict[str, Any]]] = {baseline.name: [] for baseline in baselines}
    asked = asked[:FILTERED]
    for share in SHARES:
        filter = row_filter(share, held.count)
        notice(f"searching the {share:.0%} of rows that pass a filter")
        recall = recall_of(held, asked, filter.mask)
        searchers = {one.name: one.passing(filter) for one in baselines if one.passing is not None}
        points = []
        for baseline in baselines:
            if baseline.name in searchers:
                met = swept(baseline, asked, recall, target, searchers[baseline.name])
                points += worth_timing(met, target)
        time_in_turn(
            points,
            asked,
            rounds,
            search=lambda point, by=searchers: by[point.baseline.name](point.parameters),  # type: ignore[misc]
            batches=False,
        )
        for baseline in baselines:
            own = [point for point in points if point.baseline is baseline]
            if own:
                best = chosen(own, target)
                found[baseline.name].append({"share": share, "passing": int(filter.mask.sum()), **best.described()})
    return found


def measure_updates(
    baselines: Sequence[IndexBaseline], settings: Settings, held: Held, asked: np.ndarray, rounds: int, notice: Notice
) -> dict[str, dict[str, Any]]:
    """For every baseline that can, seconds to add and to delete rows, and the times of a query before and after.

    Settings stay as they were chosen before. The rows added are near stored ones; those deleted are random.
    """
    rng, count = np.random.default_rng(0), max(1, min(CHANGED, held.count // PART))
    more = unit(widen(held.stored(np.sort(rng.choice(held.count, count, replace=False)))))
    more = unit(more + np.float32(NOISE / np.sqrt(held.dim)) * rng.standard_normal(more.shape, dtype=np.float32))
    gone = np.sort(rng.choice(held.count, count, replace=False))
    after = Held(np.concatenate([held.stored(np.arange(held.count)), more.astype("<f2")]))
    takers = [one for one in baselines if one.add is not None]
    found: dict[str, dict[str, Any]] = {one.name: {"rows": count} for one in takers}

    def measure(word: str, some: Sequence[IndexBaseline], recall: Recall | None) -> None:
        times: dict[str, list[float]] = {one.name: [] for one in some}
        for _ in range(rounds):
            for one in some:
                times[one.name].append(one_by_one(one.at(settings[one.name]), asked))
        for one in some:
            found[one.name][f"{word}_ms"] = statistics.median(times[one.name])
            found[one.name][f"{word}_ms_least"] = min(times[one.name])
            if recall is not None:
                found[one.name][f"{word}_recall"] = recall(one.at(settings[one.name])(asked))

    measure("before", takers, None)
    notice(f"adding {count:,} rows")
    for one in takers:
        found[one.name]["add_seconds"] = _seconds(one.add, more)
    measure("added", takers, recall_of(after, asked))
    notice(f"deleting {count:,} rows")
    losers = [one for one in takers if one.delete is not None]
    for one in losers:
        found[one.name]["delete_seconds"] = _seconds(one.delete, gone)
    alive = np.ones(after.count, dtype=bool)
    alive[gone] = False
    measure("deleted", losers, recall_of(after, asked, alive))
    return found


def _seconds(change: Callable[[np.ndarray], None] | None, rows: np.ndarray) -> float:
    began = time.process_time()
    if change is not None:
        change(rows)
    return time.process_time() - began
