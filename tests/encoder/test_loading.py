"""Checkpoints in every layout that is published, and clear refusals of the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.encoder.settings import Settings
from searchapp.encoder.template import INST, Template
from searchapp.errors import ModelError
from tests.models import make_adapter, make_checkpoint

TEXTS = ["bees fly", "how do you measure a search engine", "0 1 2", "the quick brown fox jumps over the lazy dog"]


def _peft_reference(base: Path, adapters: list[Path]) -> np.ndarray:
    """The same vectors by transformers and peft alone: merged one after the other, mean over the text's tokens."""
    import torch
    from peft import PeftModel
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    config = AutoConfig.from_pretrained(base)
    config.is_causal = False
    model = AutoModel.from_pretrained(base, config=config, dtype=torch.float32)
    for adapter in adapters:
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = []
    for text in TEXTS:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            rows.append(model.eval()(input_ids=ids, use_cache=False).last_hidden_state[0, 1:].mean(0).numpy())
    return np.stack(rows)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory, tokenizer):
    """base, base-mntp (config and adapter, no weights), base-mntp-supervised (adapter and settings only)."""
    root = tmp_path_factory.mktemp("pieces")
    base = make_checkpoint(root / "org" / "base", tokenizer)
    mntp = make_adapter(base, root / "org" / "base-mntp", seed=1)
    supervised = make_adapter(base, root / "org" / "base-mntp-supervised", seed=2)
    config = json.loads((base / "config.json").read_text())
    config |= {"_name_or_path": "mistralai/Mistral-7B-Instruct-v0.2", "auto_map": {"AutoModel": "absent.Absent"}}
    (mntp / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(mntp)
    (supervised / "llm2vec_config.json").write_text(
        json.dumps({"pooling_mode": "weighted_mean", "max_length": 64, "doc_max_length": 32, "skip_instruction": False})
    )
    return base, mntp, supervised


def test_adapters_are_merged_in_order(pieces) -> None:
    base, mntp, supervised = pieces
    plain = Encoder.load(str(base), adapters=[str(mntp), str(supervised)], pooling="mean", pool_instruction=False)
    np.testing.assert_allclose(
        plain.encode(TEXTS, normalize=False), _peft_reference(base, [mntp, supervised]), atol=1e-5
    )
    assert np.abs(plain.encode(TEXTS) - Encoder.load(str(base)).encode(TEXTS)).max() > 1e-3


def test_a_directory_without_base_weights_follows_its_base(pieces) -> None:
    base, mntp, supervised = pieces
    followed = Encoder.load(str(mntp))
    assert followed.settings.template == INST  # by `_name_or_path` of its config.json
    given = Encoder.load(str(base), adapters=[str(mntp)])
    assert given.settings.template == Template(end=" </s>")  # the base itself has no published name
    np.testing.assert_array_equal(
        followed.model.layers[0].self_attn.q_proj.weight.numpy(), given.model.layers[0].self_attn.q_proj.weight.numpy()
    )
    alone = Encoder.load(str(supervised))
    assert len(alone.checkpoint.adapters) == 1
    assert alone.checkpoint.weights == base


def test_llm2vec_config_is_read_and_options_outrank_it(pieces) -> None:
    base, mntp, supervised = pieces
    settings = Encoder.load(str(mntp), adapters=[str(supervised)]).settings
    assert (settings.pooling, settings.max_length, settings.document_max_length) == ("weighted_mean", 64, 32)
    assert settings.pool_instruction is True
    assert Encoder.load(str(mntp), adapters=[str(supervised)], max_length=48).settings.max_length == 48


def test_bases_are_found_when_the_tree_has_moved(pieces, tmp_path: Path) -> None:
    base, mntp, _ = pieces
    root = tmp_path / "moved" / "org"
    shutil.copytree(base, root / "base")
    shutil.copytree(mntp, root / "base-mntp")
    content = json.loads((root / "base-mntp" / "adapter_config.json").read_text())
    content["base_model_name_or_path"] = "org/base"
    (root / "base-mntp" / "adapter_config.json").write_text(json.dumps(content))
    assert Encoder.load(str(root / "base-mntp")).checkpoint.weights == root / "base"


def test_an_adapter_saved_with_the_head_fits_too(pieces, tmp_path: Path) -> None:
    base, _, _ = pieces
    inner = make_adapter(base, tmp_path / "inner", seed=3)
    outer = make_adapter(base, tmp_path / "outer", seed=3, head=True)
    vectors = [Encoder.load(str(base), adapters=[str(adapter)]).encode(TEXTS) for adapter in (inner, outer)]
    np.testing.assert_allclose(*vectors, atol=1e-6)


def test_an_adapter_of_another_model_is_refused(pieces, tmp_path: Path, tokenizer) -> None:
    wide = make_checkpoint(tmp_path / "wide", tokenizer, hidden_size=64)
    deep = make_checkpoint(tmp_path / "deep", tokenizer, num_hidden_layers=3)
    for other in (wide, deep):
        adapter = make_adapter(other, tmp_path / f"adapter-{other.name}")
        with pytest.raises(ModelError, match="does not fit this base model"):
            Encoder.load(str(pieces[0]), adapters=[str(adapter)])


def test_a_merged_checkpoint_keeps_its_template_under_any_name(pieces, tmp_path: Path, tokenizer) -> None:
    encoder = Encoder.load(str(pieces[1]))
    saved = tmp_path / "renamed"
    encoder.model.save_pretrained(saved)
    encoder.tokenizer.save_pretrained(saved)
    encoder.settings.save(saved)
    again = Encoder.load(str(saved))
    assert again.settings == encoder.settings
    np.testing.assert_allclose(again.encode(TEXTS, "find:"), encoder.encode(TEXTS, "find:"), atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "lasttoken"])
