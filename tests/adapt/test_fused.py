"""The fused way of training against the plain one: peft's layers on padded or masked batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from searchapp.adapt.data import PairFile
from searchapp.adapt.model import TrainableModel, load_trainable_model
from searchapp.adapt.objectives.mntp import MntpObjective
from searchapp.adapt.objectives.simcse import SimcseObjective
from searchapp.adapt.objectives.supervised import SupervisedObjective
from tests.adapt.stages import small, write_pairs, write_text
from tests.models import make_checkpoint


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
