"""Losses and gradients equal what the original package computed (fixtures in ../shared/parity/losses)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from searchapp.adapt import info_nce, mask_tokens, mntp_loss
from searchapp.errors import SearchAppError


@pytest.mark.parametrize("kind", ["no_neg", "neg", "neg_more"])
@pytest.mark.parametrize("scale", [20, 50])
def test_info_nce_and_its_gradients_equal_the_original(shared: Path, kind: str, scale: int) -> None:
    with np.load(shared / "parity" / "losses" / "hard_negative_nll.npz") as stored:
        data = {key: torch.from_numpy(stored[key]) for key in stored}
    queries, positives = (data[key].clone().requires_grad_() for key in ("q", "pos"))
    loss = info_nce(queries, positives, data.get(kind), scale=scale)
    loss.backward()
    prefix = f"{kind}/scale{scale}"
    assert loss.item() == pytest.approx(data[f"{prefix}/loss"].item(), rel=1e-5, abs=1e-6)
    for got, name in ((queries.grad, "grad_q"), (positives.grad, "grad_pos")):
        torch.testing.assert_close(got, data[f"{prefix}/{name}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "mistral"])
@pytest.mark.parametrize("batch", ["mntp", "mntp_rightpad"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_mntp_loss_and_lora_gradients_equal_the_original(
    shared: Path, family: str, batch: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModel

    root = shared / "parity"
    monkeypatch.chdir(root)
    base, adapter = {
        "llama": ("tiny-llama/base", "tiny-llama/mntp"),
        "mistral": ("mistralai/Mistral-7B-Instruct-v0.2", "McGill-NLP/LLM2Vec-Mistral-7B-Instruct-v2-mntp"),
    }[family]
    config = AutoConfig.from_pretrained(base)
    config.is_causal = False
    inner = AutoModel.from_pretrained(base, config=config, attn_implementation=attention, dtype=torch.float32)
    model = PeftModel.from_pretrained(inner, adapter, is_trainable=True).eval()
    head = load_file(Path(base) / "model.safetensors")["lm_head.weight"]
    with np.load(root / "losses" / f"{family}.npz") as stored:
        data = {key: torch.from_numpy(stored[key]) for key in stored if key.startswith(f"{batch}/")}
    hidden = model(
        input_ids=data[f"{batch}/input_ids"], attention_mask=data.get(f"{batch}/attention_mask"), use_cache=False
    ).last_hidden_state
    loss = mntp_loss(hidden, head, data[f"{batch}/labels"])
    loss.backward()
    prefix = f"{batch}/as_shipped/{attention}"
    assert loss.item() == pytest.approx(data[f"{prefix}/loss"].item(), rel=1e-5)
    meta = next(item for item in json.loads((root / "extras.json").read_text())["losses"] if item["family"] == family)
    names = meta["items"][prefix]["lora_grad_names"]
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert sorted(gradients) == sorted(names)
    norms = torch.stack([gradients[name].norm() for name in names])
    torch.testing.assert_close(norms, data[f"{prefix}/lora_grad_norms"], rtol=1e-5, atol=2e-6)
    first = next(gradients[name] for name in names if "layers.0.self_attn.q_proj.lora_B" in name)
    torch.testing.assert_close(first, data[f"{prefix}/grad_l0_q_lora_B"], rtol=1e-5, atol=2e-6)


def _masked(strategy: str, rate: float):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(10, 1000, (200, 200), generator=generator)
    special = torch.zeros_like(ids, dtype=torch.bool)
    special[:, 0] = True
    return ids, mask_tokens(ids, special, mask_id=3, vocabulary=1000, rate=rate, strategy=strategy, generator=generator)


def test_bert_masking_hides_80_changes_10_and_leaves_10_percent() -> None:
    ids, masked = _masked("bert", 0.2)
    chosen = masked.labels != -100
    assert not chosen[:, 0].any()
    assert chosen[:, 1:].float().mean() == pytest.approx(0.2, abs=0.01)
    assert (masked.labels[chosen] == ids[chosen]).all()
    assert (masked.ids[~chosen] == ids[~chosen]).all()
    assert (masked.ids[chosen] == 3).float().mean() == pytest.approx(0.8, abs=0.02)
    kept = (masked.ids[chosen] == ids[chosen]).float().mean()
    assert kept == pytest.approx(0.1, abs=0.02)


def test_all_masking_hides_every_chosen_token() -> None:
    _, masked = _masked("all", 0.8)
    chosen = masked.labels != -100
    assert (masked.ids[chosen] == 3).all()
    assert chosen[:, 1:].float().mean() == pytest.approx(0.8, abs=0.01)


def test_masking_that_makes_no_sense_is_refused() -> None:
    for strategy, rate in (("some", 0.2), ("bert", 0.0), ("all", 1.0)):
        with pytest.raises(SearchAppError):
            _masked(strategy, rate)


def test_a_label_at_the_first_position_is_never_scored() -> None:
    hidden, head = torch.randn(2, 5, 4), torch.randn(7, 4)
    labels = torch.full((2, 5), -100)
    labels[0, 3], labels[1, 0] = 2, 5
    expected = torch.nn.functional.cross_entropy((hidden[0, 2] @ head.T)[None], torch.tensor([2]))
    assert mntp_loss(hidden, head, labels).item() == pytest.approx(expected.item(), rel=1e-6)