@pytest.mark.parametrize("prompt", ["", "query:"])
def test_a_sentence_transformers_folder_gives_its_vectors(tmp_path: Path, tokenizer, pooling: str, prompt: str) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    base = make_checkpoint(tmp_path / "base", tokenizer)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "is_causal": False}))
    body = Transformer(str(base))
    folder = tmp_path / "folder"
    pool = Pooling(body.get_embedding_dimension(), pooling_mode=pooling, include_prompt=False)
    reference = SentenceTransformer(
        modules=[body, pool, Normalize()], prompts={"query": prompt, "document": ""}, device="cpu"
    )
    reference.save(str(folder))
    encoder = Encoder.load(str(folder))
    texts = [f" {text}" for text in TEXTS] if prompt else TEXTS  # a prompt must not end inside a token
    np.testing.assert_allclose(encoder.encode_documents(TEXTS), reference.encode_document(TEXTS), atol=1e-5)
    want = reference.encode_query(texts)
    np.testing.assert_allclose(encoder.encode_queries(texts), want, atol=1e-5)


def test_weights_as_pickles_only_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(ModelError, match="pickles only.*pytorch_model.bin.*safetensors"):
        Encoder.load(str(tmp_path / "m"))


def test_remote_code_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config |= {"model_type": "homemade", "auto_map": {"AutoModel": "modeling.Homemade"}}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    (tmp_path / "m" / "modeling.py").write_text("raise SystemExit('this must never run')")
    with pytest.raises(ModelError, match="needs remote code, which is never run"):
        Encoder.load(str(tmp_path / "m"))


def test_incomplete_weights_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_model, tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks 1 of the weights.*up_proj"):
        Encoder.load(str(tmp_path / "m"))


def test_a_truncated_weights_file_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ModelError, match="cannot be loaded"):
        Encoder.load(str(tmp_path / "m"))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c", "org/never-fetched-offline", ""])
def test_a_model_that_is_not_there_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        Encoder.load(name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_directory_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelError, match="is not a model"):
        Encoder.load(str(tmp_path))


def test_options_that_make_no_sense_are_refused(tiny_model: Path) -> None:
    for options in (
        {"pooling": "maximum"},
        {"max_length": 0},
        {"attention": "flash"},
        {"dtype": "int3"},
        {"device": "tpu"},
    ):
        with pytest.raises(ModelError):
            Encoder.load(str(tiny_model), **options)


