"""How much memory and time the stages of a recipe take on this machine, before any is run.

Memory is counted (``searchapp.adapt.memory``); time is measured on one layer of random weights in the base's sizes, and
multiplied. What it leaves out: loading, reading and tokenising texts, a teacher, saving.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from searchapp.adapt.config import StageConfig
from searchapp.adapt.memory import TrainingNeed, longest, require_memory, step_of, training_precision
from searchapp.adapt.recipe.recipe import Recipe, RecipeStage
from searchapp.encoder.checkpoint import Checkpoint, is_shipped, locate
from searchapp.encoder.devices import choose_device, cpu_has_bfloat16
from searchapp.encoder.free_memory import free_memory
from searchapp.encoder.shape import Shape, read_shape
from searchapp.errors import SearchAppError

log = logging.getLogger(__name__)

TIMED = 128  # positions that go through the layer
ROUNDS = 2  # the faster counts


@dataclass(frozen=True)
class Estimate:
    """What a stage takes here: bytes at its peak and bytes free, and seconds, None where it could not be timed.

    ``problem`` says what does not fit, "" where all does.
    """

    stage: str
    need: TrainingNeed | None
    free: int | None
    seconds: float | None
    problem: str = ""


def estimate(recipe: Recipe, *, free: int | None = None) -> list[Estimate]:
    """Estimate every stage of a recipe, all on the sizes of its base; [] where the base is no local directory.

    ``free`` bytes, in place of what the device has. A stage that does not fit is not timed. Nothing is fetched.
    """
    if not all(is_shipped(name) or Path(name).expanduser().is_dir() for name in (recipe.base, *recipe.adapters)):
        return []
    try:
        checkpoint = locate(recipe.base, list(recipe.adapters))
        shape = read_shape(checkpoint.weights)
    except SearchAppError as error:
        log.debug("no estimate: %s", error)
        return []
    return [] if shape is None else [_estimate(stage, checkpoint, shape, free) for stage in recipe.stages]


def _estimate(stage: RecipeStage, checkpoint: Checkpoint, shape: Shape, free: int | None) -> Estimate:
    device = choose_device(stage.settings.training.device)
    room = free_memory(device) if free is None else free
    texts = [path for path in stage.text if path.exists()]
    pairs = [file for file in stage.pairs if file.path.exists()]
    try:
        need = require_memory(stage.settings, checkpoint, device, texts=texts, pairs=pairs, free=room)
    except SearchAppError as error:
        return Estimate(stage.name, None, room, None, f"stage {stage.name}: {error}")
    dtype = training_precision(checkpoint, stage.settings.training, device, room)
    length = longest(stage.settings, checkpoint, texts, pairs)
    timed = layer_seconds(checkpoint, stage.settings, dtype, min(length, TIMED), device)
    seconds = None if timed is None else stage_seconds(stage.settings, shape, length, timed)
    return Estimate(stage.name, need, room, seconds)


def stage_seconds(stage: StageConfig, shape: Shape, length: int, layer: float) -> float:
    """Seconds of all steps, where one position takes ``layer`` seconds in a layer, both ways.

    Checkpointing, and chunks of a contrastive batch, go forward twice: a third more. The head's products, of masked
    tokens, run at the layer's own speed.
    """
    training = stage.training
    step = step_of(replace(stage, training=replace(training, chunk=0)), length)
    again = training.gradient_checkpointing + (not step.scored and training.chunk > 0)
    inside = max(1, sum(one * other for one, other in shape.linear) // shape.layers)
    head = step.scored * shape.vocabulary * shape.hidden / inside
    return training.steps * step.positions * layer * (shape.layers * (1 + again / 3) + head)


def layer_seconds(checkpoint: Checkpoint, stage: StageConfig, dtype: str, length: int, device: str) -> float | None:
    """Seconds that a position takes in one layer of these sizes, forward and back, with LoRA on it where that is meant.

    None for a family of which one layer alone cannot be made.
    """
    import torch
    from transformers import AutoModel

    from searchapp.encoder.library import quiet
    from searchapp.encoder.loading import load_config

    config = _one_layer(load_config(checkpoint.weights, bidirectional=stage.training.bidirectional))
    try:
        with quiet():
            layer: Any = AutoModel.from_config(config, dtype=getattr(torch, dtype)).to(device)
            layer = _trainable(layer, stage, device)
            states = torch.randn(1, length, config.hidden_size, dtype=getattr(torch, dtype), device=device)
            states.requires_grad_()
            return min(_timed(layer, states) for _ in range(1 + ROUNDS)) / length
    except Exception as error:  # a family whose sizes depend on each other raises anything
        log.debug("one layer of %s cannot be timed: %s", config.model_type, error)
        return None


def _one_layer(config: Any) -> Any:
    config = copy.deepcopy(config)
    kinds: Sequence[str] | None = getattr(config, "layer_types", None)
    if kinds:
        config.layer_types = list(kinds)[:1]
    config.num_hidden_layers, config.vocab_size, config.pad_token_id = 1, 8, None
    return config


def _trainable(layer: Any, stage: StageConfig, device: str) -> Any:
    if stage.training.train == "all":
        return layer.train()
    from peft import LoraConfig, get_peft_model

    from searchapp.adapt.frozen import compute_in_float32
    from searchapp.adapt.model import linear_layers

    layer.requires_grad_(False)
    if device == "cpu" and not cpu_has_bfloat16():
        compute_in_float32(layer)
    lora = LoraConfig(
        r=stage.training.lora_r, lora_dropout=stage.training.lora_dropout, target_modules=linear_layers(layer)
    )
    return get_peft_model(layer, lora).train()


def _timed(layer: Any, states: Any) -> float:
    import torch

    def wait() -> None:
        if states.device.type == "cuda":
            torch.cuda.synchronize()

    wait()
    began = time.perf_counter()
    torch.autograd.backward(layer(inputs_embeds=states, use_cache=False).last_hidden_state.float().sum())
    wait()
    return time.perf_counter() - began
