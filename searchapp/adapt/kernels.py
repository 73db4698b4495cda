"""The operations of a layer in training, each with a way back written by hand: for frozen weights with LoRA on them.

autograd keeps the input of every operation and allocates for every gradient. Here a linear layer gives no gradient to
its frozen matrix, adds its bias, its adapters and the residual in place, and several layers that read the same input
are one product; what is cheap to compute again is not kept. All states are (tokens, width), of texts laid end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import silu

from searchapp.adapt.products import product

STEPS = 1 << 16  # values of the random numbers that dropout compares


@dataclass(frozen=True)
class Linears:
    """Frozen linear layers that read the same input, with an adapter on each.

    ``weight`` (out, in) and ``bias`` (out,) are theirs one below the other; ``sizes`` are their outputs. ``scale`` is
    LoRA's alpha / rank, ``dropout`` the rate before its matrices: one draw for all adapters of an input.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    sizes: list[int]
    scale: float
    dropout: float = 0.0


def adapted(
    states: torch.Tensor,
    linears: Linears,
    adapters: Sequence[torch.Tensor],
    *,
    residual: torch.Tensor | None = None,
    training: bool = False,
) -> torch.Tensor:
    """``residual`` + W x + b + scale B A dropout(x): states (tokens, in) → (tokens, out).

    ``adapters`` are A (rank, in) of each layer and then B (its out, rank) of each. Dropout is drawn only with
    ``training``. (LoRA, arXiv 2106.09685, section 4.1.)
    """
    made: torch.Tensor = _Adapted.apply(  # type: ignore[no-untyped-call]
        states, residual, linears, _draw(states, linears.dropout if training else 0.0), False, *adapters
    )
    return made


def gated(
    states: torch.Tensor,
    linears: Linears,
    adapters: Sequence[torch.Tensor],
    *,
    residual: torch.Tensor | None = None,
    training: bool = False,
) -> torch.Tensor:
    """``adapted`` of silu(gate) * up, for states (tokens, 2 inner) that hold the gate and then the up projection.

    The product is not kept for the way back. (SwiGLU, arXiv 2002.05202, equation 6.)
    """
    inner = states[:, : states.shape[1] // 2]
    made: torch.Tensor = _Adapted.apply(  # type: ignore[no-untyped-call]
        states, residual, linears, _draw(inner, linears.dropout if training else 0.0), True, *adapters
    )
    return made


def rms_norm(states: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """States over the root of their mean square, times a frozen weight (arXiv 1910.07467, equation 4)."""
    made: torch.Tensor = _Norm.apply(states, weight, eps)  # type: ignore[no-untyped-call]
    return made


def rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int) -> torch.Tensor:
    """Rotate the first ``heads`` of states (tokens, all heads, dim) by their positions; the others are copied.

    ``cos`` and ``sin`` are (tokens, 1, dim / 2). (RoPE, arXiv 2104.09864, equation 34, with halves for neighbours.)
    """
    made: torch.Tensor = _Rotation.apply(states, cos, sin, heads)  # type: ignore[no-untyped-call]
    return made


def scored_loss(states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, block: int = 256) -> torch.Tensor:
    """Sum of the cross-entropies of states (n, dim) under a frozen head (vocabulary, dim), for targets (n,).

    The gradient is made on the way forward, ``block`` rows at a time, so that no logits are kept.
    """
    made: torch.Tensor = _ScoredLoss.apply(states, weight, targets, block)  # type: ignore[no-untyped-call]
    return made


@dataclass(frozen=True)
class _Dropout:
    """Which inputs are kept, int8 of their shape, and what those are multiplied by."""

    kept: torch.Tensor
    factor: float

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        return self.kept.to(states.dtype).mul_(states).mul_(self.factor)


def _draw(states: torch.Tensor, rate: float) -> _Dropout | None:
    """A mask from 16 random bits a number: torch's own dropout takes eight times as long on a CPU."""
    threshold = round(rate * STEPS)
    if not threshold:
        return None
    count = states.numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64, device=states.device).random_(-(1 << 63), None)
    kept = bits.view(torch.int16)[:count].view(states.shape) >= threshold - STEPS // 2
    return _Dropout(kept.view(torch.int8), STEPS / (STEPS - threshold))


