"""What probes found is kept by what decides it, and asked anew by whatever else might change it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from searchapp import Encoder, user_cache
from searchapp.cli.options import EncoderOptions
from searchapp.encoder import loading
from searchapp.errors import ModelError
from tests.models import make_checkpoint


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour passes after every change of a file."""
    now = user_cache.time.time
    monkeypatch.setattr(user_cache, "now", lambda: now() + 3600)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch):
    """The names of the probes that were run, and of loading itself, in order."""
    names: list[str] = []
    for name in ("bidirectional_fault", "packing_fault", "values_fault", "_build"):
        real = getattr(loading, name)

        def noting(*given, _name: str = name, _real=real, **named):
            names.append(_name)
            return _real(*given, **named)

        monkeypatch.setattr(loading, name, noting)

    def since() -> list[str]:
        found = list(names)
        names.clear()
        return found

    return since


ALL = ["_build", "values_fault", "bidirectional_fault", "packing_fault"]


def verdict_files() -> list[Path]:
    return sorted((user_cache.cache_folder() / "verdicts").iterdir())


@pytest.mark.usefixtures("later")
def test_a_second_load_probes_nothing(tiny_model: Path, asked) -> None:
    first = Encoder.load(str(tiny_model))
    assert asked() == ALL
    second = Encoder.load(str(tiny_model))
    assert asked() == ["_build"]
    assert (first.attention, second.attention) == ("packed", "packed")
    assert (first.encode("bees fly") == second.encode("bees fly")).all()
    Encoder.load(str(tiny_model), probe=True)
    assert asked() == ALL
    EncoderOptions(model=str(tiny_model), probe=True).load()  # --probe
    assert asked() == ALL
    Encoder.load(str(tiny_model))
    assert asked() == ["_build"]


@pytest.mark.usefixtures("later")
def test_another_precision_kernel_or_configuration_is_probed(tiny_model: Path, asked, tmp_path: Path) -> None:
    Encoder.load(str(tiny_model))
    asked()
    Encoder.load(str(tiny_model), dtype="bfloat16")
    assert asked() == ALL
    Encoder.load(str(tiny_model), attention="eager")
    assert asked() == ["_build", "bidirectional_fault"]
    Encoder.load(str(tiny_model), attention="packed")
    assert asked() == ["_build"], "of auto it is known"
    copy = tmp_path / "other"
    shutil.copytree(tiny_model, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "rope_theta": 5e5, "hidden_act": "gelu"}))
    Encoder.load(str(copy))
    assert asked() == ALL


@pytest.mark.usefixtures("later")
def test_other_weights_of_a_known_configuration_have_their_values_looked_at(
    tiny_model: Path, asked, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    Encoder.load(str(tiny_model))
    asked()
    copy = tmp_path / "other"
    shutil.copytree(tiny_model, copy)
    Encoder.load(str(copy))
    assert asked() == ["_build", "values_fault"]
    tensors = load_file(copy / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    for _ in range(2):
        with pytest.raises(ModelError, match="not finite"):
            Encoder.load(str(copy))
    Encoder.load(str(tiny_model))  # and the fault of weights is not held against the kernel


def test_the_values_of_weights_that_changed_just_now_are_looked_at_again(tiny_model: Path, asked, tmp_path) -> None:
    copy = tmp_path / "new"
    shutil.copytree(tiny_model, copy)
    Encoder.load(str(copy))
    asked()
    Encoder.load(str(copy))
    assert asked() == ["_build", "values_fault"]


@pytest.mark.usefixtures("later")
def test_a_kernel_known_to_be_faulty_is_passed_over(tokenizer, asked, tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "stablelm", tokenizer, "stablelm")
    first = Encoder.load(str(model))
    assert asked() == ["_build", "values_fault", "bidirectional_fault", "bidirectional_fault"], "it is loaded once"
    second = Encoder.load(str(model))
    assert asked() == ["_build"]
    assert (first.attention, second.attention) == ("eager", "eager")
    assert abs(first.encode("bees fly") - second.encode("bees fly")).max() < 1e-6
    kept = json.loads(next(path.read_text() for path in verdict_files() if path.read_text().startswith("{")))
    assert kept["eager"] == ""
    assert kept["sdpa"].startswith("stays causal")
    with pytest.raises(ModelError, match=r"stablelm.*stays causal.*on sdpa attention"):
        Encoder.load(str(model), attention="sdpa")
    assert asked() == []


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("content", [b"", b"{", b'["sdpa"]', b'{"sdpa": 0, "packed": []}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_damaged_on_disk_is_worked_out_again(tiny_model: Path, asked, content: bytes) -> None:
    Encoder.load(str(tiny_model))
    asked()
    for path in verdict_files():
        path.write_bytes(content)
    Encoder.load(str(tiny_model))
    assert asked() == ALL


def test_without_a_cache_folder_all_is_worked_out(tiny_model: Path, asked, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SEARCHAPP_CACHE", str(tmp_path / "file" / "below"))
    for _ in range(2):
        assert len(Encoder.load(str(tiny_model)).fingerprint["sha256"]) == 64
        assert asked() == ALL


def test_memory_that_ran_out_is_no_verdict(tiny_model: Path, asked, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def out_of_memory(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(loading, "packing_fault", out_of_memory)
        assert Encoder.load(str(tiny_model)).attention == "sdpa"
    assert Encoder.load(str(tiny_model)).attention == "packed"
