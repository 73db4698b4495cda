"""How long a stage takes, by arithmetic on the seconds of one layer; and that one layer of every family can be timed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from searchapp.adapt.config import MntpConfig, SimcseConfig, SupervisedConfig, TrainingConfig
from searchapp.adapt.estimate import estimate, layer_seconds, stage_seconds
from searchapp.adapt.recipe.recipe import Recipe, RecipeStage
from searchapp.encoder.checkpoint import locate
from searchapp.encoder.shape import Shape
from tests.models import make_checkpoint

SHAPE = Shape(
    parameters=0, largest=0, stored=4, output=0, hidden=10, layers=4, heads=1, groups=1, head_dim=10, inner=20,
    vocabulary=100, tensors=tuple((f"layers.{layer}.mlp.weight", (20, 10)) for layer in range(4)),
)  # fmt: skip


def test_seconds_are_steps_times_positions_times_layers() -> None:
    stage = MntpConfig(TrainingConfig(steps=3, batch_size=2), mask_rate=0.5)
    # 3 steps of 2 x 8 positions: 4 layers, and for half of the positions a head of 1,000 products to a layer's 200
    assert stage_seconds(stage, SHAPE, 8, 0.01) == pytest.approx(3 * 16 * 0.01 * (4 + 2.5))


def test_going_forward_twice_costs_a_third_more() -> None:
    training = TrainingConfig(steps=1, batch_size=2)
    plain = stage_seconds(SimcseConfig(training), SHAPE, 8, 0.01)
    assert plain == pytest.approx(2 * 2 * 8 * 0.01 * 4)
    for more in ({"chunk": 1}, {"gradient_checkpointing": True}):
        assert stage_seconds(SimcseConfig(replace(training, **more)), SHAPE, 8, 0.01) == pytest.approx(plain * 4 / 3)
    assert stage_seconds(SupervisedConfig(training, negatives=1), SHAPE, 8, 0.01) == pytest.approx(plain * 3 / 2)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt_neox"])
@pytest.mark.parametrize("train", ["lora", "all"])
def test_one_layer_is_timed(family: str, train: str, tmp_path: Path, tokenizer) -> None:
    checkpoint = locate(str(make_checkpoint(tmp_path / family, tokenizer, family)))
    seconds = layer_seconds(checkpoint, MntpConfig(TrainingConfig(train=train)), "float32", 16, "cpu")
    assert seconds is not None and 0 < seconds < 1


def test_a_base_that_is_elsewhere_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("searchapp.encoder.checkpoint._fetch", None)
    stage = RecipeStage("mntp", "mntp", "base", MntpConfig())
    assert estimate(Recipe("r", "someone/model", (), Path("out"), (stage,))) == []
