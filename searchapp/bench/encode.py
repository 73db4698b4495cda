"""``searchapp bench encode``: every program embeds the same texts, in turn, round after round."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.bench.encode_baselines import (
    LIBRARIES,
    OURS,
    EncodeBaseline,
    baseline,
    export_for_baselines,
    ours,
    whole_build,
)
from searchapp.bench.machine import Cost, Meter, describe, matmul_peak
from searchapp.bench.profile import shares
from searchapp.bench.shape import write_shape
from searchapp.bench.texts import cut, lengths, read_prose
from searchapp.encoder import Encoder
from searchapp.errors import SearchAppError

WARM = 16  # texts that every program embeds before it is timed


@dataclass(frozen=True)
class EncodePlan:
    """What to measure: ``dtypes`` may hold ``auto``, our default, and ``rivals`` sentence-transformers folders."""

    model: str = "bundled"
    shape: str | None = None
    rivals: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("float32", "auto")
    backends: tuple[str, ...] = ("torch",)
    sources: tuple[str, ...] = ("python:stdlib",)
    documents: int = 512
    rounds: int = 3
    longest: int = 512
    threads: int = 1
    device: str = "auto"
    end_to_end: bool = False


def bench_encode(plan: EncodePlan, notice: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure and return machine, model, texts, peaks and one result a program, medians over the rounds.

    On a CPU with one thread rates are by the processor's own clock, which other programs on the machine hardly touch;
    else by the wall clock. Raises SearchAppError.
    """
    import torch

    if plan.documents < 1 or plan.rounds < 1 or plan.threads < 1:
        raise SearchAppError("--documents, --rounds and --threads are numbers above 0")
    torch.set_num_threads(plan.threads)
    with tempfile.TemporaryDirectory(prefix="searchapp-bench-") as work:
        folder = Path(work)
        name, model = Path(plan.model).name, plan.model
        if plan.shape is not None:
            name, model = write_shape(plan.shape, folder / "model", plan.longest), str(folder / "model")
        device = plan.device  # one of them, as the baselines use
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        options: dict[str, Any] = {
            "max_length": plan.longest,
            "document_max_length": plan.longest,
            "device": device,
        }
        exact = Encoder.load(model, dtype="float32", **options)
        clock = "cpu" if exact.device == "cpu" and plan.threads == 1 else "wall"
        wanted = lengths(plan.documents, plan.longest - 8)
        texts = cut(read_prose(plan.sources), wanted.tolist(), exact.tokenizer.backend_tokenizer)
        counts = np.array([len(item.ids) for item in exact._tokenize(texts, [None] * len(texts))])
        programs = _programs(plan, model, options, exact, folder)
        measured = _rounds(programs, texts, plan.rounds, exact.device, clock, notice)
        work_done = flops(exact.model, counts)
        results = [_result(program, measured, counts, work_done, clock) for program in programs]
        _compare(results, measured, clock)
        profiles = {
            program.dtype: shares(program.run, texts[: plan.documents // 8 or 1])
            for program in programs
            if program.name == OURS
        }
    return {
        "benchmark": "encode",
        "model": name,
        "machine": describe(exact.device, plan.threads),
        "clock": clock,
        "rounds": plan.rounds,
        "texts": {
            "sources": [Path(source).name for source in plan.sources],
            "documents": len(texts),
            "tokens": int(counts.sum()),
            "median": float(np.median(counts)),
            "mean": float(counts.mean()),
            "p95": float(np.percentile(counts, 95)),
            "longest": int(counts.max()),
        },
        "gflop_per_token": work_done / 1e9 / int(counts.sum()),
        "peak_gflops": {dtype: statistics.median(peaks) / 1e9 for dtype, peaks in measured.peaks.items()},
        "results": results,
        "profile": profiles,
    }


def flops(model: Any, counts: np.ndarray) -> float:
    """Floating-point operations for texts of these token counts: two a weight and token, and attention's products.

    Padding is not counted: what is computed for nothing is no work.
    """
    import torch

    linear: int = sum(
        part.weight.numel()
        for part in model.modules()
        if isinstance(part, torch.nn.Linear) or type(part).__name__ == "Conv1D"  # GPT-2's name for it
    )
    config = model.config
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    attention: float = 4.0 * width * config.num_hidden_layers * float((counts.astype(np.float64) ** 2).sum())
    return 2.0 * linear * float(counts.sum()) + attention


def _programs(
    plan: EncodePlan, model: str, options: dict[str, Any], exact: Encoder, folder: Path
) -> list[EncodeBaseline]:
    encoders: list[Encoder] = []
    for backend in plan.backends:
        for dtype in plan.dtypes:
            encoder = (
                exact
                if (backend, dtype) == ("torch", "float32")
                else Encoder.load(model, dtype=dtype, backend=backend, **options)
            )
            if not any((known.backend.name, known.dtype) == (backend, encoder.dtype) for known in encoders):
                encoders.append(encoder)
    programs = [ours(encoder) for encoder in encoders]
    if plan.end_to_end:
        programs += [whole_build(encoder, folder) for encoder in encoders if encoder.backend.name == "torch"]
    dtypes = list(dict.fromkeys(encoder.dtype for encoder in encoders))
    for name in plan.rivals:
        place = export_for_baselines(exact, folder) if name in LIBRARIES else folder
        programs += [baseline(name, place, dtype, exact.device, plan.longest) for dtype in dtypes]
    return programs


@dataclass
class _Measured:
    """By program (name and precision): its costs, padding and vectors; by precision: the peaks; all round by round."""

    costs: dict[tuple[str, str], list[Cost]]
    positions: dict[tuple[str, str], int]
    vectors: dict[tuple[str, str], np.ndarray | None]
    peaks: dict[str, list[float]]


def _rounds(
    programs: Sequence[EncodeBaseline],
    texts: Sequence[str],
    rounds: int,
    device: str,
    clock: str,
    notice: Callable[[str], None],
) -> _Measured:
    measured = _Measured({}, {}, {}, {})
    for program in programs:
        program.run(texts[:WARM]) if "build" not in program.name else None
    for number in range(rounds):
        for dtype in dict.fromkeys(program.dtype for program in programs):
            measured.peaks.setdefault(dtype, []).append(matmul_peak(dtype, device, clock))
        for program in programs:
            program.clear()
            with Meter(device) as meter:
                vectors = program.run(texts)
            key = (program.name, program.dtype)
            measured.costs.setdefault(key, []).append(meter.cost)
            measured.positions[key], measured.vectors[key] = program.positions(), vectors
            notice(
                f"round {number + 1} of {rounds}: {program.name} in {program.dtype}, "
                f"{meter.cost.cpu:.1f} s of processor time"
            )
    return measured


def _result(
    program: EncodeBaseline, measured: _Measured, counts: np.ndarray, work: float, clock: str
) -> dict[str, Any]:
    key = (program.name, program.dtype)
    costs = measured.costs[key]
    seconds = statistics.median(getattr(cost, clock) for cost in costs)
    fractions = [
        work / getattr(cost, clock) / peak for cost, peak in zip(costs, measured.peaks[program.dtype], strict=True)
    ]
    own = measured.vectors.get((OURS, "float32"))
    theirs = measured.vectors[key]
    same = own is not None and theirs is not None and own.shape == theirs.shape
    return {
        "program": program.name,
        "dtype": program.dtype,
        "documents_per_second": len(counts) / seconds,
        "tokens_per_second": float(counts.sum()) / seconds,
        "gflops": work / seconds / 1e9,
        "mfu": statistics.median(fractions),
        "padding": measured.positions[key] / float(counts.sum()) - 1,
        "memory_mb": max(cost.memory for cost in costs) / 1e6,
        "seconds": {
            "cpu": statistics.median(cost.cpu for cost in costs),
            "wall": statistics.median(cost.wall for cost in costs),
        },
        "least_cosine": float((own * theirs).sum(1).min()) if same and own is not None and theirs is not None else None,
    }


def _compare(results: list[dict[str, Any]], measured: _Measured, clock: str) -> None:
    """Put beside each result of ours how many times faster it is than every rival, ratios taken round by round."""
    for result in results:
        mine = measured.costs[(result["program"], result["dtype"])]
        result["times"] = {
            f"{name} {dtype}": statistics.median(
                getattr(other, clock) / getattr(cost, clock) for cost, other in zip(mine, theirs, strict=True)
            )
            for (name, dtype), theirs in measured.costs.items()
            if not name.startswith(OURS)
        }
