"""What a checkpoint needs, by the files alone, and which precision is taken when so much is free."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from searchapp.encoder import devices, loading
from searchapp.encoder.encoder import Encoder
from searchapp.encoder.memory import affordable, encoding_need, refuse_hopeless
from searchapp.encoder.shape import read_shape
from searchapp.errors import ModelError
from tests.models import FAMILIES, make_config

LLAMA_3_8B = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip


def headers(directory: Path, config: dict, dtype: str = "BF16") -> Path:
    """A checkpoint of that configuration whose files hold a header and no data: nothing but sizes can be read."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(LlamaConfig(**config))
    place, header, size = 0, {}, 2 if dtype == "BF16" else 4
    for name, parameter in skeleton.named_parameters():
        end = place + parameter.numel() * size
        header[name] = {"dtype": dtype, "shape": list(parameter.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    (directory / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    return directory


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    return headers(tmp_path_factory.mktemp("large") / "8b", LLAMA_3_8B)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_parameters_are_those_of_the_model_itself(family: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from transformers import AutoModel

    config = make_config(family)
    model = AutoModel.from_config(config)
    config.save_pretrained(tmp_path)
    state = {name: value.contiguous().clone() for name, value in model.named_parameters()}
    save_file(state, tmp_path / "model.safetensors")
    shape = read_shape(tmp_path)
    assert shape is not None
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (shape.layers, shape.hidden, shape.vocabulary, shape.stored) == (2, 32, 400, 4)


def test_the_published_size_of_llama_3_8b(large: Path) -> None:
    shape = read_shape(large)
    assert shape is not None
    assert shape.parameters + shape.output == 8_030_261_248  # the model card's 8.03 B
    assert shape.output == 128_256 * 4_096
    assert (shape.stored, shape.groups, shape.head_dim) == (2, 8, 128)
    assert len(shape.linear) == 7 * 32


@pytest.mark.parametrize("damage", [b"", b"\x00" * 20, (10**12).to_bytes(8, "little"), b'\x08\0\0\0\0\0\0\0{"a": 1}'])
def test_files_that_do_not_say_are_left_to_the_loader(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_3_8B))
    (tmp_path / "model.safetensors").write_bytes(damage)
    assert read_shape(tmp_path) is None
    assert affordable(tmp_path, "m", "auto", torch.float32, "cpu", free=0) is torch.float32


def test_float32_takes_twice_bfloat16(large: Path) -> None:
    shape = read_shape(large)
    assert shape is not None
    whole, half = encoding_need(shape, 4), encoding_need(shape, 2)
    assert 29e9 < whole.weights < 31e9
    assert 13e9 < half.total < 16e9  # mapped: of the embedding only some rows
    assert encoding_need(shape, 2, mapped=False).weights > 14.9e9


@pytest.mark.parametrize(
    ("free", "asked", "expected"),
    [
        (64e9, "auto", torch.float32),
        (20e9, "auto", torch.bfloat16),
        (10e9, "auto", None),
        (64e9, "float32", torch.float32),
        (20e9, "float32", None),
    ],
)
def test_which_precision_is_taken(large: Path, caplog, free: float, asked: str, expected) -> None:
    if expected is None:
        with pytest.raises(ModelError, match=r"needs .* GB in .*GB are free on cpu; use ") as refused:
            affordable(large, "big", asked, torch.float32, "cpu", free=int(free))
        assert ("--dtype bfloat16" in str(refused.value)) == (free == 20e9)
        return
    assert affordable(large, "big", asked, torch.float32, "cpu", free=int(free)) is expected
    assert ("is loaded in bfloat16: float32 needs" in caplog.text) == (expected is torch.bfloat16)


def test_hopeless_is_refused_at_once_unless_a_gpu_is_meant(large: Path) -> None:
    began = time.perf_counter()
    with pytest.raises(ModelError, match="needs 1.* GB in bfloat16 .*and 4.0 GB are free"):
        refuse_hopeless(large, "big", "auto", "cpu", free=4_000_000_000)
    assert time.perf_counter() - began < 0.5
    refuse_hopeless(large, "big", "auto", "cuda", free=4_000_000_000)
    refuse_hopeless(large, "big", "auto", "cpu", free=40_000_000_000)


def test_the_encoder_says_that_it_took_the_smaller_one(tiny_model: Path, monkeypatch) -> None:
    monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda: False)
    monkeypatch.setattr(loading, "affordable", lambda *given: affordable(*given, free=_between(tiny_model)))
    encoder = Encoder.load(str(tiny_model))
    assert encoder.dtype == "bfloat16"
    assert "bfloat16 (auto: float32 does not fit in memory)" in encoder.description


def _between(directory: Path) -> int:
    shape = read_shape(directory)
    assert shape is not None
    return (encoding_need(shape, 2).total + encoding_need(shape, 4).total) // 2


def test_weights_that_do_not_fit_are_never_opened(tiny_model: Path, monkeypatch) -> None:
    monkeypatch.setattr(loading, "affordable", lambda *given: affordable(*given, free=1))
    monkeypatch.setattr(loading, "_build", None)
    with pytest.raises(ModelError, match="are free on cpu"):
        Encoder.load(str(tiny_model))
