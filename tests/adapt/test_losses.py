"""Losses and gradients equal what the original package computed (fixtures in ../shared/parity/losses)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from searchapp.adapt import info_nce, mask_tokens, mntp_loss
from searchapp.adapt.objectives import losses
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
    torch.manual_seed(0)  # one draw in seventy has a loss so small that float32 does not hold six digits of it
    hidden, head = torch.randn(2, 5, 4), torch.randn(7, 4)
    labels = torch.full((2, 5), -100)
    labels[0, 3], labels[1, 0] = 2, 5
    expected = torch.nn.functional.cross_entropy((hidden[0, 2] @ head.T)[None], torch.tensor([2]))
    assert mntp_loss(hidden, head, labels).item() == pytest.approx(expected.item(), rel=1e-6)


# Through our own training code: load_trainable_model, load_head, TrainableModel.forward, contrastive_backward.
PLACES = {
    "llama": ("tiny-llama/base", "tiny-llama/mntp"),
    "mistral": ("mistralai/Mistral-7B-Instruct-v0.2", "McGill-NLP/LLM2Vec-Mistral-7B-Instruct-v2-mntp"),
}


def _trainee(base: str, adapter: str, attention: str, merged: list[str]):
    """A trainee whose LoRA weights are those of a stored adapter."""
    from searchapp.adapt.config import TrainingConfig
    from searchapp.adapt.model import load_trainable_model

    stored = json.loads((Path(adapter) / "adapter_config.json").read_text())
    training = TrainingConfig(
        lora_r=stored["r"], lora_alpha=stored["lora_alpha"], lora_dropout=0.0, attention=attention, device="cpu",
        dtype="float32",
    )  # fmt: skip
    trainee = load_trainable_model(base, training, adapters=merged, pooling="mean")
    trainee.load_weights(Path(adapter))
    return trainee.train()


def _norms(trainee, names: list[str]) -> torch.Tensor:
    gradients = {name: parameter.grad for name, parameter in trainee.named_parameters() if parameter.grad is not None}
    assert sorted(gradients) == sorted(f"decoder.{name}" for name in names)
    return torch.stack([gradients[f"decoder.{name}"].norm() for name in names])


def _fixture(root: Path, family: str, prefix: str):
    with np.load(root / "losses" / f"{family}.npz") as stored:
        data = {key: torch.from_numpy(stored[key]) for key in stored if key.startswith(prefix)}
    meta = next(item for item in json.loads((root / "extras.json").read_text())["losses"] if item["family"] == family)
    return data, meta["items"]


@pytest.mark.parametrize("family", ["llama", "mistral"])
@pytest.mark.parametrize("batch", ["mntp", "mntp_rightpad"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_our_mntp_equals_the_original(
    shared: Path, family: str, batch: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searchapp.adapt.head import load_head

    monkeypatch.chdir(shared / "parity")
    data, items = _fixture(shared / "parity", family, f"{batch}/")
    prefix = f"{batch}/as_shipped/{attention}"
    base, adapter = PLACES[family]
    trainee = _trainee(base, adapter, attention, [])
    hidden = trainee(data[f"{batch}/input_ids"], data.get(f"{batch}/attention_mask"))
    labels = data[f"{batch}/labels"]
    logits = load_head(trainee)(hidden[:, :-1][labels[:, 1:] != -100])
    torch.testing.assert_close(logits, data[f"{prefix}/logits_at_scored_positions"], rtol=1e-5, atol=1e-5)
    loss = mntp_loss(hidden, load_head(trainee), labels)
    loss.backward()
    assert loss.item() == pytest.approx(data[f"{prefix}/loss"].item(), rel=1e-5)
    norms = _norms(trainee, items[prefix]["lora_grad_names"])
    torch.testing.assert_close(norms, data[f"{prefix}/lora_grad_norms"], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("family", ["llama", "mistral"])
@pytest.mark.parametrize("kind", ["simcse", "supervised"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("chunk", [0, 2])
def test_our_contrastive_training_equals_the_original(
    shared: Path, family: str, kind: str, attention: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses, vectors and the norm of every LoRA gradient; SimCSE pools padding, as the released script does."""
    from searchapp.adapt.objectives.gradcache import contrastive_backward
    from searchapp.encoder.tokenization import Tokens

    monkeypatch.chdir(shared / "parity")
    data, items = _fixture(shared / "parity", family, f"{kind}/")
    prefix = f"{kind}/as_shipped/{attention}"
    item = items[prefix]
    trainee = _trainee(item["base"], item["trainable_adapter"], attention, [item["merged_first"]])
    groups = []
    for number in range(len(item["groups"])):
        ids, mask, pooled = (
            data[f"{kind}/feature{number}/{name}"] for name in ("input_ids", "attention_mask", "embed_mask")
        )
        rows = []
        for row in range(len(ids)):
            if kind == "simcse":  # padding on the left is part of what is pooled, so it has to stay there
                assert not pooled.any()
                rows.append(_Padded(ids[row].numpy(), mask[row]))
            else:
                real = ids[row][mask[row] == 1].numpy()
                rows.append(Tokens(real, len(real) - int(pooled[row].sum()), len(real)))
        groups.append(rows)
    if kind == "simcse":
        monkeypatch.setattr(trainee, "rows", _padded_rows)
    seen: list[list[torch.Tensor]] = []

    def loss_of(vectors: list[torch.Tensor]) -> torch.Tensor:
        seen.append([part.detach() for part in vectors])
        return info_nce(*vectors, scale=item["scale"])

    loss = contrastive_backward(trainee, trainee, groups, loss_of, chunk=chunk, seed=0, step=0)
    for number, vectors in enumerate(seen[0]):
        want = data[f"{prefix}/reps{number}"]
        assert ((vectors - want).norm(dim=1) / want.norm(dim=1)).max() < 1e-5
    plain = info_nce(*seen[0], scale=1.0)
    assert plain.item() == pytest.approx(data[f"{prefix}/loss_scale1"].item(), rel=1e-5)
    # 1.07e-6 in SimCSE: nine steps of float32 below 1
    assert loss.item() == pytest.approx(data[f"{prefix}/loss"].item(), rel=1e-5, abs=1.2e-7)
    got, want = _norms(trainee, item["lora_grad_names"]), data[f"{prefix}/lora_grad_norms"]
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6 * want.max().item())


