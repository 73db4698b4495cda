"""What the light path refuses: everything in a checkpoint that it does not know."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from searchapp.encoder.checkpoint import BUNDLED, locate
from searchapp.encoder.light import NotLightError, light_parts, light_refusal, shape


@pytest.fixture
def copy(tmp_path) -> Path:
    """The bundled model in a folder of its own."""
    return Path(shutil.copytree(BUNDLED, tmp_path / "model"))


def refusal(model: Path, **options) -> str:
    """Why a checkpoint is refused; "" where it is not."""
    try:
        light_parts(locate(str(model)), options)
    except NotLightError as error:
        return str(error)
    return ""


def change(path: Path, **changes) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "mistral"}, "not a Llama"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"sliding_window": 128}, "sliding_window"),
        ({"use_qk_norm": True}, "use_qk_norm"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "llama3"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial"),
        ({"rope_parameters": {"rope_type": "default"}}, "rope_theta"),
        ({"rope_theta": 5e5}, "rope_parameters"),
        ({"num_attention_heads": 3}, "do not fit"),
        ({"num_key_value_heads": 3}, "do not fit"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": 3}, "other names"),
        ({"intermediate_size": 512}, "other shapes"),
        ({"pad_token_id": -1}, "pad_token_id"),
        ({"something_new": 1}, "something_new"),
    ],
)
def test_a_configuration_that_is_not_understood(copy, changes, said):
    change(copy / "config.json", **changes)
    assert said in refusal(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"tokenizer_class": "LlamaTokenizer"},
        {"tokenizer_class": None},
        {"add_bos_token": True},
        {"extra_special_tokens": ["<x>"]},
        {"additional_special_tokens": ["<x>"]},
        {"unk_token": "<unknown>"},
        {"bos_token": {"content": "<s>", "lstrip": True}},
        {"eos_token": "the"},
        {"truncation_side": "left"},
        {"split_special_tokens": True},
        {"image_token": "<image>"},
        {"something_new": 1},
    ],
)
def test_a_tokenizer_that_transformers_would_change(copy, changes):
    change(copy / "tokenizer_config.json", **changes)
    assert "tokenizer" in refusal(copy)


@pytest.mark.parametrize("changes", [{"post_processor": None}, {"truncation": {"direction": "Right", "max_length": 8,
                                     "strategy": "LongestFirst", "stride": 0}}])  # fmt: skip
def test_a_tokenizer_file_that_is_changed_when_it_is_loaded(copy, changes):
    change(copy / "tokenizer.json", **changes)
    assert "tokenizer.json" in refusal(copy)


@pytest.mark.parametrize("name", ["special_tokens_map.json", "added_tokens.json", "tokenizer.model", "vocab.json"])
def test_files_of_another_tokenizer_beside_it(copy, name):
    (copy / name).write_text("{}")
    assert "tokenizer" in refusal(copy)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "cuda"}, "cuda"),
        ({"devices": ["cpu", "cpu"]}, "cpu,cpu"),
        ({"attention": "sdpa"}, "sdpa"),
        ({"probe": True}, "probe"),
        ({"dtype": "float8"}, "float8"),
        ({"dtype": "bfloat16", "backend": "numpy"}, "bfloat16"),
        ({"bidirectional": False}, "causal"),
        ({}, ""),
        ({"dtype": "bfloat16", "backend": "auto", "device": "cpu", "attention": "auto", "adapters": []}, ""),
    ],
)
def test_a_way_to_run_it_that_is_not_there(options, said):
    found = refusal(Path(BUNDLED), **options)
    assert said in found and bool(said) == bool(found)


def test_settings_of_sentence_transformers_and_causal_ones(copy):
    change(copy / "encoder.json", bidirectional=False)
    assert "causal" in refusal(copy)
    (copy / "encoder.json").unlink()
    (copy / "1_Pooling").mkdir()
    change(copy / "1_Pooling" / "config.json", pooling_mode="mean")
    modules = [("", "models.Transformer"), ("1_Pooling", "models.Pooling")]
    listed = [{"idx": i, "path": path, "type": f"sentence_transformers.{at}"} for i, (path, at) in enumerate(modules)]
    (copy / "modules.json").write_text(json.dumps(listed))
    assert "sentence-transformers" in refusal(copy)


def test_weights_in_several_files_in_another_precision_or_damaged(copy):
    from safetensors.numpy import load_file, save_file

    whole = (copy / "model.safetensors").read_bytes()
    tensors = load_file(copy / "model.safetensors")
    save_file({"norm.weight": tensors["norm.weight"]}, copy / "more.safetensors")
    assert "2 files" in refusal(copy)
    (copy / "more.safetensors").unlink()
    save_file({**tensors, "norm.weight": tensors["norm.weight"].astype(np.float64)}, copy / "model.safetensors")
    assert "cannot be read" in refusal(copy)
    save_file({**tensors, "spare": tensors["norm.weight"]}, copy / "model.safetensors")
    assert "other names" in refusal(copy)
    for damaged in (b"", whole[:4], whole[:2_000], whole[:-1], b"\xff" * 64, whole[:8] + b"[]" + whole[10:]):
        (copy / "model.safetensors").write_bytes(damaged)
        assert "cannot be read" in refusal(copy)


def test_what_is_said_of_a_model_that_may_not_be_there(copy):
    assert light_refusal("bundled", {}) == ""
    assert light_refusal(str(copy / "gone"), {}) is None
    assert light_refusal("nobody/published-this", {}) is None
    assert "adapters" in (light_refusal("bundled", {"adapters": ["nobody/published-this"]}) or "")
    change(copy / "adapter_config.json", base_model_name_or_path="nobody/published-this")
    assert "adapters" in (light_refusal(str(copy), {}) or "")


def test_a_model_above_the_limit(copy, monkeypatch):
    monkeypatch.setattr(shape, "MOST", 3_000_000)
    assert "above 3" in refusal(copy)
