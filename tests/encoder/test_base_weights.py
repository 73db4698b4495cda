"""An adapter and what it is put on: a base given in place of its own, one that is near, another model, none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from searchapp import Encoder
from searchapp.encoder import checkpoint
from searchapp.encoder.base_weights import EXACT, FARTHEST, FILE, BaseWeights
from searchapp.errors import ModelError
from tests.gguf_files import write_gguf
from tests.models import make_adapter, make_checkpoint

HUB = "someone/their-model"


def weights(model: Path) -> dict[str, torch.Tensor]:
    found = load_file(model / "model.safetensors")
    return {name.removeprefix("model."): value for name, value in found.items() if "lm_head" not in name}


def moved(model: Path, to: Path, share: float) -> Path:
    """A copy whose matrices are moved at random, by this share of their size."""
    shutil.copytree(model, to)
    noise = torch.Generator().manual_seed(0)
    tensors = load_file(to / "model.safetensors")
    changed = {
        name: value + share * value.std() * torch.randn(value.shape, generator=noise) if value.dim() > 1 else value
        for name, value in tensors.items()
    }
    save_file(changed, to / "model.safetensors", {"format": "pt"})
    return to


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that names a hub id as its base and knows its base's weights."""
    made = make_adapter(tiny_model, tmp_path_factory.mktemp("adapters") / "mine")
    config = json.loads((made / "adapter_config.json").read_text())
    (made / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": HUB}))
    known = BaseWeights.of(HUB, weights(tiny_model)).to_json()
    (made / FILE).write_text(json.dumps(known))
    return made


def test_a_base_takes_the_place_of_the_one_that_is_named(tiny_model: Path, adapter: Path) -> None:
    found = Encoder.load(str(adapter), base=tiny_model)
    expected = Encoder.load(str(tiny_model), adapters=[str(make_again(adapter))])
    np.testing.assert_array_equal(found.encode(["a bee"]), expected.encode(["a bee"]))
    assert found.reference["base"] == str(tiny_model.resolve())
    again = Encoder.load(**found.reference)
    assert again.fingerprint == found.fingerprint


def make_again(adapter: Path) -> Path:
    """The same adapter without what it knows of its base."""
    to = adapter.parent / "plain"
    if not to.exists():
        shutil.copytree(adapter, to, ignore=shutil.ignore_patterns(FILE))
    return to


def test_an_adapter_on_an_adapter_keeps_it(tiny_model: Path, tmp_path: Path) -> None:
    lower = make_adapter(tiny_model, tmp_path / "lower")
    upper = make_adapter(tiny_model, tmp_path / "upper", seed=1)
    for place, base in ((lower, HUB), (upper, "lower")):
        config = json.loads((place / "adapter_config.json").read_text())
        (place / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": base}))
    found = Encoder.load(str(upper), base=tiny_model)
    expected = Encoder.load(str(tiny_model), adapters=[str(lower), str(upper)])
    np.testing.assert_array_equal(found.encode(["a bee"]), expected.encode(["a bee"]))


def test_a_gguf_file_is_a_base(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "base.gguf", tiny_model)
    found = Encoder.load(str(adapter), base=file)
    expected = Encoder.load(str(adapter), base=tiny_model)
    np.testing.assert_allclose(found.encode(["a bee"]), expected.encode(["a bee"]), atol=1e-5)
    assert found.fingerprint["weights"] != expected.fingerprint["weights"]


def test_near_weights_are_taken_and_said(
    tiny_model: Path, adapter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "searchapp")
    Encoder.load(str(adapter), base=tiny_model)
    assert "away from the weights" not in caplog.text
    near = moved(tiny_model, tmp_path / "near", 0.07)
    found = Encoder.load(str(adapter), base=near)
    assert "away from the weights it was trained on" in caplog.text
    assert found.fingerprint["weights"] != Encoder.load(str(adapter), base=tiny_model).fingerprint["weights"]


def test_another_model_of_the_same_shape_is_refused(tiny_model: Path, adapter: Path, tokenizer, tmp_path: Path) -> None:
    other = make_checkpoint(tmp_path / "other", tokenizer, seed=5)
    with pytest.raises(ModelError, match=f"1\\.[0-9]+ away .*at most 0\\.12.*another model.*published as {HUB}"):
        Encoder.load(str(adapter), base=other)
    with pytest.raises(ModelError, match="another model of the same shape"):
        Encoder.load(str(adapter), base=moved(tiny_model, tmp_path / "far", 0.2))
    narrow = make_checkpoint(tmp_path / "narrow", tokenizer, hidden_size=16)
    with pytest.raises(ModelError, match="does not fit its base: .* expected"):
        Encoder.load(str(adapter), base=narrow)


def test_distance_is_that_of_all_values_and_zero_of_itself(tiny_model: Path, tmp_path: Path) -> None:
    state = weights(tiny_model)
    known = BaseWeights.of(HUB, state)
    assert known.distance(state) == 0
    assert known.distance({name: value.to(torch.bfloat16) for name, value in state.items()}) < EXACT
    (tmp_path / FILE).write_text(json.dumps(known.to_json()))
    assert BaseWeights.read(tmp_path / FILE).distance(state) < 1e-4
    assert known.distance({name: value * 1.05 for name, value in state.items()}) == pytest.approx(0.05, rel=1e-3)
    assert known.distance({name: value * (1 + 2 * FARTHEST) for name, value in state.items()}) > FARTHEST
    broken = {name: torch.full_like(value, float("nan")) for name, value in state.items()}
    assert not known.distance(broken) <= FARTHEST


def test_a_damaged_description_is_refused(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(adapter, broken)
    (broken / FILE).write_text("[]")
    with pytest.raises(ModelError, match="base_weights.json"):
        Encoder.load(str(broken), base=tiny_model)


def test_a_base_for_a_model_that_is_whole_is_refused(tiny_model: Path, run) -> None:
    with pytest.raises(ModelError, match="has weights of its own; leave it out"):
        Encoder.load(str(tiny_model), base=tiny_model)


def test_a_shipped_adapter_says_in_one_line_where_its_base_is(
    adapter: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run
) -> None:
    shutil.copytree(checkpoint.BUNDLED, tmp_path / "bundled")
    shutil.copytree(adapter, tmp_path / "their-model")
    monkeypatch.setattr(checkpoint, "SHIPPED", tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert checkpoint.shipped_names() == ("bundled", "their-model")
    (tmp_path / "notes.txt").write_text("Bees fly.\n\nThey hum.\n")
    refused = run("build", tmp_path / "notes.txt", "--index", tmp_path / "index", "--model", "their-model")
    assert refused.code == 2
    assert (
        refused.err.strip()
        .splitlines()[-1]
        .endswith(
            f"their-model is an adapter of {HUB}, which is not here: fetch it with `hf download {HUB}`, or give its folder "
            "or its GGUF file with --base"
        )
    )
    made = run(
        "build", tmp_path / "notes.txt", "--index", tmp_path / "index", "--model", "their-model", "--base", tiny_model
    )
    assert made.code == 0, made.err
    found = run("search", tmp_path / "index", "bees", "--json")
    assert found.code == 0, found.err
    assert "Bees" in found.out
