"""What a decoder needs to be loaded and to encode, against what is free: asked before anything is allocated.

The estimates are sums over tensors that live at the same time, checked against measured peaks (docs/log.md). What the
process holds already (its libraries) is not among them, as what is free is asked once they are loaded.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchapp.encoder.free_memory import free_memory, gigabytes
from searchapp.encoder.shape import Shape, read_shape
from searchapp.errors import ModelError

log = logging.getLogger("searchapp")

TEXT = 512  # tokens of the one text that has to fit beside the weights; batches shrink to one text
SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes of a number
DRIVER = Path("/proc/driver/nvidia/version")  # there where the machine may have a GPU


@dataclass(frozen=True)
class Need:
    """Bytes: ``weights`` that stay, ``passing`` while they are converted, ``activations`` of a batch."""

    weights: int
    passing: int
    activations: int

    @property
    def total(self) -> int:
        """Bytes at the peak: a batch comes after the conversion."""
        return self.weights + max(self.passing, self.activations)


def encoding_need(shape: Shape, size: int, *, positions: int = TEXT, length: int = TEXT, mapped: bool = True) -> Need:
    """What it takes to load a decoder in numbers of ``size`` bytes and to encode a batch.

    The batch has ``positions``, its longest text ``length`` of them. ``mapped``: weights that are stored in this
    precision are read from the file as they are used, so that of the input embedding only the rows of texts count.
    """
    kept = mapped and shape.stored == size
    weights = shape.parameters * size - (shape.vocabulary * shape.hidden * size if kept else 0)
    return Need(
        weights=weights,
        passing=0 if kept else shape.largest * size,
        activations=layer_bytes(shape, size, positions, length) + positions * shape.hidden * (2 * size + 4),
    )


def layer_bytes(shape: Shape, size: int, positions: int, length: int, *, eager: bool = False) -> int:
    """Bytes that live at once inside one layer without gradients: its MLP, or its attention, whichever is more.

    The MLP holds the gate, its activation and the other half (3 x inner); attention queries, keys and values, all
    repeated to the width of the queries and turned by the rotary embedding, and its result. ``eager`` adds the scores.
    """
    wide = shape.heads * shape.head_dim
    stream = 3 * shape.hidden * size + 4 * shape.hidden  # residual, its norm, and the norm in float32
    scores = positions * shape.heads * length * (size + 4) if eager else 0
    return positions * (stream + size * max(3 * shape.inner, 6 * wide)) + scores


def affordable(directory: Path, name: str, asked: str, precision: Any, device: str, *, free: int | None = None) -> Any:
    """The torch precision to load a checkpoint in: ``precision``, or bfloat16 where only that fits and may be taken.

    ``asked`` is the precision as the user named it; only ``auto`` gives way. ``free`` bytes, in place of what the
    device has. Raises ModelError, before anything is allocated, when the weights and one text do not fit.
    """
    import torch

    shape = read_shape(directory)
    free = free_memory(device) if free is None else free
    if shape is None or free is None:
        return precision
    choices = [precision, torch.bfloat16] if asked == "auto" and precision.itemsize > 2 else [precision]
    mapped = device == "cpu"
    needs = [encoding_need(shape, choice.itemsize, mapped=mapped) for choice in choices]
    for choice, need in zip(choices, needs, strict=True):
        if need.total <= free:
            if choice != precision:
                log.warning(
                    "%s is loaded in bfloat16: float32 needs %s, and %s are free on %s",
                    name, gigabytes(needs[0].total), gigabytes(free), device,
                )  # fmt: skip
            return choice
    raise ModelError(_refusal(name, shape, choices[-1].itemsize, free, device))


def refuse_hopeless(directory: Path, name: str, asked: str, device: str, *, free: int | None = None) -> None:
    """Raise ModelError for weights that fit in no precision that may be taken, before torch is even imported.

    Says nothing where a GPU may be meant: that one is asked by ``affordable``. ``free`` bytes, in place of the CPU's.
    """
    if device not in ("auto", "cpu") or (device == "auto" and DRIVER.exists()):
        return
    size = SIZES.get(asked, 2)
    free = free_memory() if free is None else free
    shape = None if free is None else read_shape(directory)
    if shape is not None and free is not None and encoding_need(shape, size).total > free:
        raise ModelError(_refusal(name, shape, size, free, "cpu"))


def _refusal(name: str, shape: Shape, size: int, free: int, device: str) -> str:
    need = encoding_need(shape, size, mapped=device == "cpu")
    precision = "float32" if size > 2 else "bfloat16"
    half = encoding_need(shape, 2, mapped=device == "cpu").total
    smaller = f"--dtype bfloat16 ({gigabytes(half)}), " if size > 2 and half <= free else ""
    return (
        f"{name} needs {gigabytes(need.total)} in {precision} ({shape.parameters / 1e9:.2g} billion parameters), and "
        f"{gigabytes(free)} are free on {device}; use {smaller}a smaller model or a machine with more memory, or close "
        "other programs"
    )
