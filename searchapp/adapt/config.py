"""What a stage of the recipe is run with: plain data, checked when it is made.

The defaults are those of the published configurations (LLM2Vec repository at 312adcf, ``train_configs/``), except
where the original does something other than it says: the language model head stays frozen.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from searchapp.adapt.objectives.masking import STRATEGIES
from searchapp.encoder.settings import POOLINGS
from searchapp.errors import AdaptError

DTYPES = ("auto", "float32", "bfloat16")
ATTENTIONS = ("auto", "sdpa", "eager")
DEVICES = ("auto", "cpu", "cuda")
TRAINED = ("lora", "all")
GREATEST_SEED = 2**32 - 1  # of numpy's generator
WARMUP_SHARE = 0.3  # of the steps, where the published warm-up would be longer than that


@dataclass(frozen=True)
class Training:
    """What every stage has.

    ``steps`` optimiser steps are made; the learning rate rises over ``warmup_steps`` and falls in a line that would
    reach zero at ``schedule_steps`` (0: at ``steps``). The published runs stop at 1,000 of some ten thousand
    scheduled steps, so that their rate hardly falls. ``batch_size`` is over all processes; ``chunk`` rows go through
    the model at a time (0: all of them), which changes the memory taken and nothing else. ``train`` is ``lora``, or
    ``all`` for models so small that LoRA leaves too little to learn.
    """

    steps: int = 1_000
    schedule_steps: int = 0
    warmup_steps: int = 0
    learning_rate: float = 5e-5
    batch_size: int = 32
    chunk: int = 0
    max_length: int = 512
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    train: str = "lora"
    dtype: str = "auto"
    autocast: bool = False
    attention: str = "auto"
    device: str = "auto"
    bidirectional: bool = True
    gradient_checkpointing: bool = False
    save_steps: int = 100
    seed: int = 42
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "max_length", "lora_r", "lora_alpha", "save_steps"):
            _whole(self, name, least=1)
        for name in ("schedule_steps", "warmup_steps", "chunk", "seed"):
            _whole(self, name, least=0)
        if self.seed > GREATEST_SEED:
            raise AdaptError(f"seed is {self.seed}; expected a whole number of at most {GREATEST_SEED}")
        _between(self, "learning_rate", 0, 1, open_low=True)
        _between(self, "lora_dropout", 0, 1, open_high=True)
        for name in ("weight_decay", "max_grad_norm"):
            _between(self, name, 0, None)
        _choice(self, "train", TRAINED)
        _choice(self, "dtype", DTYPES)
        _choice(self, "attention", ATTENTIONS)
        _choice(self, "device", DEVICES)
        for name in ("autocast", "bidirectional", "gradient_checkpointing", "tensorboard"):
            _flag(self, name)
        if self.schedule_steps and self.schedule_steps < self.steps:
            raise AdaptError(
                f"schedule_steps is {self.schedule_steps}, steps {self.steps}; the rate would be 0 before the end: "
                "give a span that is no shorter than the steps, or 0 for the same"
            )
        span = self.schedule_steps or self.steps
        if self.warmup_steps > span:
            raise AdaptError(f"warmup_steps is {self.warmup_steps}, the schedule spans {span} steps; warm up for fewer")


@dataclass(frozen=True)
class Mntp:
    """Masked next-token prediction.

    ``mask_token`` is ``blank`` (the token of a lone underscore), ``mask`` (the tokenizer's own, where it has one),
    ``eos``, or any single token. ``mix_documents`` lets attention cross document borders inside a block, as the
    original does.
    """

    training: Training = field(default_factory=Training)
    mask_strategy: str = "bert"
    mask_rate: float = 0.2
    mask_token: str = "blank"  # noqa: S105 - not a password
    mix_documents: bool = False

    name = "mntp"

    def __post_init__(self) -> None:
        _choice(self, "mask_strategy", STRATEGIES)
        _between(self, "mask_rate", 0, 1, open_low=True, open_high=True)
        _text(self, "mask_token")


@dataclass(frozen=True)
class Simcse:
    """Unsupervised contrastive learning: two views of a text that differ by dropout alone.

    ``attention_dropout`` is dropout on the attention probabilities; LoRA's own comes on top of it.
    """

    training: Training = field(default_factory=lambda: Training(learning_rate=3e-5, batch_size=128, max_length=128))
    scale: float = 20.0
    attention_dropout: float = 0.3
    pooling: str = "mean"

    name = "simcse"

    def __post_init__(self) -> None:
        _between(self, "scale", 0, None, open_low=True)
        _between(self, "attention_dropout", 0, 1, open_high=True)
        _choice(self, "pooling", POOLINGS)
        if not self.attention_dropout and not self.training.lora_dropout:
            raise AdaptError("attention_dropout and lora_dropout are both 0; two equal views teach nothing: raise one")


@dataclass(frozen=True)
class Supervised:
    """Contrastive learning on pairs.

    The published warm-up is 300 of 1,000 steps; ``make_stage`` keeps it to three tenths of fewer. ``negatives`` hard
    negatives of each row are used at most. ``margin`` bars candidates that score above the positive by more than it
    from the negatives (None: only copies of the positive are). ``matryoshka`` are the dimensions whose truncated
    vectors are trained too. ``teacher`` is a model whose similarities within the batch are a second target, with
    weight ``teacher_weight``; scores in the rows are used the same way, with ``row_weight``.
    """

    training: Training = field(
        default_factory=lambda: Training(
            learning_rate=2e-4, batch_size=512, warmup_steps=300, gradient_checkpointing=True
        )
    )
    scale: float = 50.0
    pooling: str = "mean"
    negatives: int = 1
    margin: float | None = None
    matryoshka: tuple[int, ...] = ()
    teacher: str = ""
    teacher_weight: float = 1.0
    teacher_scale: float = 20.0
    row_weight: float = 1.0
    query_instruction: str = ""

    name = "supervised"

    def __post_init__(self) -> None:
        for name in ("scale", "teacher_scale"):
            _between(self, name, 0, None, open_low=True)
        for name in ("teacher_weight", "row_weight"):
            _between(self, name, 0, None)
        _choice(self, "pooling", POOLINGS)
        _whole(self, "negatives", least=0)
        if self.margin is not None:
            _between(self, "margin", -1, 2)
        for name in ("teacher", "query_instruction"):
            _text(self, name, empty=True)
        dims = self.matryoshka
        if not isinstance(dims, list | tuple) or any(type(dim) is not int or dim < 1 for dim in dims):
            raise AdaptError(f"matryoshka is {dims!r}; expected a list of dimensions, such as [64, 128, 256]")
        object.__setattr__(self, "matryoshka", tuple(dims))


Stage = Mntp | Simcse | Supervised
STAGES: dict[str, type[Mntp] | type[Simcse] | type[Supervised]] = {
    "mntp": Mntp,
    "simcse": Simcse,
    "supervised": Supervised,
}


def make_stage(kind: str, given: Mapping[str, Any], where: str = "") -> Stage:
    """Make the settings of a stage from flat names, as a recipe or the command line gives them; None is left out.

    Where no ``warmup_steps`` are given, they are the stage's own, but no more than three tenths of the steps.
    Raises AdaptError for a name the stage does not have, with the nearest one it has.
    """
    stage = STAGES[kind]
    common = {item.name for item in fields(Training)}
    own = {item.name for item in fields(stage)} - {"training"}
    for name in given:
        if name not in common | own:
            raise AdaptError(f"{where or kind}: {unknown(name, sorted(common | own))}")
    defaults = stage().training
    values = {item.name: getattr(defaults, item.name) for item in fields(Training)}
    values |= {name: value for name, value in given.items() if name in common and value is not None}
    if given.get("warmup_steps") is None and type(values["steps"]) is int:
        values["warmup_steps"] = min(defaults.warmup_steps, int(values["steps"] * WARMUP_SHARE))
    try:
        return stage(
            training=Training(**values),
            **{name: value for name, value in given.items() if name in own and value is not None},
        )
    except AdaptError as error:
        raise AdaptError(f"{where or kind}: {error}") from error


def flat(stage: Stage) -> dict[str, Any]:
    """The settings of a stage as one table of names and values: the inverse of ``make_stage``."""
    own = {item.name: getattr(stage, item.name) for item in fields(stage) if item.name != "training"}
    return {item.name: getattr(stage.training, item.name) for item in fields(Training)} | own


def unknown(name: str, known: Sequence[str]) -> str:
    """Say that a key is unknown, and which known one is nearest."""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(known)}"
    return f"unknown key {name!r}; {hint}"


def _whole(holder: Any, name: str, least: int) -> None:
    value = getattr(holder, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise AdaptError(f"{name} is {value!r}; expected a whole number of at least {least}")


def _between(
    holder: Any, name: str, low: float, high: float | None, open_low: bool = False, open_high: bool = False
) -> None:
    value = getattr(holder, name)
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    fits = fits and (value > low if open_low else value >= low)
    if fits and high is not None:
        fits = value < high if open_high else value <= high
    if not fits:
        above = f"above {low}" if open_low else f"of at least {low}"
        below = "" if high is None else f" and {'below' if open_high else 'at most'} {high}"
        raise AdaptError(f"{name} is {value!r}; expected a number {above}{below}")


def _choice(holder: Any, name: str, choices: Sequence[str]) -> None:
    value = getattr(holder, name)
    if value not in choices:
        raise AdaptError(f"{name} is {value!r}; expected one of {', '.join(choices)}")


def _flag(holder: Any, name: str) -> None:
    value = getattr(holder, name)
    if not isinstance(value, bool):
        raise AdaptError(f"{name} is {value!r}; expected true or false")


def _text(holder: Any, name: str, empty: bool = False) -> None:
    value = getattr(holder, name)
    if not isinstance(value, str) or not (value or empty):
        raise AdaptError(f"{name} is {value!r}; expected a text")
