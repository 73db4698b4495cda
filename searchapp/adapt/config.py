"""What a stage of the recipe is run with: plain data, checked when it is made.

The defaults are those of the published configurations (LLM2Vec repository at 312adcf, ``train_configs/``), except
where the original does something other than it says: the language model head stays frozen.

These dataclasses are the one place of a setting: its name is the key in a recipe and the flag on the command line, its
default holds for both, and its help stands beside it. A setting without help has no flag; a recipe can set it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from searchapp.encoder.settings import POOLINGS
from searchapp.errors import AdaptError

STRATEGIES = ("bert", "all")  # of masking
DTYPES = ("auto", "float32", "bfloat16")
ATTENTIONS = ("auto", "sdpa", "eager")
DEVICES = ("auto", "cpu", "cuda")
TRAINED = ("lora", "all")
GREATEST_SEED = 2**32 - 1  # of numpy's generator
WARMUP_SHARE = 0.3  # of the steps, where the published warm-up would be longer than that


MODEL, DATA, TRAINING, LORA = "Model", "Data", "Training", "LoRA"  # panels of --help
TEACHER, DEVICE, OUTPUT = "Teacher", "Device and memory", "Output"


def _setting(default: Any, text: str, panel: str = TRAINING, /, **more: Any) -> Any:
    """A field with what the command line says of it; ``more`` as in the metadata that ``cli.signatures`` reads."""
    return field(default=default, metadata={"help": text, "panel": panel, **more})


@dataclass(frozen=True)
class TrainingConfig:
    """What every stage has.

    ``steps`` optimiser steps are made; the learning rate rises over ``warmup_steps`` and falls in a line that would
    reach zero at ``schedule_steps`` (0: at ``steps``). The published runs stop at 1,000 of some ten thousand
    scheduled steps, so that their rate hardly falls. ``batch_size`` is over all processes; ``chunk`` rows go through
    the model at a time (0: all of them), which changes the memory taken and nothing else. ``train`` is ``lora``, or
    ``all`` for models so small that LoRA leaves too little to learn.
    """

    steps: int = _setting(1_000, "Optimizer steps.", min=1)
    schedule_steps: int = _setting(0, "Steps the falling learning rate would take to reach 0.", default="--steps")
    warmup_steps: int = _setting(0, "Steps over which the rate rises; the default is at most 3 tenths of --steps.")
    learning_rate: float = _setting(5e-5, "The highest learning rate.", flags=("--learning-rate", "--lr"))
    batch_size: int = _setting(32, "Texts, blocks or pairs in a step, over all processes.")
    chunk: int = _setting(
        0, "Rows in a forward pass: less memory, the same gradients.", DEVICE, default="0, the whole batch"
    )
    max_length: int = _setting(512, "Tokens of a text or block.", DATA)
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    lora_r: int = _setting(16, "Rank of the adapters.", LORA)
    lora_alpha: int = _setting(32, "Scale of the adapters, divided by the rank.", LORA)
    lora_dropout: float = _setting(0.05, "Dropout before the adapters.", LORA)
    train: str = _setting("lora", "lora, or all weights, for small models.", LORA)
    dtype: str = _setting("auto", "Of the frozen weights: auto, float32 or bfloat16.", DEVICE)
    autocast: bool = _setting(False, "Compute in bfloat16, whatever the weights are.", DEVICE)
    attention: str = _setting("auto", "auto, sdpa or eager.", DEVICE)
    device: str = _setting("auto", "auto, cpu or cuda.", DEVICE)
    bidirectional: bool = True
    gradient_checkpointing: bool = _setting(
        False,
        "Less memory for more time; on a CPU only where memory asks for it.",
        DEVICE,
        flags=("--gradient-checkpointing/--no-gradient-checkpointing",),
    )
    save_steps: int = _setting(100, "Steps between checkpoints.", OUTPUT)
    keep_checkpoints: int = _setting(2, "How many of the newest checkpoints are kept; 0: all.", OUTPUT)
    seed: int = _setting(42, "Decides first weights, order and dropout.")
    tensorboard: bool = _setting(False, "Write TensorBoard events too.", OUTPUT)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "max_length", "lora_r", "lora_alpha", "save_steps"):
            _whole(self, name, least=1)
        for name in ("schedule_steps", "warmup_steps", "chunk", "keep_checkpoints", "seed"):
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
class MntpConfig:
    """Masked next-token prediction.

    ``mask_token`` is ``blank`` (the token of a lone underscore), ``mask`` (the tokenizer's own, where it has one),
    ``eos``, or any single token. ``mix_documents`` lets attention cross document borders inside a block, as the
    original does.
    """

    training: TrainingConfig = field(default_factory=TrainingConfig)
    mask_strategy: str = _setting("bert", "bert (80/10/10) or all.")
    mask_rate: float = _setting(0.2, "Share of tokens to predict.")
    mask_token: str = _setting("blank", "blank (_), eos, mask, or any single token.")
    mix_documents: bool = _setting(False, "Attend across documents in a block, as the original does.")

    name = "mntp"

    def __post_init__(self) -> None:
        _choice(self, "mask_strategy", STRATEGIES)
        _between(self, "mask_rate", 0, 1, open_low=True, open_high=True)
        _text(self, "mask_token")


@dataclass(frozen=True)
class SimcseConfig:
    """Unsupervised contrastive learning: two views of a text that differ by dropout alone.

    ``attention_dropout`` is dropout on the attention probabilities; LoRA's own comes on top of it.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(learning_rate=3e-5, batch_size=128, max_length=128)
    )
    scale: float = _setting(20.0, "Inverse temperature.")
    attention_dropout: float = _setting(0.3, "What the two views of a text differ by.")
    pooling: str = _setting("mean", "How the vectors are pooled.", MODEL)

    name = "simcse"

    def __post_init__(self) -> None:
        _between(self, "scale", 0, None, open_low=True)
        _between(self, "attention_dropout", 0, 1, open_high=True)
        _choice(self, "pooling", POOLINGS)
        if not self.attention_dropout and not self.training.lora_dropout:
            raise AdaptError("attention_dropout and lora_dropout are both 0; two equal views teach nothing: raise one")


