"""``searchapp bench adapt``: stages of the recipe beside a plain script of Trainer and peft, in turn."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.adapt.config import STAGES, MntpConfig, StageConfig, make_stage
from searchapp.bench.encode import flops
from searchapp.bench.machine import Meter, describe, matmul_peak
from searchapp.bench.texts import cut, lengths, read_prose
from searchapp.errors import SearchAppError
from searchapp.heap import trim_heap

QUERY = 12  # words of a text that ask for it, in pairs
NO_DROPOUT = 1e-6  # a rate that is rounded to 0; SimCSE refuses 0, as its two views are then equal


@dataclass(frozen=True)
class AdaptPlan:
    """What to measure: ``steps`` of each stage, from the same start in every round.

    ``block`` tokens make a block of MNTP; other texts have real lengths up to ``longest``. Without ``dropout`` both
    programs compute the same, and their losses are compared.
    """

    model: str = "bundled"
    stages: tuple[str, ...] = ("mntp", "simcse", "supervised")
    sources: tuple[str, ...] = ("python:stdlib",)
    batch: int = 8
    block: int = 128
    longest: int = 512
    steps: int = 2
    rounds: int = 3
    dtype: str = "auto"
    threads: int = 1
    dropout: bool = False
    gradient_checkpointing: bool = False


def bench_adapt(plan: AdaptPlan, notice: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure on the CPU and return machine, model, peak and two results a stage: ours and the plain script's.

    Rates are of the best time of each step over the rounds; with one thread by the processor's own clock, else by the
    wall clock. Work is counted on real tokens. Raises SearchAppError.
    """
    import torch

    from searchapp.encoder.checkpoint import locate
    from searchapp.encoder.loading import load_tokenizer

    if wrong := [name for name in plan.stages if name not in STAGES]:
        raise SearchAppError(f"--stage {wrong[0]} is unknown; expected one of {', '.join(STAGES)}")
    torch.set_num_threads(plan.threads)
    checkpoint = locate(plan.model, [])
    if checkpoint.adapters:
        raise SearchAppError(f"{plan.model} has adapters; give a base model, which both programs can load")
    backend = load_tokenizer(checkpoint.tokenizer).backend_tokenizer
    count = max(2, plan.batch) * plan.steps
    wanted = np.concatenate([lengths(2 * count, plan.longest - 8), np.full(count * 2, plan.block)])
    texts = cut(read_prose(plan.sources), wanted.tolist(), backend)
    results, peaks = [], []
    with tempfile.TemporaryDirectory(prefix="searchapp-bench-") as work:
        for name in plan.stages:
            found, peak = _stage(name, plan, checkpoint.weights, texts, Path(work) / name, notice)
            results += found
            peaks += peak
    return {
        "benchmark": "adapt",
        "model": Path(plan.model).name,
        "machine": describe("cpu", plan.threads),
        "clock": "cpu" if plan.threads == 1 else "wall",
        "rounds": plan.rounds,
        "steps": plan.steps,
        "batch": plan.batch,
        "block": plan.block,
        "longest": plan.longest,
        "dropout": plan.dropout,
        "gradient_checkpointing": plan.gradient_checkpointing,
        "peak_gflops": max(peaks) / 1e9,
        "results": results,
    }


def _stage(
    name: str, plan: AdaptPlan, weights: Path, texts: list[str], folder: Path, notice: Callable[[str], None]
) -> tuple[list[dict[str, Any]], list[float]]:
    from searchapp.bench.adapt_baseline import baseline, ours

    clock, by = (time.process_time, "cpu") if plan.threads == 1 else (time.perf_counter, "wall")
    objective = _objective(name, plan, texts, folder)
    dtype = str(objective.trainee.dtype).removeprefix("torch.")
    tokens, padded, work = _work(objective, plan)
    programs = [ours(objective, folder, clock), baseline(objective, weights, folder, clock)]
    best: list[list[list[float]]] = [[], []]
    memory, losses, peaks = [0, 0], [[], []], []  # type: ignore[var-annotated]
    for number in range(plan.rounds):
        peaks.append(matmul_peak(dtype, "cpu", by))
        for place, program in enumerate(programs):
            trim_heap()
            with Meter("cpu") as meter:
                program.run()
            best[place].append(list(program.seconds))
            memory[place] = max(memory[place], meter.cost.memory)
            losses[place] = losses[place] or program.losses
            took = sum(program.seconds)
            notice(f"{name}, round {number + 1} of {plan.rounds}: {program.name}, {took:.1f} s for {plan.steps} steps")
    difference = max(abs(one - other) for one, other in zip(*losses, strict=True))
    ratio = statistics.median(sum(theirs) / sum(mine) for mine, theirs in zip(*best, strict=True))
    made = []
    for place, program in enumerate(programs):
        seconds = sum(min(step) for step in zip(*best[place], strict=True))
        made.append(
            {
                "stage": name,
                "program": program.name,
                "dtype": dtype,
                "tokens": tokens,
                "tokens_per_second": tokens / seconds,
                "seconds": seconds,
                "gflops": work / seconds / 1e9,
                "of_peak": work / seconds / max(peaks),
                "memory_mb": memory[place] / 1e6,
                "padding": (padded / tokens - 1) if place else 0.0,
                "losses": losses[place],
                "loss_difference": difference,
                "times": 1.0 if place else ratio,
            }
        )
    return made, peaks


