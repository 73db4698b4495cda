"""Settings are checked when they are made, and what is left open is resolved."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from searchapp.adapt.config import STAGES, flat, make_stage
from searchapp.errors import AdaptError


@pytest.mark.parametrize("kind", STAGES)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", math.inf), ("learning_rate", math.nan), ("learning_rate", 0), ("learning_rate", "1e-3"),
        ("weight_decay", math.inf), ("max_grad_norm", math.nan), ("max_grad_norm", -1.0), ("lora_dropout", 1.0),
        ("lora_dropout", math.nan), ("steps", 0), ("steps", 2.0), ("steps", True), ("batch_size", -1), ("seed", -1),
        ("seed", 2**32), ("attention", "flash"), ("device", "gpu"), ("device", "cuda:7"),
        ("dtype", "float16"), ("train", "head"), ("autocast", 1), ("schedule_steps", 5), ("warmup_steps", 1_001),
        ("chunk", -2), ("nonsense", 1),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(kind: str, name: str, value: object) -> None:
    with pytest.raises(AdaptError, match=name) as caught:
        make_stage(kind, {name: value}, where="stage x")
    assert str(caught.value).startswith("stage x: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", math.inf), ("scale", 0), ("teacher_scale", math.nan), ("teacher_weight", math.inf), ("margin", 3),
        ("margin", math.nan), ("matryoshka", "64"), ("matryoshka", ""), ("matryoshka", [True]), ("matryoshka", [0]),
        ("matryoshka", [8.0]), ("matryoshka", {8: 1}), ("matryoshka", 64), ("negatives", -1), ("pooling", "median"),
        ("teacher", 3),
    ],
)  # fmt: skip
def test_what_makes_no_sense_on_pairs_is_refused(name: str, value: object) -> None:
    with pytest.raises(AdaptError, match=name):
        make_stage("supervised", {name: value})


def test_matryoshka_is_a_list_of_whole_numbers() -> None:
    for given in ([8, 32], (8, 32)):
        assert flat(make_stage("supervised", {"matryoshka": given}))["matryoshka"] == (8, 32)


@pytest.mark.parametrize(
    ("given", "warmup"),
    [
        ({}, 300), ({"steps": 1_000}, 300), ({"steps": 5_000}, 300), ({"steps": 100}, 30), ({"steps": 1}, 0),
        ({"steps": 100, "schedule_steps": 10_000}, 30), ({"steps": 100, "warmup_steps": 7}, 7),
        ({"steps": 100, "warmup_steps": 0}, 0),
    ],
)  # fmt: skip
def test_the_warm_up_is_no_longer_than_three_tenths_of_the_steps(given: dict[str, int], warmup: int) -> None:
    assert make_stage("supervised", given).training.warmup_steps == warmup
    assert make_stage("mntp", {"steps": 100}).training.warmup_steps == 0


@pytest.mark.parametrize("kind", STAGES)
def test_flat_is_the_inverse(kind: str) -> None:
    stage = make_stage(kind, {"steps": 77, "seed": 5})
    assert make_stage(kind, flat(stage)) == stage


def test_reading_the_settings_loads_neither_objectives_nor_numpy() -> None:
    """The command line imports them at its start, for its options."""
    program = "import sys, searchapp.adapt.config; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "searchapp.encoder.settings" in loaded
    heavy = {"searchapp.adapt.objectives", "searchapp.encoder.st_folder", "searchapp.encoder.encoder", "numpy", "torch"}
    assert not heavy & set(loaded)
