"""The operations of a fused layer against autograd's own, in float64 where they take it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, silu

from searchapp.adapt import kernels, products
from searchapp.adapt.kernels import Linears, adapted, gated, rms_norm, rotate, scored_loss


def _numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _same_way(ours: Any, plain: Any, *inputs: torch.Tensor) -> None:
    """Equal results and equal gradients of all inputs."""
    mine, theirs = ([item.clone().requires_grad_() for item in inputs] for _ in range(2))
    made, wanted = ours(*mine), plain(*theirs)
    torch.testing.assert_close(made, wanted)
    gradient = torch.randn_like(wanted)
    made.backward(gradient)
    wanted.backward(gradient)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def _lora(inputs: torch.Tensor, linears: Linears, parts: Any, residual: torch.Tensor) -> torch.Tensor:
    """The layers one by one, as their definition has them."""
    count = len(parts) // 2
    low = [(inputs @ parts[i].T) @ parts[count + i].T for i in range(count)]
    bias = 0 if linears.bias is None else linears.bias
    return residual + inputs @ linears.weight.T + bias + linears.scale * torch.cat(low, 1)


@pytest.mark.parametrize("bias", [True, False])
def test_adapted_layers_and_their_gradients(bias: bool) -> None:
    torch.manual_seed(0)
    linears = Linears(_numbers(9, 6), _numbers(9) if bias else None, [5, 4], 1.5)
    parts = [_numbers(2, 6), _numbers(3, 6), _numbers(5, 2), _numbers(4, 3)]  # of two ranks
    residual = _numbers(7, 9)
    _same_way(
        lambda x, r, *own: adapted(x, linears, own, residual=r), lambda x, r, *own: _lora(x, linears, own, r),
        _numbers(7, 6), residual, *parts,
    )  # fmt: skip
    _same_way(
        lambda x, r, *own: gated(x, linears, own, residual=r),
        lambda x, r, *own: _lora(silu(x[:, :6]) * x[:, 6:], linears, own, r),
        _numbers(7, 12), residual, *parts,
    )  # fmt: skip


@pytest.mark.parametrize("gate", [False, True])
def test_dropout_is_one_draw_both_ways(gate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the mask that was drawn put before the adapters by hand."""
    torch.manual_seed(0)
    drawn: list[Any] = []
    draw = kernels._draw
    monkeypatch.setattr(kernels, "_draw", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    linears = Linears(_numbers(9, 6), None, [9], 2.0, dropout=0.4)
    call = gated if gate else adapted

    def by_hand(x: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        inputs = silu(x[:, :6]) * x[:, 6:] if gate else x
        kept = inputs * drawn[0].kept / (1 - 0.4)
        return inputs @ linears.weight.T + 2.0 * (kept @ down.T) @ up.T

    states = _numbers(7, 12 if gate else 6)
    mine, theirs = ([item.clone().requires_grad_() for item in (states, _numbers(2, 6), _numbers(9, 2))],) * 2
    theirs = [item.detach().clone().requires_grad_() for item in mine]
    made = call(mine[0], linears, mine[1:], training=True)
    wanted = by_hand(*theirs)
    torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-4)  # the rate is rounded to 16 bits
    made.sum().backward()
    wanted.sum().backward()
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)
    assert not torch.equal(call(states, linears, mine[1:], training=True), made)
    assert torch.equal(call(states, linears, mine[1:]), call(states, linears, mine[1:]))


def test_dropout_keeps_its_share_and_the_mean() -> None:
    torch.manual_seed(0)
    drawn = kernels._draw(torch.ones(1_000, 999), 0.05)
    assert drawn is not None
    assert abs(1 - drawn.kept.float().mean().item() - 0.05) < 1e-3
    assert abs(drawn(torch.ones(1_000, 999)).mean().item() - 1) < 1e-3
    places = drawn.kept.float()
    assert abs(torch.corrcoef(torch.stack([places[:, :-1].ravel(), places[:, 1:].ravel()]))[0, 1]) < 5e-3
    for column in range(4):  # of the numbers that one draw of 64 bits gives
        assert abs(1 - places.view(-1)[column::4].mean().item() - 0.05) < 2e-3
    assert kernels._draw(torch.ones(3, 3), 0.0) is None


def test_norm_and_rotation_and_their_gradients() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6)
    _same_way(
        lambda x: rms_norm(x, weight, 1e-5),
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight,
        torch.randn(7, 6),
    )
    angles = _numbers(7, 1, 4)
    full = torch.cat([angles, angles], -1)

    def plain(x: torch.Tensor) -> torch.Tensor:
        turned = x[:, :2] * full.cos() + torch.cat([-x[:, :2, 4:], x[:, :2, :4]], -1) * full.sin()
        return torch.cat([turned, x[:, 2:]], 1)

    _same_way(lambda x: rotate(x, angles.cos(), angles.sin(), 2), plain, _numbers(7, 3, 8))


@pytest.mark.parametrize("block", [3, 100])
def test_the_loss_under_a_frozen_head(block: int) -> None:
    torch.manual_seed(0)
    weight, targets = torch.randn(50, 6) * 4, torch.randint(50, (10,))
    _same_way(
        lambda x: scored_loss(x, weight, targets, block),
        lambda x: cross_entropy(x @ weight.T, targets, reduction="sum"),
        torch.randn(10, 6) * 4,
    )
    nothing = torch.zeros(0, 6, requires_grad=True)
    made = scored_loss(nothing, weight, targets[:0], block)
    made.backward()
    assert made.item() == 0.0


def test_both_libraries_multiply_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = torch.randn(300, 400)[:, :256].requires_grad_(), torch.randn(300, 256).T
    wanted = one.double() @ other.double()
    for numpy in (True, False):
        monkeypatch.setattr(products, "_numpy_is_faster", lambda numpy=numpy: numpy)
        monkeypatch.setattr(products, "LARGE", 0)
        made = products.product(one, other)
        torch.testing.assert_close(made.double(), wanted.detach(), rtol=1e-4, atol=1e-4)
        assert not made.requires_grad
