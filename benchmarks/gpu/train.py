"""Train: steps of MNTP and of supervised training with LoRA, ours and transformers' Trainer with peft."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu import internals, trainer_rival
from benchmarks.gpu.machine import Idle, forget_peak, peak_memory, settle
from benchmarks.gpu.record import Figures, Run, SkippedError
from benchmarks.gpu.shapes import Model
from benchmarks.gpu.texts import write_lines, write_pairs

STAGES = ("mntp", "supervised")
LORA = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05}


def measure(run: Run) -> None:
    """The largest model first: it is the one that is asked about."""
    steps = run.shapes.warm + run.shapes.steps
    tokens = steps * run.shapes.blocks * run.shapes.length
    data = {
        "mntp": write_lines(run, 2 + tokens // 100, run.work / "train.txt"),
        "supervised": write_pairs(run, 2 + steps * run.shapes.pairs, run.work / "train.jsonl"),
    }
    for model in reversed(run.shapes.models):
        for checkpointing in (False, True):
            for stage in STAGES:
                _beside(run, model, stage, data[stage], checkpointing)


def _beside(run: Run, model: Model, stage: str, data: Path, checkpointing: bool) -> None:
    """Ours, then the rival's, on the same data, sizes and checkpointing."""
    name = f"{model.name} {stage}: "
    memory = ", checkpointing" if checkpointing else ""
    timed = {}
    for program, make in (("searchapp", ours), ("Trainer and peft", theirs)):
        job = partial(_timed, run, make, model, stage, data, checkpointing)
        timed[program] = run.attempt(f"{name}{program}{memory}", job)
    run.attempt(f"{name}beside Trainer and peft{memory}", partial(_times, *timed.values()))


def _times(mine: Figures, other: Figures) -> Figures:
    if not mine or not other:
        raise SkippedError("one of the two has no rate")
    return {"times": mine["tokens_per_second"] / other["tokens_per_second"]}


class Clock:
    """When each step ended and how many tokens it had; ``settle`` makes a step's work part of its time."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.ends: list[float] = []
        self.tokens: list[float] = []

    def step(self, tokens: float) -> None:
        """A step is over."""
        settle(self._device)
        self.ends.append(time.perf_counter())
        self.tokens.append(tokens)


def _timed(
    run: Run, make: Callable[..., Callable[[], Any]], model: Model, stage: str, data: Path, checkpointing: bool
) -> Figures:
    clock = Clock(run.device)
    train = make(run, model, stage, data, checkpointing, clock)
    forget_peak(run.device)
    with Idle(run.device) as idle:
        train()
    warm = run.shapes.warm - 1  # the step whose end is the beginning
    took, tokens = clock.ends[-1] - clock.ends[warm], sum(clock.tokens[warm + 1 :])
    return {
        "tokens_per_second": tokens / took,
        "steps_per_second": (len(clock.ends) - 1 - warm) / took,
        "tokens_per_step": tokens / (len(clock.ends) - 1 - warm),
        "idle": idle.share(clock.ends[warm], clock.ends[-1]),
        "peak_bytes": peak_memory(run.device),
    }


class _Steps(internals.Silent):
    """A progress that tells a clock of every step."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def advance(self, count: int = 1, **figures: float) -> None:
        """A step was made."""
        self._clock.step(figures["tokens"])


def ours(run: Run, model: Model, stage: str, data: Path, checkpointing: bool, clock: Clock) -> Callable[[], Any]:
    """A stage of searchapp."""
    shapes = run.shapes
    work = run.work / f"train-{model.name}-{stage}"
    shutil.rmtree(work, ignore_errors=True)
    steps = shapes.warm + shapes.steps
    options = {
        **LORA,
        "steps": steps,
        "save_steps": 10 * steps,
        "warmup_steps": 0,
        "batch_size": shapes.blocks if stage == "mntp" else shapes.pairs,
        "max_length": shapes.length,
        "gradient_checkpointing": checkpointing,
        "dtype": "bfloat16",
        "device": run.device,
    }
    trainer = internals.stage_trainer(stage, options, model, run.device, data, work, _Steps(clock))
    found: Callable[[], Any] = trainer.train
    return found


def theirs(run: Run, model: Model, stage: str, data: Path, checkpointing: bool, clock: Clock) -> Callable[[], Any]:
    """Trainer and peft."""
    trainer = trainer_rival.make(run, model, stage, data, checkpointing, clock.step)
    found: Callable[[], Any] = trainer.train
    return found
