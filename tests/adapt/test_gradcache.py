"""Gradients do not depend on how many texts go through the model at a time, nor on how many labels a chunk holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from searchapp.adapt.config import StageConfig
from searchapp.adapt.data import PairFile
from searchapp.adapt.model import TrainableModel, load_trainable_model
from searchapp.adapt.objectives import gradcache, losses
from searchapp.adapt.objectives.base import Objective, tokenization
from searchapp.adapt.objectives.mntp import MntpObjective
from searchapp.adapt.objectives.simcse import SimcseObjective
from searchapp.adapt.objectives.supervised import SupervisedObjective
from tests.adapt.stages import small, write_pairs, write_text
from tests.models import make_checkpoint

TOLERANCE = 1e-6  # of the largest gradient


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> Path:
    root = tmp_path_factory.mktemp("gradcache")
    write_text(root / "text.txt", 24)
    write_pairs(root / "pairs.jsonl", 24, scored=True)
    make_checkpoint(root / "teacher", tokenizer, seed=5)
    return root


def _trainee(model: Path, stage: StageConfig) -> TrainableModel:
    """Adapters that are no longer zero, or half of the gradients would be."""
    trainee = load_trainable_model(
        str(model), stage.training, attention_dropout=getattr(stage, "attention_dropout", None)
    ).train()
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in trainee.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.05)
    return trainee


def _task(model: Path, stage: StageConfig, data: Path) -> Objective:
    trainee = _trainee(model, stage)
    match stage.name:
        case "mntp":
            return MntpObjective(trainee, stage, [data / "text.txt"], data / "work")
        case "simcse":
            return SimcseObjective(trainee, stage, [data / "text.txt"], data / "work")
    return SupervisedObjective(trainee, stage, [PairFile(data / "pairs.jsonl", instruction="find it:")], data / "work")


def _gradients(task: Objective, step: int = 1) -> tuple[float, dict[str, torch.Tensor]]:
    task.trainee.zero_grad(set_to_none=True)
    loss, tokens = task.backward(task.trainee, step)
    assert tokens > 0
    return loss.item(), {
        name: parameter.grad.clone() for name, parameter in task.trainee.named_parameters() if parameter.requires_grad
    }


def _distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    size = max(gradient.abs().max().item() for gradient in one.values())
    assert size > 1e-5
    return max((one[name] - other[name]).abs().max().item() for name in one) / size


SUPERVISED = {
    "plain": {"negatives": 0},
    "negatives": {"negatives": 2, "row_weight": 0.0},
    "everything": {"negatives": 2, "matryoshka": [8, 32], "margin": 0.05, "teacher": "teacher", "row_weight": 0.7},
}


@pytest.mark.parametrize("kind", ["mntp", "simcse", *SUPERVISED])
def test_a_chunk_changes_no_gradient(tiny_model: Path, data: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    options = {"lora_dropout": 0.0, "batch_size": 8, "scale": 5.0} | SUPERVISED.get(kind, {})
    stage = "supervised" if kind in SUPERVISED else kind
    if kind == "mntp":
        options.pop("scale")
    if kind == "simcse":  # two equal views are refused: a dropout so small that it is never drawn
        options |= {"attention_dropout": 1e-12}
    got = {}
    for chunk in (0, 1, 3, 7):
        got[chunk] = _gradients(_task(tiny_model, small(stage, **options, chunk=chunk), data))
    assert got[0][0] > 0.01
    for chunk in (1, 3, 7):
        assert got[chunk][0] == pytest.approx(got[0][0], rel=1e-5)
        assert _distance(got[0][1], got[chunk][1]) < TOLERANCE


@pytest.mark.parametrize("chunk", [0, 3])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_second_pass_sees_the_dropout_of_the_first(
    tiny_model: Path, data: Path, chunk: int, checkpointing: bool
) -> None:
    stage = small(
        "simcse",
        attention_dropout=0.3,
        lora_dropout=0.2,
        chunk=chunk,
        scale=5.0,
        gradient_checkpointing=checkpointing,
    )
    task = _task(tiny_model, stage, data)
    texts = (data / "text.txt").read_text().splitlines()[:4]
    view = tokenization(task.trainee, 16)(texts, [None] * 4)
    groups = [view, view]

    def loss_of(vectors: list[torch.Tensor]) -> torch.Tensor:
        return losses.info_nce(vectors[0], vectors[1], scale=5.0)

    def explicit(step: int) -> dict[str, torch.Tensor]:
        """One forward pass a part, all activations kept, one backward pass."""
        task.trainee.zero_grad(set_to_none=True)
        made: list[list[torch.Tensor | None]] = [[None] * 4, [None] * 4]
        for number, part in enumerate(gradcache._parts(groups, chunk)):
            torch.manual_seed(gradcache.part_seed(42, step, number))
            vectors = task.trainee(**task.trainee.rows([groups[group][place] for group, place in part]))
            for (group, place), vector in zip(part, vectors, strict=True):
                made[group][place] = vector
        loss_of([torch.stack(rows) for rows in made]).backward()
        return {n: p.grad.clone() for n, p in task.trainee.named_parameters() if p.requires_grad}

    want = explicit(step=6)
    task.trainee.zero_grad(set_to_none=True)
    gradcache.contrastive_backward(task.trainee, task.trainee, groups, loss_of, chunk=chunk, seed=42, step=6)
    got = {n: p.grad.clone() for n, p in task.trainee.named_parameters() if p.requires_grad}
    assert _distance(want, got) < TOLERANCE
    assert _distance(explicit(step=7), got) > 0.01, "dropout plays no part here: the test shows nothing"


def test_the_views_of_a_text_differ_and_the_steps_too(tiny_model: Path, data: Path) -> None:
    """In every layout of the parts, and without dropout they would not."""
    for chunk in (0, 3, 8):
        task = _task(tiny_model, small("simcse", attention_dropout=0.3, chunk=chunk), data)
        view = tokenization(task.trainee, 16)(["bees make honey", "a fox"], [None, None])
        seen: list[torch.Tensor] = []

        def loss_of(vectors: list[torch.Tensor], seen: list[torch.Tensor] = seen) -> torch.Tensor:
            seen.append(torch.cat([part.detach() for part in vectors]))
            return losses.info_nce(vectors[0], vectors[1])

        for step in (0, 1, 0):
            gradcache.contrastive_backward(
                task.trainee, task.trainee, [view, view], loss_of, chunk=chunk, seed=0, step=step
            )
        assert (seen[0][:2] - seen[0][2:]).abs().amax(1).min() > 1e-3
        assert (seen[0] - seen[1]).abs().max() > 1e-3
        assert torch.equal(seen[0], seen[2])
