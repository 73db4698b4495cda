"""The fused way of training against the plain one: peft's layers, padded or masked batches, and autograd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, silu

from searchapp.adapt import kernels, products
from searchapp.adapt.data import PairFile
from searchapp.adapt.kernels import Linears, adapted, gated, rms_norm, rotate, scored_loss
from searchapp.adapt.model import TrainableModel, load_trainable_model
from searchapp.adapt.objectives.mntp import MntpObjective
from searchapp.adapt.objectives.simcse import SimcseObjective
from searchapp.adapt.objectives.supervised import SupervisedObjective
from tests.adapt.stages import small, write_pairs, write_text
from tests.models import make_checkpoint


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


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fused")
    for words in (3, 7, 12):
        write_text(root / f"{words}.txt", 10, words, seed=words)
    write_pairs(root / "pairs.jsonl", 24)
    return root


def _task(model: Path, data: Path, kind: str, **changes: Any) -> Any:
    stage = small(kind, **{"lora_dropout": 0.0, **changes})
    options = {} if kind == "mntp" else {"pooling": stage.pooling}
    trainee = load_trainable_model(str(model), stage.training, attention_dropout=None, **options)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in trainee.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.05)
    trainee.train()
    work = data / "work" / str(len(list(data.glob("work/*"))))
    texts = [data / f"{words}.txt" for words in (3, 7, 12)]
    if kind == "mntp":
        return MntpObjective(trainee, stage, texts, work)
    if kind == "simcse":
        return SimcseObjective(trainee, stage, texts, work)
    return SupervisedObjective(trainee, stage, [PairFile(data / "pairs.jsonl", instruction="find it:")], work)


def _gradients(task: Any) -> tuple[float, dict[str, torch.Tensor]]:
    loss, _ = task.backward(task.trainee, 1)
    return loss.item(), {name: p.grad for name, p in task.trainee.named_parameters() if p.grad is not None}


def _assert_equal(plain: Any, ours: Any) -> None:
    (loss, want), (loss2, got) = _gradients(plain), _gradients(ours)
    assert loss2 == pytest.approx(loss, rel=1e-5)
    assert want.keys() == got.keys()
    assert len(want) >= 8
    for name, gradient in want.items():
        assert (gradient - got[name]).abs().max() <= 1e-5 * max(item.abs().max() for item in want.values()), name


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "gpt_neox"])
def test_every_family_has_the_gradients_of_the_masked_way(
    family: str, tmp_path: Path, data: Path, tokenizer: Any
) -> None:
    """Several documents in a block; a family that is not fused is packed."""
    base = make_checkpoint(tmp_path / "base", tokenizer, family)
    options = {"max_length": 24, "mask_rate": 0.5}
    plain = _task(base, data, "mntp", attention="sdpa", **options)
    ours = _task(base, data, "mntp", **options)
    assert not plain.trainee.packs
    assert ours.trainee.packs
    assert ours.trainee.fused == (0 if family == "gpt_neox" else 2)
    _assert_equal(plain, ours)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("mntp", {"mix_documents": True}),
        ("mntp", {"chunk": 1}),
        ("mntp", {"gradient_checkpointing": True}),
        ("mntp", {"train": "all", "max_length": 24}),
        ("supervised", {}),
        ("supervised", {"pooling": "eos_token", "gradient_checkpointing": True}),
        ("supervised", {"pooling": "weighted_mean", "chunk": 5}),
        ("supervised", {"pooling": "max", "negatives": 2}),
    ],
)
def test_every_stage_has_the_gradients_of_the_padded_way(
    tiny_model: Path, data: Path, kind: str, options: dict[str, Any]
) -> None:
    plain, ours = (_task(tiny_model, data, kind, attention=kernel, **options) for kernel in ("sdpa", "auto"))
    assert ours.trainee.packs and not plain.trainee.packs
    _assert_equal(plain, ours)


def test_bfloat16_that_the_processor_multiplies_is_near_float32(
    tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searchapp.adapt import model as module

    monkeypatch.setattr(module, "cpu_has_bfloat16", lambda: True)
    exact, half = (_task(tiny_model, data, "mntp", mask_rate=0.5, dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert half.trainee.fused == 2
    assert half.trainee.dtype == torch.bfloat16
    (loss, want), (loss2, got) = _gradients(exact), _gradients(half)
    assert loss2 == pytest.approx(loss, rel=1e-2)
    one, other = (torch.cat([item.float().ravel() for item in part.values()]) for part in (want, got))
    assert all(item.dtype == torch.float32 for item in got.values())
    assert torch.cosine_similarity(one, other, dim=0) > 0.99


def test_joined_weights_are_held_once(tiny_model: Path) -> None:
    trainee: TrainableModel = load_trainable_model(str(tiny_model), small("mntp").training)
    layer = trainee.decoder.base_model.model.layers[0]
    attention, mlp = layer.self_attn, layer.mlp
    for parts in ((attention.q_proj, attention.k_proj, attention.v_proj), (mlp.gate_proj, mlp.up_proj)):
        assert len({part.base_layer.weight.untyped_storage().data_ptr() for part in parts}) == 1


def test_states_that_are_not_read_are_not_computed(tiny_model: Path, data: Path) -> None:
    """Of the last layer only the rows before a hidden token go through the MLP."""
    task = _task(tiny_model, data, "mntp", max_length=32, mask_rate=0.2, batch_size=4)
    norm, seen = task.trainee.decoder.base_model.model.norm, []
    norm.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    task.backward(task.trainee, 0)
    assert 0 < seen[0] < 0.4 * 4 * 32
