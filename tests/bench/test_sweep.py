"""Settings are found by bisection for a recall, or said to miss it; recall is that of exact search over what is left."""

from __future__ import annotations

import numpy as np
import pytest

from searchapp.bench.baseline import IndexBaseline
from searchapp.bench.budget import BUILDING, build_seconds, duration, total_seconds
from searchapp.bench.changes import recall_of, row_filter
from searchapp.bench.index_report import changes, rows, summary
from searchapp.bench.sweep import Point, chosen, swept, time_in_turn, worth_timing
from searchapp.index.storage.vectors import Held

QUERIES = np.zeros((4, 2), dtype=np.float32)


def _baseline(grid: tuple[dict[str, int], ...], asked: list[dict[str, int]]) -> IndexBaseline:
    """One whose search returns the setting it was made with, so that recall can be any function of it."""

    def at(parameters: dict[str, int]):
        asked.append(parameters)
        return lambda queries: np.array([list(parameters.values())])

    return IndexBaseline("made up", at, grid, 1.0, 0.0)


@pytest.mark.parametrize("least", range(1, 21))
def test_the_first_setting_that_reaches_the_recall_is_found_in_few_steps(least: int) -> None:
    asked: list[dict[str, int]] = []
    baseline = _baseline(tuple({"ef": breadth} for breadth in range(1, 20)), asked)
    points = swept(baseline, QUERIES, lambda found: 1.0 if found[0, 0] >= least else 0.5, 0.9)
    [best] = worth_timing(points, 0.9)
    assert best.parameters["ef"] == least if least < 20 else best.recall == 0.5
    assert len(asked) <= 5


def test_each_number_of_lists_has_its_own_candidates() -> None:
    grid = tuple({"nprobe": lists, "candidates": deep} for lists in (1, 4, 8) for deep in (10, 20, 40, 80))
    points = swept(_baseline(grid, []), QUERIES, lambda found: float(found[0, 0] * found[0, 1] >= 160), 1.0)
    best = {point.parameters["nprobe"]: point.parameters["candidates"] for point in worth_timing(points, 1.0)}
    assert best == {4: 40, 8: 20}
    codes = tuple({} if not deep else {"candidates": deep} for deep in (0, 50, 100))
    points = swept(_baseline(codes, []), QUERIES, lambda found: 1.0, 1.0)
    assert [point.parameters for point in worth_timing(points, 1.0)] == [{}]


def test_of_timed_settings_the_fastest_counts_and_slow_ones_are_dropped() -> None:
    import time

    def at(parameters: dict[str, int]):
        def search(queries: np.ndarray) -> np.ndarray:
            until = time.process_time() + parameters["us"] / 1e6
            while time.process_time() < until:
                pass
            return np.zeros((len(queries), 10), dtype=np.int64)

        return search

    baseline = IndexBaseline("made up", at, (), 1.0, 0.0)
    fast, slow = (Point(baseline, {"us": spent}, 1.0) for spent in (200, 2_000))
    time_in_turn([slow, fast], QUERIES, 3, batches=False)
    assert (len(fast.alone), len(slow.alone)) == (3, 1)
    assert chosen([slow, fast], 1.0) is fast
    assert 0.2 <= min(fast.alone) <= 1.0
    missing = Point(baseline, {"us": 1}, 0.5, alone=[0.001])
    assert chosen([missing, slow], 1.0) is slow
    assert chosen([missing, slow], 1.5) is slow  # the best recall where none reaches it


def test_recall_is_against_exact_search_among_the_rows_allowed() -> None:
    rng = np.random.default_rng(0)
    held = Held(rng.normal(size=(300, 8)).astype("<f2"))
    queries = rng.normal(size=(5, 8)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    allowed = rng.random(300) < 0.3
    units = held.stored(np.arange(300)).astype(np.float64)
    scores = queries @ (units / np.linalg.norm(units, axis=1, keepdims=True)).T
    every, among = np.argsort(-scores, 1)[:, :10], np.argsort(-np.where(allowed, scores, -9), 1)[:, :10]
    assert recall_of(held, queries)(every) == recall_of(held, queries, allowed)(among) == 1
    half = np.concatenate([among[:, :5], np.full((5, 5), -1)], axis=1)
    assert recall_of(held, queries, allowed)(half) == 0.5
    share = np.mean([len(set(one) & set(other)) for one, other in zip(every, among, strict=True)]) / 10
    assert recall_of(held, queries, allowed)(every) == pytest.approx(share)  # others are no hits, though nearer


def test_a_filter_passes_its_share_of_the_rows_and_the_same_ones_each_time() -> None:
    one, half = row_filter(0.01, 50_000), row_filter(0.5, 50_000)
    assert one.mask.mean() == pytest.approx(0.01, rel=0.2)
    assert half.mask.mean() == pytest.approx(0.5, rel=0.05)
    assert (half.mask >= one.mask).all()
    assert (row_filter(0.01, 50_000).mask == one.mask).all()


def test_time_is_told_beforehand() -> None:
    assert build_seconds("hnswlib", 82_000, 256) > 10 * build_seconds("PQ64x4fs,RFlat", 82_000, 256)
    assert all(build_seconds(name, 1_000, 8) > 0 for name in BUILDING)
    assert total_seconds(["hnswlib"], 82_000, 256, 3) > build_seconds("hnswlib", 82_000, 256)
    assert (duration(0.2), duration(80), duration(150)) == ("1 s", "80 s", "2 min")


def test_what_is_missed_or_cannot_be_done_is_said() -> None:
    def result(name: str, recall: float, **more: object) -> dict[str, object]:
        return {"index": name, "parameters": {}, "recall": recall, "reached": recall >= 0.9, "bytes": 4.0, "notes": [],
                "single_ms": 2.0, "single_ms_least": 1.0, "batch_ms": 1.0, "build_seconds": 1.0, **more}  # fmt: skip

    filters = [{"share": share, "single_ms": 3.0, "recall": recall} for share, recall in ((0.01, 0.5), (0.5, 1.0))]
    updates = {
        "rows": 7,
        "before_ms_least": 1.0,
        "add_seconds": 0.5,
        "added_ms": 1.6,
        "added_ms_least": 1.5,
        "added_recall": 0.9,
    }
    found = {
        "results": [result("Flat", 1.0, filters=[], updates=None), result("x", 0.8, filters=filters, updates=updates)],
        "vectors": {"rows": 9, "dim": 2, "queries": 3, "origin": "q"}, "targets": {"recall": 0.9}, "rounds": 1,
        "machine": {"device": "cpu", "processor": "p", "threads": 1, "cores": 1, "instructions": []},
        "versions": {}, "skipped": {"hnswlib": "not installed"},
    }  # fmt: skip
    assert rows(found)[2][2:4] == ["(0.8000)", "2.000 (1.000)"]
    assert "x does not reach the recall" in summary(found)
    head, flat, other = changes(found)
    assert flat[2:] == ["–"] * 6
    assert other[2:] == ["3.000 (0.5000, missed)", "3.000 (1.0000)", "0.50", "1.50 (0.9000)", "–", "–"]
    assert len(head) == len(other)