class _Padded:
    """A row as the original pads it: ``ids`` (length,) with padding on the left."""

    def __init__(self, ids: np.ndarray, mask: torch.Tensor) -> None:
        self.ids, self.mask = ids, mask


def _padded_rows(batch: list[_Padded]) -> dict[str, torch.Tensor]:
    ids = torch.stack([torch.from_numpy(row.ids) for row in batch])
    whole = torch.full((len(batch),), ids.shape[1])
    spans = torch.stack([torch.zeros_like(whole), whole], 1)
    return {"ids": ids, "mask": torch.stack([row.mask for row in batch]), "spans": spans, "lengths": whole}


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


@pytest.fixture
def vectors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return tuple(torch.randn(n, 8, generator=generator) for n in (4, 4, 3))


def test_false_negatives_by_hand() -> None:
    #                       p0   p1   p2   n0   n1
    scores = torch.tensor([[0.6, 0.1, 0.7, 0.6, 0.0], [0.2, 0.5, 0.5, 0.9, 0.5], [0.3, 0.3, 0.4, 0.2, 0.55]])
    texts = torch.tensor([7, 8, 7, 9, 8])  # p2 is a copy of p0, n1 one of p1
    copies = [
        [False, False, True, False, False],
        [False, False, False, False, True],
        [True, False, False, False, False],
    ]
    got = losses.false_negatives(scores, texts, margin=None)
    assert got.tolist() == copies
    # margin 0: whatever is above the positive; equal is not above
    got = losses.false_negatives(scores, texts, margin=0.0)
    assert got.tolist() == [copies[0], [False, False, False, True, True], [True, False, False, False, True]]
    assert losses.false_negatives(scores, texts, margin=0.2).tolist() == [
        copies[0],
        [False, False, False, True, True],
        copies[2],
    ]
    # below the positive already, where the margin is negative
    assert losses.false_negatives(scores, texts, margin=-0.1).tolist()[0] == [False, False, True, True, False]
    assert not losses.false_negatives(scores, texts, margin=-1.0)[range(3), range(3)].any(), "the positive itself never"
    own = losses.false_negatives(scores, texts, margin=None, positive=torch.tensor([3, 4, 0]))
    assert own.tolist() == [[False] * 5, [False, True, False, False, False], [False, False, True, False, False]]


def test_masked_candidates_take_no_part(vectors) -> None:
    queries, positives, negatives = (part.double().numpy() for part in vectors)
    masked = np.zeros((4, 7), dtype=bool)
    masked[0, 2] = masked[1, 6] = masked[3, 0] = True
    scores = 5 * _unit(queries) @ _unit(np.concatenate([positives, negatives])).T
    want = np.mean([-scores[i, i] + np.log(np.exp(scores[i][~masked[i]]).sum()) for i in range(4)])
    got = info_nce(*vectors, scale=5.0, masked=torch.from_numpy(masked))
    assert got.item() == pytest.approx(want, rel=1e-6)
    assert got.item() != pytest.approx(info_nce(*vectors, scale=5.0).item(), rel=1e-3)