class _Adapted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        residual: torch.Tensor | None,
        linears: Linears,
        dropout: _Dropout | None,
        gate: bool,
        *adapters: torch.Tensor,
    ) -> torch.Tensor:
        downs, ups = _halves(adapters)
        weight, kind = linears.weight, linears.weight.dtype
        inputs = _gate(states) if gate else states
        made = product(inputs, weight.T)
        if linears.bias is not None:
            made += linears.bias
        if residual is not None:
            made += residual
        low = (inputs if dropout is None else dropout(inputs)) @ torch.cat(list(downs)).to(kind).T
        low *= linears.scale
        for part, own, up in zip(torch.split(made, linears.sizes, 1), _ranks(low, ups), ups, strict=True):
            part.addmm_(own, up.to(kind).T)
        ctx.save_for_backward(states, low, *adapters)
        ctx.linears, ctx.dropout, ctx.gate = linears, dropout, gate
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        (gradient,) = gradients
        states, low, *adapters = ctx.saved_tensors
        downs, ups = _halves(adapters)
        linears, kind = ctx.linears, ctx.linears.weight.dtype
        parts = torch.split(gradient, linears.sizes, 1)
        up_gradients = [(part.T @ own).to(up.dtype) for part, own, up in zip(parts, _ranks(low, ups), ups, strict=True)]
        back = torch.empty_like(low)
        for part, own, up in zip(parts, _ranks(back, ups), ups, strict=True):
            torch.mm(part, up.to(kind), out=own)
        back *= linears.scale
        opened = silu(states[:, : states.shape[1] // 2]) if ctx.gate else None
        inputs = states if opened is None else opened * states[:, opened.shape[1] :]
        down_gradient = back.T @ (inputs if ctx.dropout is None else ctx.dropout(inputs))
        down_gradients = [
            own.to(down.dtype)
            for own, down in zip(torch.split(down_gradient, [len(down) for down in downs]), downs, strict=True)
        ]
        made = None
        if ctx.needs_input_grad[0]:
            made = product(gradient, linears.weight)
            down = torch.cat(list(downs)).to(kind)
            if ctx.dropout is None:
                made.addmm_(back, down)
            else:
                made += ctx.dropout(back @ down)
            if opened is not None:
                made = _gate_back(states, opened, made)
        return made, gradient if ctx.needs_input_grad[1] else None, None, None, None, *down_gradients, *up_gradients


def _halves(adapters: Sequence[torch.Tensor]) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]:
    count = len(adapters) // 2
    return adapters[:count], adapters[count:]


def _ranks(low: torch.Tensor, ups: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The columns of the narrow states that belong to each adapter."""
    parts: tuple[torch.Tensor, ...] = torch.split(low, [up.shape[1] for up in ups], 1)
    return parts


def _gate(states: torch.Tensor) -> torch.Tensor:
    gate, up = states.chunk(2, 1)
    made: torch.Tensor = silu(gate).mul_(up)
    return made


def _gate_back(states: torch.Tensor, opened: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient of gate and up, from that of their product; ``opened`` is silu(gate). The last is overwritten."""
    gate, up = states.chunk(2, 1)
    made = torch.empty_like(states)
    of_gate, of_up = made.chunk(2, 1)
    torch.mul(opened, gradient, out=of_up)
    torch.ops.aten.silu_backward.grad_input(gradient.mul_(up), gate, grad_input=of_gate)
    return made


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        wide = states.float()
        inverse = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(states.shape[-1])
        inverse.add_(eps).rsqrt_()
        ctx.save_for_backward(states, inverse)
        ctx.weight = weight
        made: torch.Tensor = (wide * inverse).to(states.dtype).mul_(weight)
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        states, inverse = ctx.saved_tensors
        wide = states.float()
        weighted = gradients[0].float() * ctx.weight.float()
        along = torch.linalg.vecdot(weighted, wide).unsqueeze(-1) * inverse.pow(3) / states.shape[-1]
        return weighted.mul_(inverse).addcmul_(wide, along, value=-1).to(states.dtype), None, None


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int) -> torch.Tensor:
        ctx.cos, ctx.sin, ctx.heads = cos, sin, heads
        return _rotated(states, cos, sin, heads, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        return _rotated(gradients[0], ctx.cos, ctx.sin, ctx.heads, -1), None, None, None


def _rotated(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int, sign: int) -> torch.Tensor:
    made = torch.empty_like(states)
    made[:, heads:] = states[:, heads:]
    first, second = states[:, :heads].chunk(2, -1)
    one, other = made[:, :heads].chunk(2, -1)
    torch.mul(first, cos, out=one).addcmul_(second, sin, value=-sign)
    torch.mul(second, cos, out=other).addcmul_(first, sin, value=sign)
    return made


class _ScoredLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, block: int
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        slope = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        for start in range(0, len(states), block):
            chosen = targets[start : start + block, None]
            logits = product(states[start : start + block].to(weight.dtype), weight.T).float()
            highest = logits.amax(1, keepdim=True)
            right = logits.gather(1, chosen)
            sums = logits.sub_(highest).exp_().sum(1, keepdim=True)
            total += (sums.log() + highest - right).sum()
            if slope is not None:
                shares = logits.div_(sums).scatter_add_(1, chosen, torch.full_like(sums, -1.0))
                slope[start : start + block] = product(shares.to(weight.dtype), weight)
        ctx.slope = slope
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        return ctx.slope * gradients[0], None, None, None