def _objective(name: str, plan: AdaptPlan, texts: list[str], folder: Path) -> Any:
    from searchapp.adapt.data import PairFile
    from searchapp.adapt.run import make_objective

    folder.mkdir(parents=True)
    own = texts[: len(texts) // 2] if name != "mntp" else texts[len(texts) // 2 :]
    stage = _settings(name, plan)
    source = folder / "texts.jsonl"
    if name == "supervised":
        half = len(own) // 2
        rows = [
            {"query": " ".join(text.split()[:QUERY]), "positive": text, "negative": other}
            for text, other in zip(own[:half], own[half:], strict=True)
        ]
    else:
        rows = [{"text": text} for text in own]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pairs = [PairFile(source)] if name == "supervised" else []
    return make_objective(stage, plan.model, [], [] if pairs else [source], pairs, folder / "work")


def _settings(name: str, plan: AdaptPlan) -> StageConfig:
    given: dict[str, Any] = {
        "steps": plan.steps, "batch_size": plan.batch, "dtype": plan.dtype, "device": "cpu", "pooling": "mean",
        "max_length": plan.block if name == "mntp" else plan.longest, "warmup_steps": 0,
        "gradient_checkpointing": plan.gradient_checkpointing,
    }  # fmt: skip
    if name == "mntp":
        given |= {"mix_documents": True}  # as the original, whose blocks a script makes too
        del given["pooling"]
    if not plan.dropout:
        given["lora_dropout"] = NO_DROPOUT
        given |= {"attention_dropout": 0.0} if name == "simcse" else {}
    stage = make_stage(name, given)
    if plan.dtype == "auto":
        from searchapp.encoder.devices import cpu_has_bfloat16

        dtype = "bfloat16" if cpu_has_bfloat16() else "float32"
        stage = replace(stage, training=replace(stage.training, dtype=dtype))
    return stage


def _work(objective: Any, plan: AdaptPlan) -> tuple[int, int, float]:
    """Tokens of all steps, positions that padding makes of them, and the operations that real tokens need.

    Two a frozen weight and token forward, two back; six a trained one; attention's products three times; the head
    for hidden tokens alone.
    """
    trainee = objective.trainee
    tokens, padded, work = 0, 0, 0.0
    trained = sum(p.numel() for p in trainee.parameters() if p.requires_grad)
    for step in range(plan.steps):
        if isinstance(objective.stage, MntpConfig):
            masked, _ = objective.masked(step)
            groups = [[masked.ids.shape[1]] * len(masked.ids)]
            scored = int((masked.labels[:, 1:] >= 0).sum())
            work += 4.0 * scored * trainee.config.vocab_size * trainee.config.hidden_size
        else:
            found = objective.tokens(step)
            parts = [found, found] if found and not isinstance(found[0], list) else found
            groups = [[len(text.ids) for text in part] for part in parts if part]
        for sizes in groups:
            counts = np.array(sizes)
            whole = flops(trainee.decoder.base_model.model, counts)  # the adapters' matrices are linear layers too
            linear = 2.0 * trained * counts.sum()
            frozen = _frozen(trainee) * 2.0 * counts.sum()
            work += 2 * frozen + 3 * linear + 3 * (whole - linear - frozen)
            tokens += int(counts.sum())
            padded += int(counts.max()) * len(counts)
    return tokens, padded, work


def _frozen(trainee: Any) -> int:
    """Numbers in the frozen linear layers of the decoder's blocks."""
    return sum(
        parameter.numel()
        for name, parameter in trainee.decoder.named_parameters()
        if name.endswith("base_layer.weight")
    )
