"""Checkpoints as other people leave them: read as transformers reads them, or refused with what is wrong by name."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from searchapp import Encoder
from searchapp.encoder.checkpoint import locate
from searchapp.errors import ModelError
from searchapp.rerank.weights import LANGUAGE, filler, load_headed
from tests.models import make_adapter, make_checkpoint

TEXTS = ["bees fly", "how do you measure the quality of a search engine", "0 1 2"]


@pytest.fixture
def model(tmp_path: Path, tokenizer) -> Path:
    return make_checkpoint(tmp_path / "model", tokenizer)


def _edit(path: Path, **fields: object) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **fields}))


def _sharded(model: Path) -> list[Path]:
    """The weights in three files, with the index that names them."""
    path = model / "model.safetensors"
    tensors = load_file(path)
    path.unlink()
    shards, table = [model / f"model-{number}-of-3.safetensors" for number in (1, 2, 3)], {}
    for number, shard in enumerate(shards):
        part = {name: value for place, (name, value) in enumerate(sorted(tensors.items())) if place % 3 == number}
        save_file(part, shard, metadata={"format": "pt"})
        table |= dict.fromkeys(part, shard.name)
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return shards


def _refused(model: Path, said: str) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        Encoder.load(str(model))
    assert "\n" not in str(caught.value)


def test_shards_are_one_model(model: Path) -> None:
    want = Encoder.load(str(model)).encode_documents(TEXTS)
    _sharded(model)
    np.testing.assert_array_equal(Encoder.load(str(model)).encode_documents(TEXTS), want)


@pytest.mark.parametrize("absent", [[0], [2], [0, 1]])
def test_missing_shards_are_named(model: Path, absent: list[int]) -> None:
    shards = _sharded(model)
    for number in absent:
        shards[number].unlink()
    _refused(model, f"lacks {len(absent)} of the 3 files.*{shards[absent[0]].name}")


def test_a_shard_that_is_a_pointer_is_named(model: Path) -> None:
    shards = _sharded(model)
    shards[1].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    _refused(model, f"{shards[1].name} is a Git LFS pointer")


def test_a_weight_that_the_index_does_not_name_is_missed(model: Path) -> None:
    _sharded(model)
    path = model / "model.safetensors.index.json"
    table = json.loads(path.read_text())["weight_map"]
    gone = next(name for name in table if "up_proj" in name)
    shard = model / table[gone]
    tensors = load_file(shard)
    del tensors[gone]
    save_file(tensors, shard, metadata={"format": "pt"})
    _refused(model, "up_proj")


def test_weights_as_pickles_alone_are_refused(model: Path) -> None:
    (model / "model.safetensors").unlink()
    torch.save({}, model / "pytorch_model.bin")
    _refused(model, r"pickles only.*pytorch_model\.bin")


@pytest.mark.parametrize("pad", [None, -1, 0, 2])
@pytest.mark.parametrize("attention", ["packed", "eager"])
def test_padding_never_shows(model: Path, pad: int | None, attention: str) -> None:
    want = Encoder.load(str(model), attention="eager").encode_documents(TEXTS[:1])
    _edit(model / "config.json", pad_token_id=pad)
    got = Encoder.load(str(model), attention=attention).encode_documents(TEXTS)
    np.testing.assert_allclose(got[:1], want, atol=1e-5)


@pytest.mark.parametrize(("pad", "eos", "expected"), [(-1, 2, 2), (None, -1, 0), (-1, None, 0), (7, 2, 7), (99, 98, 0)])
def test_what_rerankers_fill_up_with(pad: int | None, eos: int | None, expected: int) -> None:
    from types import SimpleNamespace

    assert filler(SimpleNamespace(pad_token_id=pad, eos_token_id=eos), 10) == expected


def test_spare_layers_are_said(tmp_path: Path, tokenizer, caplog) -> None:
    model = make_checkpoint(tmp_path / "model", tokenizer, num_hidden_layers=3)
    _edit(model / "config.json", num_hidden_layers=2, **({"layer_types": None}))
    with caplog.at_level(logging.WARNING, "searchapp"):
        Encoder.load(str(model))
    assert "no place for" in caplog.text and "layers.2." in caplog.text and "num_hidden_layers" in caplog.text


def test_heads_and_buffers_are_not_said(model: Path, caplog) -> None:
    path = model / "model.safetensors"
    save_file(
        {
            **load_file(path),
            "score.weight": torch.ones(1, 32),
            "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        },
        path,
        metadata={"format": "pt"},
    )
    with caplog.at_level(logging.WARNING, "searchapp"):
        Encoder.load(str(model))
    assert "no place" not in caplog.text


@pytest.mark.parametrize(
    "quantised",
    [
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "fp8", "activation_scheme": "dynamic"},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "of-the-future"},
        {"bits": 4},
    ],
    ids=str,
)
def test_quantised_weights_are_refused_by_name(model: Path, quantised: dict) -> None:
    _edit(model / "config.json", quantization_config=quantised)
    _refused(model, quantised.get("quant_method", "quantised"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "torch.bfloat16", None])
@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_the_precision_on_disk_decides_nothing_but_rounding(model: Path, key: str, dtype: str | None) -> None:
    want = Encoder.load(str(model), dtype="float32").encode_documents(TEXTS)
    _edit(model / "config.json", **{key: dtype})
    try:
        got = Encoder.load(str(model), dtype="float32").encode_documents(TEXTS)
    except ModelError as error:
        assert dtype is not None and dtype in str(error)  # noqa: PT017 - either is right
        return
    np.testing.assert_array_equal(got, want)


def test_weights_of_several_precisions_are_read(model: Path) -> None:
    path = model / "model.safetensors"
    tensors = load_file(path)
    save_file(
        {name: value.to(torch.bfloat16) if "mlp" in name else value for name, value in tensors.items()},
        path,
        metadata={"format": "pt"},
    )
    rounded = {name: value.float() for name, value in load_file(path).items()}
    got = Encoder.load(str(model), dtype="float32").encode_documents(TEXTS)
    save_file(rounded, path, metadata={"format": "pt"})
    np.testing.assert_array_equal(got, Encoder.load(str(model), dtype="float32").encode_documents(TEXTS))


def test_a_token_beyond_the_embedding_is_refused_when_it_comes(tmp_path: Path, tokenizer) -> None:
    """transformers reads past the matrix on a GPU and stops with an index error on a CPU; here it is said."""
    own = copy.deepcopy(tokenizer)
    model = make_checkpoint(tmp_path / "model", own, vocab_size=len(own))
    own.add_tokens(["<beyond>"])  # and the embedding was not made larger
    own.save_pretrained(model)
    encoder = Encoder.load(str(model))
    assert np.isfinite(encoder.encode_documents(TEXTS)).all()
    with pytest.raises(ModelError, match="the tokenizer gives token"):
        encoder.encode_documents(["bees <beyond> fly"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"alora_invocation_tokens": [3, 4]}, "alora_invocation_tokens"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
        ({"peft_type": "LOHA"}, "peft_type"),
        ({"a_field_of_the_future": 0.5}, "a_field_of_the_future"),
    ],
)
def test_a_reranker_refuses_the_adapters_that_an_encoder_refuses(
    model: Path, tmp_path: Path, fields: dict, said: str
) -> None:
    adapter = make_adapter(model, tmp_path / "adapter", head=True)
    _edit(adapter / "adapter_config.json", task_type="CAUSAL_LM", base_model_name_or_path=str(model), **fields)
    with pytest.raises(ModelError, match=rf"\b{said}\b"):
        load_headed(locate(str(adapter)), LANGUAGE, device="cpu", dtype="float32")
    with pytest.raises(ModelError, match=rf"\b{said}\b"):
        Encoder.load(str(adapter))


@pytest.mark.parametrize(
    "kind", ["LOHA", "LOKR", "IA3", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING", "OFT", "ADALORA", "VERA"]
)
def test_other_kinds_of_adapters_are_refused_by_name(model: Path, tmp_path: Path, kind: str) -> None:
    adapter = make_adapter(model, tmp_path / "adapter")
    _edit(adapter / "adapter_config.json", peft_type=kind)
    with pytest.raises(ModelError, match=f"peft_type '{kind}'; expected LORA"):
        Encoder.load(str(model), adapters=[str(adapter)])
