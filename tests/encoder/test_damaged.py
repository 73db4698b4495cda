"""Damaged or unusable checkpoints end in a ModelError of one line, whatever the libraries beneath raise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.encoder import devices
from searchapp.errors import ModelError
from tests.models import make_adapter


@pytest.fixture
def damaged(tmp_path: Path, tiny_model: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "m"))


@pytest.fixture(scope="module")
def whole_adapter(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    return make_adapter(tiny_model, tmp_path_factory.mktemp("adapters") / "a")


@pytest.fixture
def adapter(tmp_path: Path, whole_adapter: Path) -> Path:
    """A copy of an adapter of the tiny model that a test may damage."""
    return Path(shutil.copytree(whole_adapter, tmp_path / "a"))


def _change(path: Path, **values: object) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **values}))


def _refusal(*arguments: object, **options: object) -> str:
    with pytest.raises(ModelError) as caught:
        Encoder.load(*map(str, arguments), **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 900
    return message


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"hidden_size": "abc"}, "hidden_size"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"vocab_size": -1}, "vocab_size"),
        ({"num_hidden_layers": None}, "num_hidden_layers"),
        ({"num_attention_heads": 0}, "ZeroDivisionError"),
        ({"num_attention_heads": 3}, "attention heads"),
        ({"hidden_act": "nothing"}, "nothing"),
        ({"hidden_act": None}, "hidden_act"),
        ({"rope_parameters": [1]}, "config.json"),
        ({"max_position_embeddings": "long"}, "max_position_embeddings"),
        ({"pad_token_id": "no"}, "pad_token_id"),
        ({"pad_token_id": 100_000}, "m"),
        ({"model_type": ["llama"]}, r"\['llama'\]"),
        ({"model_type": {"a": 1}}, "model_type"),
        ({"model_type": None}, "None"),
        ({"model_type": ["x"], "auto_map": {"AutoModel": "a.B"}}, "remote code"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "bitsandbytes"),
        ({"quantization_config": {"quant_method": "unheard"}}, "unheard"),
        ({"quantization_config": [4]}, "m"),
    ],
)  # fmt: skip
def test_faults_of_config_json(damaged: Path, values: dict, named: str) -> None:
    import re

    _change(damaged / "config.json", **values)
    assert re.search(named, _refusal(damaged))


def test_weights_of_another_shape_are_named_with_both_shapes(damaged: Path) -> None:
    _change(damaged / "config.json", intermediate_size=40)
    message = _refusal(damaged)
    assert "mlp" in message
    assert "48" in message
    assert "40" in message
    assert "above" not in message


@pytest.mark.parametrize("damage", ["name", "content", "empty"])
def test_a_damaged_tokenizer(damaged: Path, damage: str) -> None:
    path = damaged / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["type" if damage == "name" else "merges"] = "none"  # a bare Exception of tokenizers
    path.write_text("" if damage == "empty" else json.dumps(content))
    assert "tokenizer" in _refusal(damaged)


def test_a_tokenizer_of_another_model_is_refused_when_it_gives_unknown_tokens(damaged: Path) -> None:
    path = damaged / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["b"] = 5_000
    path.write_text(json.dumps(content))
    encoder = Encoder.load(str(damaged))
    with pytest.raises(ModelError, match="token 5000, the model knows 400"):
        encoder.encode("b")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"template": {"prefix": "a", "infix": "b"}}, "infix"),
        ({"template": "[INST]"}, "template"),
        ({"template": ["[INST]"]}, "template"),
        ({"template": ""}, "template"),
        ({"template": {"prefix": 3}}, "prefix"),
        ({"template": {"end": "\udc80"}}, "end"),
        ({"template": {"raw": "yes"}}, "raw"),
        ({"pooling": ["mean"]}, "pooling"),
        ({"pooling": None}, "pooling"),
        ({"span": {}}, "span"),
        ({"max_length": "512"}, "max_length"),
        ({"max_length": True}, "max_length"),
        ({"document_max_length": 4.5}, "document_max_length"),
        ({"pool_instruction": "false"}, "pool_instruction"),
        ({"bidirectional": 1}, "bidirectional"),
        ({"pool_bos": None}, "pool_bos"),
        ({"query_instruction": ["find:"]}, "query_instruction"),
        ({"document_instruction": "\ud800"}, "document_instruction"),
        ({"new\nkey": 1}, "new"),
        ({"format": [2]}, "format"),
        ([1], "list"),
    ],
)  # fmt: skip
def test_faults_of_encoder_json(damaged: Path, content: object, named: str) -> None:
    (damaged / "encoder.json").write_text(json.dumps(content))
    message = _refusal(damaged)
    assert named in message
    assert "encoder.json" in message


@pytest.mark.parametrize(
    "content",
    [
        {"pooling_mode": ["mean"]},
        {"pooling_mode": 3},
        {"max_length": "512"},
        {"max_length": 51.5},
        {"doc_max_length": [400]},
        {"skip_instruction": "no"},
        [],
    ],
)
def test_faults_of_llm2vec_config_json(damaged: Path, content: object) -> None:
    (damaged / "llm2vec_config.json").write_text(json.dumps(content))
    assert "llm2vec_config.json" in _refusal(damaged)


@pytest.mark.parametrize(
    "text",
    ["garbage", "", "{}", "3", '"a"', "[1]", "[{}]", '[{"type": "sentence_transformers.models.Pooling"}]', '[{"path": "1_Pooling"}]',
     '[{"type": ["a"], "path": "x"}]', '[{"type": "sentence_transformers.models.Pooling", "path": 1}]', "[" * 100_000],
)  # fmt: skip
def test_faults_of_modules_json(damaged: Path, text: str) -> None:
    (damaged / "modules.json").write_text(text)
    assert "modules.json" in _refusal(damaged)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config_sentence_transformers.json", {"prompts": ["query: "]}),
        ("config_sentence_transformers.json", {"prompts": "query: "}),
        ("config_sentence_transformers.json", {"prompts": {"query": 3}}),
        ("config_sentence_transformers.json", {"prompts": {"document": ["a"]}}),
        ("sentence_bert_config.json", {"max_seq_length": "512"}),
        ("sentence_bert_config.json", {"max_seq_length": 0}),
        ("sentence_bert_config.json", {"max_seq_length": float("nan")}),
        ("sentence_bert_config.json", {"max_seq_length": True}),
        ("tokenizer_config.json", {"model_max_length": [512]}),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "max"]}),
        ("1_Pooling/config.json", {"pooling_mode": "highest"}),
        ("1_Pooling/config.json", {}),
        ("1_Pooling/config.json", []),
    ],
)
def test_faults_of_a_sentence_transformers_folder(damaged: Path, file: str, content: object) -> None:
    (damaged / "1_Pooling").mkdir()
    (damaged / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    modules = [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
    ]
    (damaged / "modules.json").write_text(json.dumps(modules))
    (damaged / file).write_text(json.dumps(content))
    assert file.split("/")[0] in _refusal(damaged)


def test_a_length_without_limit_leaves_the_defaults(damaged: Path) -> None:
    (damaged / "1_Pooling").mkdir()
    (damaged / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    modules = [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
    ]
    (damaged / "modules.json").write_text(json.dumps(modules))
    _change(damaged / "tokenizer_config.json", model_max_length=1e30)
    positions = json.loads((damaged / "config.json").read_text())["max_position_embeddings"]
    assert Encoder.load(str(damaged)).settings.max_length == positions, "as sentence-transformers has it"


@pytest.mark.parametrize(
    "values",
    [
        {"peft_type": "UNHEARD"},
        {"peft_type": None},
        {"peft_type": ["LORA"]},
        {"peft_type": "IA3"},
        {"r": "4"},
        {"r": None},
        {"r": 0},
        {"lora_alpha": "8"},
        {"lora_alpha": None},
        {"target_modules": 3},
        {"target_modules": "("},
        {"target_modules": ["nowhere"]},
        {"rank_pattern": [1]},
        {"bias": "odd"},
    ],
)
def test_faults_of_adapter_config_json(tiny_model: Path, adapter: Path, values: dict) -> None:
    _change(adapter / "adapter_config.json", **values)
    assert str(adapter) in _refusal(tiny_model, adapters=[str(adapter)])


@pytest.mark.parametrize(
    "break_weights", [lambda raw: raw[:-300], lambda raw: b"garbage", lambda raw: b"", lambda raw: b"\xff" * 64]
)
def test_corrupt_adapter_weights(tiny_model: Path, adapter: Path, break_weights: Callable[[bytes], bytes]) -> None:
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(break_weights(path.read_bytes()))
    assert "adapter_model.safetensors" in _refusal(tiny_model, adapters=[str(adapter)])


@pytest.mark.parametrize(
    "device",
    ["", "cpu:foo", "cpu:1", "cuda:x", "cuda:", "cuda:-1", "cuda:1:2", "auto:0", "CPU", "cuda:¹", "cpu\n", "tpu"],
)
def test_devices_that_are_none(tiny_model: Path, device: str) -> None:
    assert "device" in _refusal(tiny_model, device=device)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert devices.choose_device("cuda:1") == "cuda:1"
    with pytest.raises(ModelError, match="2 GPUs"):
        devices.choose_device("cuda:2")


def test_a_name_too_long_for_the_file_system_is_refused() -> None:
    assert "cannot be looked up" in _refusal("x" * 5_000)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_on_the_cpu_stays_near_float32(tiny_model: Path, dtype: str) -> None:
    texts = ["bees fly and make honey", "how"]
    want = Encoder.load(str(tiny_model), device="cpu").encode(texts)
    encoder = Encoder.load(str(tiny_model), dtype=dtype, device="cpu")
    assert encoder.dtype == dtype
    got = encoder.encode(texts)
    assert got.dtype == np.float32
    assert (got * want).sum(1).min() > 0.999


@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_model_too_large_for_float16_is_refused(damaged: Path, bidirectional: bool) -> None:
    """Weights beyond 65504 become infinite: what such a model embeds is no number."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(damaged / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"] *= 1e6
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    assert np.isfinite(Encoder.load(str(damaged)).encode("bees")).all()
    with pytest.raises(ModelError, match="not finite in float16"):
        Encoder.load(str(damaged), dtype="float16", bidirectional=bidirectional).encode("bees")


def test_the_program_says_it_in_one_line_and_exits_with_2(damaged: Path, tmp_path: Path, run) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "1", "text": "bees"}\n')
    _change(damaged / "config.json", hidden_size="abc")
    outcome = run("build", corpus, "--index", tmp_path / "index", "--model", damaged)
    assert outcome.code == 2
    assert "hidden_size" in outcome.err.strip().splitlines()[-1]
    assert "Traceback" not in outcome.err