def test_a_hub_snapshot_is_loaded_from_the_cache(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout huggingface_hub leaves on disk: the real fetching code, offline."""
    revision = "0" * 40
    repo = tmp_path / "models--some-org--some-model"
    shutil.copytree(tiny_model, repo / "snapshots" / revision)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    import huggingface_hub

    real = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **options: real(name, cache_dir=tmp_path, **options)
    )
    (repo / "snapshots" / revision / "llm2vec_config.json").write_text(
        '{"pooling_mode": "weighted_mean", "max_length": 77}'
    )
    encoder = Encoder.load("some-org/some-model")
    assert encoder.checkpoint.base_name == "some-org/some-model"
    assert (encoder.settings.pooling, encoder.settings.max_length) == ("weighted_mean", 77)


def test_settings_survive_saving(tmp_path: Path) -> None:
    from searchapp.encoder.settings import read_settings

    settings = Settings(pooling="eos_token", max_length=99, query_instruction="find:", template=INST)
    settings.save(tmp_path)
    assert read_settings(tmp_path, []) == settings


def test_the_fingerprint_names_the_part_that_differs(pieces, tmp_path: Path, tiny_model: Path) -> None:
    from searchapp.encoder.fingerprint import differing

    base, mntp, _ = pieces
    one = Encoder.load(str(base)).fingerprint
    copied = tmp_path / "elsewhere"
    shutil.copytree(base, copied)
    assert Encoder.load(str(copied)).fingerprint == one
    assert differing(one, Encoder.load(str(base), pooling="eos_token").fingerprint) == ["pooling"]
    assert differing(one, Encoder.load(str(base), document_max_length=99).fingerprint) == ["lengths"]
    assert differing(one, Encoder.load(str(base), adapters=[str(mntp)]).fingerprint) == ["adapters"]
    path = copied / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert differing(one, Encoder.load(str(copied)).fingerprint) == ["weights"]


def test_the_fingerprint_does_not_change_with_what_transformers_adds_to_a_configuration(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model))
    before = Encoder.load(str(tiny_model)).fingerprint
    encoder.model.config.a_default_of_a_later_release = 0.5
    assert encoder.fingerprint == before


def test_the_fingerprint_sees_the_architecture(tmp_path: Path, tiny_model: Path) -> None:
    from searchapp.encoder.fingerprint import differing

    shutil.copytree(tiny_model, tmp_path / "m")
    before = Encoder.load(str(tmp_path / "m")).fingerprint
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    assert differing(before, Encoder.load(str(tmp_path / "m")).fingerprint) == ["architecture"]


def test_a_keyword_that_load_does_not_have_is_named_with_the_nearest(tiny_model: Path) -> None:
    with pytest.raises(TypeError, match=r"Encoder\.load has no keyword 'poolin'; did you mean 'pooling'\?"):
        Encoder.load(str(tiny_model), poolin="mean")
    with pytest.raises(TypeError, match=r"no keyword 'xyzzy'; its keywords: adapters, base, pooling, .*, cache"):
        Encoder.load(str(tiny_model), xyzzy=1)


def test_a_keyword_that_is_none_counts_as_not_given(tiny_model: Path) -> None:
    from searchapp.encoder.options import LoadOptions

    plain = Encoder.load(str(tiny_model))
    encoder = Encoder.load(str(tiny_model), **dict.fromkeys(LoadOptions.__annotations__))
    assert (encoder.settings, encoder.options, encoder.dtype, encoder.attention, encoder.device) == (
        plain.settings, plain.options, plain.dtype, plain.attention, plain.device,
    )  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists what a process has mapped")
@pytest.mark.parametrize(("dtype", "mapped"), [("bfloat16", True), ("float32", False)])
def test_weights_in_the_precision_of_the_file_stay_mapped(tmp_path: Path, tokenizer, dtype: str, mapped: bool) -> None:
    """By the addresses of the parameters among those at which the system has mapped the file."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = make_checkpoint(tmp_path / "m", tokenizer)
    path = folder / "model.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
    encoder = Encoder.load(str(folder), dtype=dtype, device="cpu")
    ranges = [
        [int(part, 16) for part in line.split()[0].split("-")]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(path))
    ]
    for name, parameter in encoder.model.named_parameters():
        assert parameter.dtype == getattr(torch, dtype)
        place = parameter.data_ptr()
        assert any(begin <= place < end for begin, end in ranges) == mapped, name