def test_matryoshka_is_the_mean_over_cut_vectors_and_cuts_before_normalising(vectors) -> None:
    def by_hand(dim: int) -> float:
        queries, positives, negatives = (_unit(part.double().numpy()[:, :dim]) for part in vectors)
        logs = _log_softmax(20 * queries @ np.concatenate([positives, negatives]).T)
        return -float(np.mean(logs[range(4), range(4)]))

    got = losses.matryoshka(lambda parts: info_nce(*parts, scale=20.0), vectors, (2, 4, 8))
    assert got.item() == pytest.approx(np.mean([by_hand(2), by_hand(4), by_hand(8)]), rel=1e-5)
    assert losses.matryoshka(lambda parts: info_nce(*parts), vectors, ()).item() == info_nce(*vectors).item()


def test_the_distribution_loss_is_the_divergence_from_the_teacher() -> None:
    from scipy.special import rel_entr, softmax

    rng = np.random.default_rng(0)
    student, teacher = rng.uniform(-1, 1, (2, 5, 7)).astype(np.float32)
    want = np.mean([rel_entr(softmax(10 * t), softmax(50 * s)).sum() for s, t in zip(student, teacher, strict=True)])
    given = torch.from_numpy(student), torch.from_numpy(teacher)
    got = losses.distribution_loss(*given, scale=50.0, teacher_scale=10.0)
    assert got.item() == pytest.approx(want, rel=1e-5)
    assert losses.distribution_loss(given[1], given[1], scale=3.0, teacher_scale=3.0).item() == pytest.approx(
        0, abs=1e-6
    )
    valid = np.ones((5, 7), dtype=bool)
    valid[0, 3:] = valid[2, 1:] = False
    want = np.mean([
        rel_entr(softmax(10 * t[v]), softmax(50 * s[v])).sum() for s, t, v in zip(student, teacher, valid, strict=True)
    ])  # fmt: skip
    got = losses.distribution_loss(*given, scale=50.0, teacher_scale=10.0, valid=torch.from_numpy(valid))
    assert got.item() == pytest.approx(want, rel=1e-5)


def test_the_loss_over_pairs_is_the_sum_of_its_parts(vectors) -> None:
    """InfoNCE, the teacher within the batch and scores in the rows, each by hand, at two dimensions."""
    from scipy.special import rel_entr, softmax

    from searchapp.adapt.config import SupervisedConfig
    from searchapp.adapt.objectives.supervised import PairBatch, supervised_loss

    stage = SupervisedConfig(
        scale=6.0, matryoshka=(4, 8), margin=0.1, teacher="t", teacher_weight=0.7, teacher_scale=9.0, row_weight=1.3
    )
    rows = PairBatch(
        ["q0", "q1", "q2", "q3"], ["a", "b", "a", "d"], ["n0", "n1", "n2"], [0, 0, 3],
        [[2.0, 1.0, -1.0], None, [1.0], [0.5, 0.1]],
    )  # fmt: skip
    taught = np.random.default_rng(1).uniform(-1, 1, (4, 7)).astype(np.float32)
    masked = taught > taught[range(4), range(4)][:, None] + 0.1  # the teacher judges, not the student
    masked[0, 2] = masked[2, 0] = True  # "a" twice
    masked[range(4), range(4)] = False
    assert masked.sum() > 2
    want = 0.0
    for dim in (4, 8):
        queries, positives, negatives = (_unit(part.double().numpy()[:, :dim]) for part in vectors)
        scores = queries @ np.concatenate([positives, negatives]).T
        contrast = np.mean(
            [-6 * s[i] + np.log(np.exp(6 * s[~b]).sum()) for i, (s, b) in enumerate(zip(scores, masked, strict=True))]
        )
        within = np.mean([rel_entr(softmax(9 * t), softmax(6 * s)).sum() for s, t in zip(scores, taught, strict=True)])
        own = [([0, 4, 5], 0), ([2], 2), ([3, 6], 3)]
        row = np.mean([rel_entr(softmax(rows.scores[i]), softmax(6 * scores[i, places])).sum() for places, i in own])
        want += (contrast + 0.7 * within + 1.3 * row) / 2
    queries, positives, negatives = vectors
    got = supervised_loss(queries, torch.cat([positives, negatives]), rows, stage, torch.from_numpy(taught))
    assert got.item() == pytest.approx(want, rel=1e-5)
