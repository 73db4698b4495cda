"""``searchapp bench index``: searchapp's own choice beside other indexes over the same vectors, asked in turn."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.bench.index_baselines import (
    FLAT,
    OURS,
    IndexBaseline,
    Search,
    SearchParameters,
    build,
    check,
    missing,
    ours,
    standard,
)
from searchapp.bench.machine import describe
from searchapp.bench.sources import VectorSource
from searchapp.bench.vectors import index_of
from searchapp.errors import SearchAppError
from searchapp.index import VectorIndex, reindex
from searchapp.index.ann.calibration import CalibrationQueries
from searchapp.index.ann.faiss_lib import import_faiss
from searchapp.index.ann.request import Targets
from searchapp.index.ann.rescore import exact_scores
from searchapp.index.storage.vectors import MOST_BLOCK, Held

SINGLE = 40  # queries asked one by one in a round
BATCH = 256
WORTH = 0.0005  # of recall that more candidates have to bring


@dataclass(frozen=True)
class IndexPlan:
    """What to measure: ``rivals`` are FAISS factory strings, usearch or hnswlib; the standard ones by default."""

    rivals: tuple[str, ...] | None = None
    targets: Targets = Targets()
    rounds: int = 3


@dataclass
class _Point:
    """A baseline with its search parameters: recall, and milliseconds a query in each round, alone and in a batch."""

    baseline: IndexBaseline
    parameters: SearchParameters
    recall: float
    alone: list[float]
    together: list[float]

    def described(self) -> dict[str, Any]:
        """What ``--json`` prints for it."""
        return {
            "parameters": self.parameters,
            "recall": self.recall,
            "single_ms": statistics.median(self.alone),
            "batch_ms": statistics.median(self.together),
        }


def bench_index(
    source: VectorSource, plan: IndexPlan, notice: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
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
    names = list(plan.rivals or [])
    check(names, source.dim)
    with tempfile.TemporaryDirectory(prefix="searchapp-bench-") as work, _one_thread():
        path = Path(work) / "index"
        index_of(path, source.blocks(), source.dim, chosen_by)
        notice("building searchapp's own index")
        began = time.process_time()
        reindex(path, factory="auto", targets=plan.targets)
        seconds = time.process_time() - began
        index = VectorIndex.open(path)
        if plan.rivals is None:
            names = standard(index.manifest.rows, source.dim)
        truth = CalibrationQueries.over(asked, index.vectors.blocks())
        baselines, skipped = _built(index, ours(index, seconds), names, notice)
        points = _measured(baselines, index, asked, truth, plan.rounds, notice)
        return {
            "benchmark": "index",
            "vectors": {
                "name": source.name,
                "rows": index.manifest.rows,
                "dim": source.dim,
                "queries": len(asked),
                "origin": source.origin,
            },
            "machine": describe("cpu", 1),
            "versions": _versions(),
            "targets": asdict(plan.targets),
            "rounds": plan.rounds,
            "skipped": skipped,
            "results": [_result(one, points, plan.targets.recall) for one in baselines],
        }


def _built(
    index: VectorIndex, own: IndexBaseline, names: list[str], notice: Callable[[str], None]
) -> tuple[list[IndexBaseline], dict[str, str]]:
    """All baselines, Flat first, as others are compared with it; and why a baseline is not among them."""
    every = np.concatenate([index.vectors.stored(rows) for rows in _pieces(index.manifest.rows)])
    held, baselines, skipped = Held(every), [], {}
    for name in dict.fromkeys([FLAT, *names]):
        if missing(name):
            skipped[name] = f"not installed (pip install {name}, or searchapp[bench])"
            notice(f"{name} is left out: {skipped[name]}")
            continue
        notice(f"building {name}")
        try:
            check([name], index.manifest.dim)
            baselines.append(build(name, index, held))
        except SearchAppError as error:
            skipped[name] = str(error)
            notice(f"{name} is left out: {error}")
    return [*baselines[:1], own, *baselines[1:]], skipped


def _pieces(rows: int) -> Iterator[np.ndarray]:
    for begin in range(0, rows, MOST_BLOCK):
        yield np.arange(begin, min(begin + MOST_BLOCK, rows))


def _measured(
    baselines: list[IndexBaseline],
    index: VectorIndex,
    asked: np.ndarray,
    truth: CalibrationQueries,
    rounds: int,
    notice: Callable[[str], None],
) -> list[_Point]:
    """Recall of every baseline with all parameters of its grid, then their times, round after round in turn."""
    points = []
    for baseline in baselines:
        best: dict[tuple[tuple[str, int], ...], float] = {}  # by what is set beside the candidates
        for parameters in baseline.grid:
            found = baseline.at(parameters)(asked)
            recall = truth.recall(exact_scores(index.vectors, asked, found))
            same = tuple(sorted((key, value) for key, value in parameters.items() if key != "candidates"))
            if recall < best.get(same, -1.0) + WORTH and not baseline.name.startswith(OURS):
                continue  # more candidates take longer, and find no more
            best[same] = recall
            points.append(_Point(baseline, parameters, recall, [], []))
    batch = np.resize(asked, (BATCH, asked.shape[1]))
    for number in range(rounds):
        notice(f"round {number + 1} of {rounds}: {len(points)} settings of {len(baselines)} indexes")
        for point in points:
            search = point.baseline.at(point.parameters)
            point.alone.append(_milliseconds(search, asked[:SINGLE], 1))
            point.together.append(_milliseconds(search, batch, BATCH))
    return points


def _milliseconds(search: Search, queries: np.ndarray, size: int) -> float:
    """Processor time a query, asked ``size`` at a time, after all of them at once, uncounted: that finds cold caches.

    The files of an index that was not asked for a while are cold, which arrays in memory never are.
    """
    search(queries)
    began = time.process_time()
    for first in range(0, len(queries), size):
        search(queries[first : first + size])
    return 1_000 * (time.process_time() - began) / len(queries)


def _result(baseline: IndexBaseline, points: list[_Point], target: float) -> dict[str, Any]:
    """A baseline with one of its points: ours as it is set, another's fastest at the target, else its best recall."""
    own = [point.described() for point in points if point.baseline is baseline]
    reached = [point for point in own if point["recall"] >= target]
    if baseline.name.startswith(OURS):
        chosen = own[0]
    elif reached:
        chosen = min(reached, key=lambda point: point["single_ms"])
    else:
        chosen = max(own, key=lambda point: point["recall"])
    return {
        "index": baseline.name,
        "bytes": baseline.size,
        "build_seconds": baseline.seconds,
        **chosen,
        "notes": list(baseline.notes),
        "points": own,
    }


def _versions() -> dict[str, str]:
    """The versions of the libraries that are compared."""
    from importlib import metadata

    versions = {"faiss": import_faiss().__version__}
    for name in ("usearch", "hnswlib"):
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
