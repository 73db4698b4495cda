"""What a step of training takes, against what is free: asked before anything is loaded.

A step holds the frozen weights, the trained ones with their gradients and the two moments of AdamW, what autograd keeps
of every layer for the way back, and the logits of the masked tokens. The sums are over the tensors that a decoder of
Llama's kind saves; others are near it. Checked against measured peaks (docs/log.md).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from searchapp.adapt.config import MntpConfig, SimcseConfig, StageConfig, SupervisedConfig, TrainingConfig
from searchapp.adapt.data import PairFile, read_pairs, read_texts
from searchapp.encoder.batching import BUDGET
from searchapp.encoder.checkpoint import Checkpoint, raw_config
from searchapp.encoder.devices import cpu_has_bfloat16
from searchapp.encoder.free_memory import free_memory, gigabytes
from searchapp.encoder.shape import Shape, read_shape
from searchapp.errors import AdaptError

log = logging.getLogger("searchapp")

ADAMW = 16  # bytes of a trained number in float32: itself, its gradient, two moments
LOGITS = 12  # bytes of a logit at the peak: itself, scaled, its logarithm
SAMPLE = 256  # texts whose lengths are looked at
ROOM = 0.7  # of what is free may be taken without gradient checkpointing where that was asked for
FUSED_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")  # model types whose layers are ``adapt.fused.FAMILIES``
LONGER = 1.25  # than the longest of the sample the longest of a batch may be


@dataclass(frozen=True)
class Step:
    """What goes through the model at once: ``rows`` padded to ``length`` tokens, of which ``scored`` get logits."""

    rows: int
    length: int
    scored: float = 0.0

    @property
    def positions(self) -> int:
        """Tokens, padding among them."""
        return self.rows * self.length


@dataclass(frozen=True)
class TrainingNeed:
    """Bytes of the frozen weights, of what is trained and its state, of what is kept for gradients, of logits."""

    weights: int
    trained: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """Bytes at the peak of a step."""
        return self.weights + self.trained + self.activations + self.logits

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "trained": self.trained,
            "activations": self.activations,
            "logits": self.logits,
        }
        return ", ".join(f"{name} {gigabytes(size)}" for name, size in parts.items() if size)


def training_need(shape: Shape, stage: StageConfig, size: int, step: Step, *, fused: bool = False) -> TrainingNeed:
    """What a step takes, with the frozen weights in numbers of ``size`` bytes; ``fused`` as ``is_fused`` says."""
    training = stage.training
    if training.train == "all":
        weights, trained, size = 0, shape.parameters * ADAMW, 4
    else:
        weights = shape.parameters * size
        trained = ADAMW * training.lora_r * sum(one + other for one, other in shape.linear)
    dropout = stage.attention_dropout if isinstance(stage, SimcseConfig) else 0.0
    kept = (_fused_kept if fused else _kept)(shape, training, size, step.length, dropout)
    positions = step.positions
    passing = positions * size * (4 * shape.inner + 4 * shape.hidden)  # gradients inside one layer
    if training.gradient_checkpointing:
        activations = positions * (shape.layers * shape.hidden * size + kept) + passing
    else:
        activations = positions * shape.layers * kept + passing
    head = shape.output * size if step.scored else 0
    logits = int(step.scored * positions) * shape.vocabulary * (LOGITS + (2 if size == 2 else 0))
    return TrainingNeed(weights + head, trained, activations, logits)


def _kept(shape: Shape, training: TrainingConfig, size: int, length: int, dropout: float) -> int:
    """Bytes that one layer keeps of a position: two norms, attention, the MLP, and the inputs of LoRA's matrices.

    Attention keeps queries, keys and values at the width of the queries, and its result; with dropout, or in its eager
    form, the probabilities too. LoRA sees float32, behind a dropout of its own for each matrix: five inputs of the
    model's width, one of the attention's and one of the MLP's, each with the mask of its dropout, and its own results.
    """
    wide, hidden, inner = shape.heads * shape.head_dim, shape.hidden, shape.inner
    kept = 2 * 4 * hidden + size * (4 * wide + 3 * inner)
    if dropout or training.attention == "eager":
        kept += shape.heads * length * (2 * size + (size + 1 if dropout else 0))
    if training.train == "all":
        kept += size * (4 * hidden + inner)
    elif training.lora_dropout:
        kept += 8 * (5 * hidden + wide + inner)  # on a CPU the mask is float32
    elif size == 4:
        kept += 4 * (2 * hidden + inner)  # the rest is kept for other reasons
    else:
        kept += 4 * (5 * hidden + wide + inner)
    return kept + (4 * 7 * training.lora_r if training.train == "lora" else 0)


def _fused_kept(shape: Shape, training: TrainingConfig, size: int, length: int, dropout: float) -> int:
    """Bytes that one layer of ``adapt.fused`` keeps of a position.

    The inputs of two norms and what they give, queries, keys and values before and after they are repeated for the
    heads, attention's result, gate and up; of dropout before LoRA a byte for each of its inputs.
    """
    wide, hidden, inner = shape.heads * shape.head_dim, shape.hidden, shape.inner
    kept = size * (4 * hidden + 4 * wide + 2 * shape.groups * shape.head_dim + 2 * inner + 7 * training.lora_r)
    if dropout:
        kept += shape.heads * length * (2 * size + size + 1)
    if training.lora_dropout:
        kept += 2 * hidden + wide + inner
    return kept


def is_fused(checkpoint: Checkpoint, training: TrainingConfig, device: str, size: int) -> bool:
    """Whether training will go through the layers of ``adapt.fused``, as far as that can be said beforehand."""
    plain = training.train == "lora" and training.attention == "auto" and not training.autocast
    if device != "cpu" or not plain or not training.bidirectional or (size == 2 and not cpu_has_bfloat16()):
        return False
    return checkpoint.weights.is_dir() and raw_config(checkpoint.weights).get("model_type") in FUSED_FAMILIES


def in_parts(stage: StageConfig, length: int) -> StageConfig:
    """The stage as packed blocks go through it: a part at a time, however many a step has."""
    if not isinstance(stage, MntpConfig):
        return stage
    most = max(1, BUDGET["cpu"] // length)
    return replace(stage, training=replace(stage.training, chunk=min(stage.training.chunk or most, most)))


def step_of(stage: StageConfig, length: int, rows: int | None = None) -> Step:
    """What goes through the model at once in a stage: its whole batch, or ``chunk`` rows of it, or ``rows``.

    Of a contrastive batch without chunks the activations of all its texts are kept: two views, or query, positive and
    negatives.
    """
    training = stage.training
    processes = int(os.environ.get("WORLD_SIZE", "1") or 1)
    count = rows or training.chunk or max(1, training.batch_size // processes)
    count = min(count, max(1, training.batch_size)) if rows is None else count
    match stage:
        case MntpConfig():
            return Step(count, length, stage.mask_rate)
        case SimcseConfig():
            texts = 2
        case SupervisedConfig():
            texts = 2 + stage.negatives
    chunked = training.chunk and rows is None
    return Step(count if chunked else count * texts, length)


def training_precision(checkpoint: Checkpoint, training: TrainingConfig, device: str, free: int | None = None) -> str:
    """The precision of the frozen weights: as asked; ``auto`` is bfloat16 where the device multiplies it, else float32.

    A CPU without it takes it all the same where float32 weights leave no room. ``free`` bytes, in place of what the
    device has.
    """
    if training.train == "all":
        return "float32"
    if training.dtype != "auto" or device.startswith("cuda"):
        return training.dtype if training.dtype != "auto" else "bfloat16"
    if cpu_has_bfloat16():
        return "bfloat16"
    shape = read_shape(checkpoint.weights)
    free = _share(free_memory(device), device) if free is None else free
    if shape is None or free is None or shape.parameters * 4 <= free or shape.parameters * 2 > free:
        return "float32"  # refused as such, where even half of it does not fit
    log.warning(
        "%s is trained in bfloat16: float32 weights need %s, and %s are free on %s",
        checkpoint.name, gigabytes(shape.parameters * 4), gigabytes(free), device,
    )  # fmt: skip
    return "bfloat16"


def require_memory(
    stage: StageConfig,
    checkpoint: Checkpoint,
    device: str,
    *,
    texts: Sequence[Path] = (),
    pairs: Sequence[PairFile] = (),
    free: int | None = None,
) -> TrainingNeed | None:
    """What the stage needs; None where the checkpoint's files do not say.

    ``free`` bytes, in place of what the device has. Raises AdaptError, with the largest batch that fits, when it is
    more than that.
    """
    shape = read_shape(checkpoint.weights)
    if shape is None:
        return None
    free = _share(free_memory(device), device) if free is None else free
    size = 4 if training_precision(checkpoint, stage.training, device, free) == "float32" else 2
    length = longest(stage, checkpoint, texts, pairs)
    fused = is_fused(checkpoint, stage.training, device, size)
    counted = in_parts(stage, length) if fused else stage
    need = training_need(shape, counted, size, step_of(counted, length), fused=fused)
    if free is None or need.total <= free:
        return need
    raise AdaptError(_refusal(shape, stage, size, length, need, free, device, fused))


def fit_memory(
    stage: StageConfig,
    checkpoint: Checkpoint,
    device: str,
    *,
    texts: Sequence[Path] = (),
    pairs: Sequence[PairFile] = (),
    free: int | None = None,
) -> tuple[StageConfig, str]:
    """The stage with what only memory asks for: its chunks, and on a CPU gradient checkpointing or none of it.

    Both leave the gradients as they are. Also the news in a line, "" where nothing was changed. ``free`` bytes, in
    place of what the device has. Raises AdaptError as ``require_memory`` where nothing fits.
    """
    shape = read_shape(checkpoint.weights)
    free = _share(free_memory(device), device) if free is None else free
    if shape is None or free is None:
        return stage, ""
    training = stage.training
    size = 4 if training_precision(checkpoint, training, device, free) == "float32" else 2
    fused = is_fused(checkpoint, training, device, size)
    length = longest(stage, checkpoint, texts, pairs)

    def needed(one: StageConfig) -> int:
        counted = in_parts(one, length) if fused else one
        return training_need(shape, counted, size, step_of(counted, length), fused=fused).total

    sparing = replace(stage, training=replace(training, gradient_checkpointing=True))
    quick = replace(stage, training=replace(training, gradient_checkpointing=False))
    if training.gradient_checkpointing and device == "cpu" and needed(quick) <= free * ROOM:
        return quick, ""
    if needed(stage) <= free:
        return stage, ""
    for way in (stage, sparing):
        rows = largest_rows(shape, way, size, length, free, fused=fused)
        if not rows:
            continue
        parts = step_of(way, length, rows).rows
        found = replace(way, training=replace(way.training, chunk=parts))
        if needed(found) <= free:
            spared = " and gradient checkpointing" if way is sparing and way != stage else ""
            whole = training_need(shape, stage, size, step_of(stage, length), fused=fused).total
            return found, (
                f"the whole batch needs {gigabytes(whole)}, and {gigabytes(free)} are free on {device}: going on with "
                f"--chunk {parts}{spared}, which gives the same gradients"
            )
    require_memory(stage, checkpoint, device, texts=texts, pairs=pairs, free=free)
    return stage, ""


def _share(free: int | None, device: str) -> int | None:
    """What is free for one of the processes of this machine; on GPUs each has its own."""
    if free is None or device.startswith("cuda"):
        return free
    return free // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1") or 1))


def longest(stage: StageConfig, checkpoint: Checkpoint, texts: Sequence[Path], pairs: Sequence[PairFile]) -> int:
    """Tokens that texts are padded to: a block of MNTP, else the longest of the first texts and a quarter more."""
    most = stage.training.max_length
    if isinstance(stage, MntpConfig):
        return most
    from searchapp.encoder.loading import load_tokenizer

    found = list(islice(read_texts(texts), SAMPLE)) if texts else []
    for file in pairs:
        for pair in islice(read_pairs(file), SAMPLE):
            found += [f"{file.instruction} {pair.query}", *pair.positives, *pair.negatives]
    if not found:
        return most
    backend = load_tokenizer(checkpoint.tokenizer).backend_tokenizer
    backend.no_truncation()
    return min(most, int(LONGER * max(len(item.ids) for item in backend.encode_batch(found))) + 8)


def largest_rows(shape: Shape, stage: StageConfig, size: int, length: int, free: int, *, fused: bool = False) -> int:
    """The most rows of a batch of this length that fit; 0 when not even one does."""
    low, high = 0, stage.training.batch_size
    while low < high:
        middle = (low + high + 1) // 2
        if training_need(shape, stage, size, step_of(stage, length, middle), fused=fused).total <= free:
            low = middle
        else:
            high = middle - 1
    return low


def largest_length(shape: Shape, stage: StageConfig, size: int, length: int, free: int, *, fused: bool = False) -> int:
    """The longest row that fits alone, by halves of ``length``; 0 when none does."""
    while length and training_need(shape, stage, size, step_of(stage, length, 1), fused=fused).total > free:
        length //= 2
    return length


def _refusal(
    shape: Shape,
    stage: StageConfig,
    size: int,
    length: int,
    need: TrainingNeed,
    free: int,
    device: str,
    fused: bool,
) -> str:
    training = stage.training
    step, precision = step_of(stage, length), "float32" if size == 4 else "bfloat16"
    found = (
        f"{step.rows} x {length} tokens at once need {gigabytes(need.total)} in {precision} ({need}), "
        f"and {gigabytes(free)} are free on {device}"
    )
    ways = []
    sparing = replace(stage, training=replace(training, gradient_checkpointing=True))
    rows = largest_rows(shape, stage, size, length, free, fused=fused)
    if rows:
        found += f"; the largest batch that fits is {rows} x {length}"
        part = step_of(stage, length, rows).rows  # texts, of which a contrastive row has several
        ways.append(f"--batch-size {rows}, or --chunk {part} for the same batch in parts")
    elif short := largest_length(shape, stage, size, length, free, fused=fused):
        found += f"; the longest text that fits is 1 x {short}"
        ways.append(f"--batch-size 1 --max-length {short}")
    if not training.gradient_checkpointing:
        less = training_need(shape, sparing, size, step, fused=fused).total
        more = largest_rows(shape, sparing, size, length, free, fused=fused)
        if less <= free:
            ways.insert(0, f"--gradient-checkpointing ({gigabytes(less)})")
        elif more > rows:
            part = step_of(sparing, length, more).rows
            ways.insert(0, f"--gradient-checkpointing --chunk {part}")
    if size == 4 and training.train == "lora" and not ways:
        ways.append("--dtype bfloat16")
    return f"{found}: give {', or '.join(ways)}" if ways else f"{found}; use a smaller model or a larger machine"
