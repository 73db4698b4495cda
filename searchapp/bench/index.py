"""``searchapp bench index``: searchapp's own choice beside other indexes over the same vectors, asked in turn."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.bench.baseline import IndexBaseline
from searchapp.bench.budget import build_seconds, duration, total_seconds
from searchapp.bench.changes import measure_filters, measure_updates, recall_of, shares
from searchapp.bench.index_baselines import FLAT, build, check, expanded, standard
from searchapp.bench.libraries import LIBRARIES, missing
from searchapp.bench.machine import describe
from searchapp.bench.own import ours
from searchapp.bench.sources import VectorSource
from searchapp.bench.sweep import Point, chosen, every_point, swept, time_in_turn, worth_timing
from searchapp.bench.vectors import index_of
from searchapp.errors import SearchAppError
from searchapp.index import Snapshot, VectorIndex, reindex
from searchapp.index.ann.faiss_lib import import_faiss
from searchapp.index.ann.request import Targets
from searchapp.index.storage.vectors import MOST_BLOCK, Held

Notice = Callable[[str], None]


@dataclass(frozen=True)
class IndexPlan:
    """What to measure: ``rivals`` are FAISS factory strings, libraries or ``peers``; the standard ones by default.

    ``minutes`` are how long it may take: a baseline whose building does not fit into what is left of them is left out.
    ``curves`` times every setting of every index, not only those at the recall that is wanted. ``filters`` and
    ``updates`` measure these too.
    """

    rivals: tuple[str, ...] | None = None
    targets: Targets = Targets()
    rounds: int = 3
    minutes: float = 30.0
    curves: bool = True
    filters: bool = False
    updates: bool = False


def bench_index(source: VectorSource, plan: IndexPlan, notice: Notice = lambda _: None) -> dict[str, Any]:
    """Build every index over the vectors of ``source`` and measure them in turn, one thread, processor time.

    Half of the queries are the probes that searchapp chooses by; the other half measure, and nothing has seen them.
    Raises SearchAppError.
    """
    if plan.rounds < 1:
        raise SearchAppError(f"--rounds {plan.rounds} measures nothing; give at least 1")
    if len(source.queries) < 2:
        raise SearchAppError(f"{source.name} has {len(source.queries)} queries; at least 2 are needed")
    half = len(source.queries) // 2
    chosen_by, asked = source.queries[:half], np.ascontiguousarray(source.queries[half:])
    names = expanded(plan.rivals or [], source.dim)
    check(names, source.dim)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="searchapp-bench-") as work, _one_thread():
        path = Path(work) / "index"
        index_of(path, source.blocks(), source.dim, chosen_by, _metadata if plan.filters or plan.updates else None)
        rows = Snapshot.open(path).manifest.rows
        names = list(dict.fromkeys([FLAT, *(names if plan.rivals is not None else standard(rows, source.dim))]))
        notice(f"this takes about {duration(total_seconds(names, rows, source.dim, plan.rounds))}")
        notice("building searchapp's own index")
        spent = time.process_time()
        reindex(path, factory="auto", targets=plan.targets)
        spent = time.process_time() - spent
        index = VectorIndex.open(path)
        held = _held(index)
        others, skipped = _built(index, held, names, began + 60 * plan.minutes, notice)
        own = ours(path, spent)
        baselines = [*others[:1], own, *others[1:]]
        points = _measured(baselines, held, asked, plan, notice)
        settings = {one.name: _best(one, points, plan.targets.recall).parameters for one in baselines}
        filtered = updated = None
        if plan.filters:
            filtered = measure_filters(baselines, held, asked, plan.targets.recall, plan.rounds, notice)
        if plan.updates:
            updated = measure_updates(baselines, settings, held, asked, plan.rounds, notice)
        results = [_result(one, points, plan.targets.recall) for one in baselines]
        for result in results:
            if filtered is not None:
                result["filters"] = filtered[result["index"]]
            if updated is not None:
                result["updates"] = updated.get(result["index"])
        return {
            "benchmark": "index",
            "vectors": {
                "name": source.name,
                "rows": rows,
                "dim": source.dim,
                "queries": len(asked),
                "origin": source.origin,
            },
            "machine": describe("cpu", 1),
            "versions": _versions(),
            "targets": asdict(plan.targets),
            "rounds": plan.rounds,
            "seconds": time.perf_counter() - began,
            "skipped": skipped,
            "results": results,
        }


def _metadata(first: int, count: int) -> list[dict[str, int]]:
    """The metadata of ``count`` rows from ``first`` on, which the filters are about."""
    return [{"share": share} for share in shares(first + count)[first:].tolist()]


def _held(index: VectorIndex) -> Held:
    """The vectors of an index in memory."""
    return Held(np.concatenate([index.vectors.stored(rows) for rows in _pieces(index.manifest.rows)]))


def _built(
    index: VectorIndex, held: Held, names: Sequence[str], until: float, notice: Notice
) -> tuple[list[IndexBaseline], dict[str, str]]:
    """The baselines, Flat first, as others are compared with it; and why a baseline is not among them."""
    baselines, skipped = [], {}
    for name in names:
        takes, left = build_seconds(name, held.count, held.dim), until - time.perf_counter()
        if missing(name):
            skipped[name] = f"not installed (pip install {name}, or searchapp[bench])"
        elif name != FLAT and takes > left:
            skipped[name] = (
                f"building takes about {duration(takes)}, {duration(max(0.0, left))} are left; give more --minutes"
            )
        else:
            notice(f"building {name}")
            try:
                check([name], index.manifest.dim)
                baselines.append(build(name, index, held))
            except SearchAppError as error:
                skipped[name] = str(error)
        if name in skipped:
            notice(f"{name} is left out: {skipped[name]}")
    return baselines, skipped


def _pieces(rows: int) -> Iterator[np.ndarray]:
    for begin in range(0, rows, MOST_BLOCK):
        yield np.arange(begin, min(begin + MOST_BLOCK, rows))


def _measured(
    baselines: Sequence[IndexBaseline], held: Held, asked: np.ndarray, plan: IndexPlan, notice: Notice
) -> list[Point]:
    """The settings of every baseline with their recall, and the times of those that matter, taken in turn."""
    recall, target = recall_of(held, asked), plan.targets.recall
    points: list[Point] = []
    timed: list[Point] = []
    for baseline in baselines:
        notice(f"finding the recall of {baseline.name}")
        own = every_point(baseline, asked, recall) if plan.curves else swept(baseline, asked, recall, target)
        points += own
        timed += own if plan.curves else worth_timing(own, target)

    def tell(number: int) -> None:
        notice(f"round {number + 1} of {plan.rounds}: {len(timed)} settings of {len(baselines)} indexes")

    time_in_turn(timed, asked, plan.rounds, whole=plan.curves, tell=tell)
    return points


def _best(baseline: IndexBaseline, points: Sequence[Point], target: float) -> Point:
    return chosen([point for point in points if point.baseline is baseline], target)


def _result(baseline: IndexBaseline, points: Sequence[Point], target: float) -> dict[str, Any]:
    """A baseline with one of its points: ours as it is set, another's fastest at the target, else its best recall."""
    best = _best(baseline, points, target)
    return {
        "index": baseline.name,
        "bytes": baseline.size,
        "build_seconds": baseline.seconds,
        **best.described(),
        "reached": best.recall >= target,
        "notes": list(baseline.notes),
        "points": [point.described() for point in points if point.baseline is baseline],
    }


def _versions() -> dict[str, str]:
    """The versions of the libraries that are compared."""
    from importlib import metadata

    versions = {"faiss": import_faiss().__version__}
    for name in LIBRARIES:
        if not missing(name):
            versions[name] = metadata.version(name)
    return versions


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for FAISS and for torch, and what it was before afterwards."""
    import torch

    faiss = import_faiss()
    before = faiss.omp_get_max_threads(), torch.get_num_threads()
    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before[0])
        torch.set_num_threads(before[1])