@dataclass(frozen=True)
class SupervisedConfig:
    """Contrastive learning on pairs.

    The published warm-up is 300 of 1,000 steps; ``make_stage`` keeps it to three tenths of fewer. ``negatives`` hard
    negatives of each row are used at most. A candidate that scores above the positive by more than ``margin`` is no
    negative (None: only copies of the positive are left out). ``matryoshka`` are the dimensions whose truncated
    vectors are trained too. ``teacher`` is a model whose similarities within the batch are a second target, with
    weight ``teacher_weight``; scores in the rows are used the same way, with ``row_weight``.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            learning_rate=2e-4, batch_size=512, warmup_steps=300, gradient_checkpointing=True
        )
    )
    scale: float = _setting(50.0, "Inverse temperature.")
    pooling: str = _setting("mean", "How the vectors are pooled.", MODEL)
    negatives: int = _setting(1, "Hard negatives of a row that are used.", DATA)
    margin: float | None = _setting(
        None, "Leave out candidates that score above the positive by more.", DATA, default="none are left out"
    )
    matryoshka: tuple[int, ...] = _setting((), "A dimension whose cut vectors are trained too; repeat it.")
    teacher: str = _setting("", "A model whose similarities are learned too.", TEACHER)
    teacher_weight: float = _setting(1.0, "Weight of that loss.", TEACHER)
    teacher_scale: float = _setting(20.0, "The teacher's inverse temperature.", TEACHER)
    row_weight: float = _setting(1.0, "Weight of the loss over scores in the rows.", TEACHER)
    query_instruction: str = _setting("", "What the finished model puts before a query where none is given.", MODEL)

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


StageConfig = MntpConfig | SimcseConfig | SupervisedConfig
STAGES: dict[str, type[MntpConfig] | type[SimcseConfig] | type[SupervisedConfig]] = {
    "mntp": MntpConfig,
    "simcse": SimcseConfig,
    "supervised": SupervisedConfig,
}


def make_stage(kind: str, given: Mapping[str, Any], where: str = "") -> StageConfig:
    """Make the settings of a stage from flat names, as a recipe or the command line gives them; None is left out.

    Where no ``warmup_steps`` are given, they are the stage's own, but no more than three tenths of the steps.
    Raises AdaptError for a name the stage does not have, with the nearest one it has.
    """
    stage = STAGES[kind]
    common = {item.name for item in fields(TrainingConfig)}
    own = {item.name for item in fields(stage)} - {"training"}
    for name in given:
        if name not in common | own:
            raise AdaptError(f"{where or kind}: {unknown(name, sorted(common | own))}")
    defaults = stage().training
    values = {item.name: getattr(defaults, item.name) for item in fields(TrainingConfig)}
    values |= {name: value for name, value in given.items() if name in common and value is not None}
    if given.get("warmup_steps") is None and type(values["steps"]) is int:
        values["warmup_steps"] = min(defaults.warmup_steps, int(values["steps"] * WARMUP_SHARE))
    try:
        return stage(
            training=TrainingConfig(**values),
            **{name: value for name, value in given.items() if name in own and value is not None},
        )
    except AdaptError as error:
        raise AdaptError(f"{where or kind}: {error}") from error


def flat(stage: StageConfig) -> dict[str, Any]:
    """The settings of a stage as one table of names and values: the inverse of ``make_stage``."""
    own = {item.name: getattr(stage, item.name) for item in fields(stage) if item.name != "training"}
    return {item.name: getattr(stage.training, item.name) for item in fields(TrainingConfig)} | own


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
