"""The line: a JSONL file to a finished index, with the idle share of the GPU meanwhile, and then the first query."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.gpu import internals
from benchmarks.gpu.machine import Idle, forget_peak, peak_memory
from benchmarks.gpu.record import Figures, Run
from benchmarks.gpu.runner import ROOT, environment
from benchmarks.gpu.texts import write_jsonl

QUERY = "how is a file opened for reading"


class Watch:
    """A build's progress, with the moments at which its stages begin and at which documents come out."""

    def __init__(self, encoded: Callable[[], None]) -> None:
        self._encoded = encoded  # called when the last document is through
        self.stages: dict[str, float] = {}
        self.moments: list[float] = []
        self.tokens = 0.0

    def stage(self, name: str, total: int | None = None, unit: str = "", done: int = 0) -> None:
        """A stage begins."""
        if len(self.stages) == 1:
            self._encoded()
        self.stages[name] = time.perf_counter()

    def advance(self, count: int = 1, **figures: float) -> None:
        """So many more documents were encoded."""
        self.moments.append(time.perf_counter())
        self.tokens += figures.get("tokens", 0.0)

    def expect(self, total: int, **figures: float) -> None:
        """How many documents there will be."""


def measure(run: Run) -> None:
    """Build with the smaller model, then search from a fresh process."""
    model = run.shapes.models[0]
    corpus = write_jsonl(run, run.shapes.line, run.work / "line.jsonl")
    place, index = run.work / "line-model", run.work / "line-index"
    run.row("texts", documents=run.shapes.line, bytes=corpus.stat().st_size, model=model.name)
    run.attempt("writing the model", partial(_written, run, place))
    run.attempt("the whole build", partial(built, run, corpus, place, index))
    run.attempt("first query, from a fresh process", partial(searched, run, index))
    run.attempt("queries in one process", partial(queried, run, place, index))


def _written(run: Run, place: Path) -> Figures:
    began = time.perf_counter()
    internals.write_model(run.shapes.models[0], run.device, place)
    return {"seconds": time.perf_counter() - began}


def built(run: Run, corpus: Path, model: Path, index: Path) -> Figures:
    """Build an index; the idle share is of the time between the first documents that were encoded and the last.

    That leaves out the first window of a segment, which is tokenized before anything runs, and it takes in the writing
    of segments in between.
    """
    began = time.perf_counter()
    encoder = internals.Encoder.load(str(model), device=run.device, dtype="bfloat16")
    loaded = time.perf_counter()
    forget_peak(run.device)
    with Idle(run.device) as idle:
        watch = Watch(lambda: _encoded(run, watch, idle, loaded))
        internals.build([str(corpus)], index, encoder, segment_size=max(8, run.shapes.line // 2), progress=watch)
    ended = time.perf_counter()
    names = [*watch.stages]
    stages = {
        name: end - watch.stages[name]
        for name, end in zip(names, [*(watch.stages[name] for name in names[1:]), ended], strict=True)
    }
    return {
        "documents_per_second": run.shapes.line / (ended - loaded),
        "load_seconds": loaded - began,
        "build_seconds": ended - loaded,
        "seconds_of_stages": stages,
    }


def _encoded(run: Run, watch: Watch, idle: Idle, loaded: float) -> None:
    """Keep what was asked for first as soon as it is known: the stages that follow may take long."""
    first, last = watch.moments[0], watch.moments[-1]
    run.row(
        "JSONL to index",
        idle=idle.share(first, last),
        tokens_per_second=watch.tokens / (last - loaded),
        peak_bytes=peak_memory(run.device),
    )


def searched(run: Run, index: Path) -> Figures:
    """`searchapp search`, from the start of the program to the hits."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "searchapp", "search", str(index), QUERY, "--device", run.device, "--json"],
        cwd=ROOT, env=environment(run.work), stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"searchapp search ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    hits = json.loads(done.stdout.splitlines()[0])
    return {"seconds": took, "answer_characters": len(json.dumps(hits))}


def queried(run: Run, model: Path, index: Path) -> Figures:
    """A query to hits with everything loaded: the first, and the median of the next ones."""
    encoder = internals.Encoder.load(str(model), device=run.device, dtype="bfloat16")
    held = internals.VectorIndex.open(index, device=run.device)
    times = []
    for number in range(8):
        began = time.perf_counter()
        held.search_vectors(encoder.encode_queries(f"{QUERY} {number}"), 10)
        times.append(time.perf_counter() - began)
    return {"first_ms": 1e3 * times[0], "median_ms": 1e3 * sorted(times[1:])[3]}
