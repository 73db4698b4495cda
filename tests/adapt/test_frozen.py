"""Frozen bfloat16 matrices in float32: against torch's own linear layer in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from searchapp.adapt import frozen
from searchapp.adapt.frozen import compute_in_float32, frozen_linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_result_and_gradient_are_those_of_exact_arithmetic(bias: bool, block: int, monkeypatch) -> None:
    monkeypatch.setattr(frozen, "BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(11, 5, generator=generator).bfloat16()
    offset = torch.randn(11, generator=generator).bfloat16() if bias else None
    states = torch.randn(2, 3, 5, generator=generator).bfloat16().requires_grad_()
    exact = states.detach().double().requires_grad_()
    made = frozen_linear(states, weight, offset)
    wanted = nn.functional.linear(exact, weight.double(), None if offset is None else offset.double())
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.double(), wanted, rtol=1e-2, atol=1e-2)
    gradient = torch.randn(made.shape, generator=generator).bfloat16()
    made.backward(gradient)
    wanted.backward(gradient.double())
    assert states.grad is not None and exact.grad is not None
    torch.testing.assert_close(states.grad.double(), exact.grad, rtol=1e-2, atol=1e-2)


def test_only_frozen_bfloat16_layers_are_changed() -> None:
    def layer(dtype: torch.dtype, frozen: bool) -> nn.Linear:
        return nn.Linear(4, 4, dtype=dtype).requires_grad_(not frozen)

    half, trained, whole = layer(torch.bfloat16, True), layer(torch.bfloat16, False), layer(torch.float32, True)
    model = nn.Sequential(half, trained, whole)
    assert compute_in_float32(model) == 1
    states = torch.randn(3, 4).bfloat16()
    torch.testing.assert_close(half(states), nn.functional.linear(states, half.weight, half.bias))
