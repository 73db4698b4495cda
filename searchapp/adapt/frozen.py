"""Frozen matrices in bfloat16 on a CPU that does not multiply it: computed in float32, a block of rows at a time.

torch multiplies bfloat16 there by a plain loop: on AVX2 the way back through a matrix runs at 0.2 GFLOP/s a core, a
hundredth of float32's speed, and the way forward at a third of it. A block of the matrix in float32 costs 16 MB for
as long as it is multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

BLOCK = 4_194_304  # numbers of a matrix that are float32 at once


class _FrozenLinear(torch.autograd.Function):
    """x W^T + b for a W and b that get no gradient; products and sums in float32."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Output in the precision of ``states``."""
        ctx.weight = weight  # not saved: it has no version that could change
        wide = states.float()
        made = states.new_empty((*states.shape[:-1], weight.shape[0]))
        for rows in _blocks(weight):
            part = wide @ weight[rows].float().T
            made[..., rows] = part if bias is None else part + bias[rows].float()
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The gradient of the states alone."""
        (gradient,) = gradients
        weight = ctx.weight
        made = torch.zeros((*gradient.shape[:-1], weight.shape[1]), dtype=torch.float32)
        for rows in _blocks(weight):
            made += gradient[..., rows].float() @ weight[rows].float()
        return made.to(gradient.dtype), None, None


def _blocks(weight: torch.Tensor) -> Iterator[slice]:
    count, width = weight.shape
    size = max(1, BLOCK // width)
    for start in range(0, count, size):
        yield slice(start, min(count, start + size))


def frozen_linear(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``torch.nn.functional.linear`` for a frozen matrix (out, in); states (…, in) → (…, out) in their precision."""
    made: torch.Tensor = _FrozenLinear.apply(states, weight, bias)  # type: ignore[no-untyped-call]
    return made


def compute_in_float32(decoder: nn.Module) -> int:
    """Let the frozen bfloat16 linear layers of a decoder on a CPU multiply in float32; return how many."""
    changed = 0
    for module in decoder.modules():
        if type(module) is nn.Linear and _is_slow(module.weight):
            module.forward = partial(_forward, module)  # type: ignore[method-assign]
            changed += 1
    return changed


def _forward(module: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    return frozen_linear(states, module.weight, module.bias)


def _is_slow(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and not weight.requires_grad
