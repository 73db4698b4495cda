"""Folders of sentence-transformers: the vectors of that library itself, over drawn options; or refused by name."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from searchapp import Encoder
from searchapp.errors import ModelError
from tests.models import make_checkpoint

TEXTS = [
    "bees fly", "How do YOU measure a search engine", "0 1 2", "the quick brown FOX jumps over the lazy dog " * 3, "a",
]  # fmt: skip
MODES = ["mean", "lasttoken", "cls", "weightedmean", "max", "mean_sqrt_len_tokens"]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> dict[tuple[str, bool | None], Path]:
    root, made = tmp_path_factory.mktemp("bases"), {}
    for family, causal in (("llama", None), ("llama", False), ("mistral", None), ("qwen2", None), ("qwen2", False)):
        base = make_checkpoint(root / f"{family}-{causal}", tokenizer, family, head=False)
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps(config if causal is None else {**config, "is_causal": causal}))
        made[family, causal] = base
    return made


def _edit(path: Path, **fields: object) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **fields}))


def _save(base: Path, folder: Path, drawn: dict) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Normalize, Pooling, Transformer

    torch.manual_seed(3)
    body = Transformer(str(base))
    modules = [body, Pooling(32, pooling_mode=drawn["mode"], include_prompt=drawn["include_prompt"])]
    for kind in drawn["behind"]:
        made = {"normalize": Normalize, "norm": lambda: LayerNorm(32)}.get(kind) if isinstance(kind, str) else None
        modules.append(made() if made else Dense(32, 32, activation_function=kind))
        if kind == "norm":
            torch.nn.init.normal_(modules[-1].norm.weight)
            torch.nn.init.normal_(modules[-1].norm.bias)
    SentenceTransformer(modules=modules, prompts=drawn["prompts"], device="cpu").save(str(folder))
    bert = {name: drawn[name] for name in ("max_seq_length", "do_lower_case") if drawn[name] is not None}
    _edit(folder / "sentence_bert_config.json", **bert)
    _edit(folder / "config_sentence_transformers.json", truncate_dim=drawn["truncate_dim"])
    _edit(folder / "tokenizer_config.json", padding_side=drawn["padding"], truncation_side=drawn["truncation"])


@given(
    st.fixed_dictionaries(
        {
            "base": st.sampled_from([("llama", None), ("llama", False), ("mistral", None), ("qwen2", None), ("qwen2", False)]),
            "mode": st.sampled_from(MODES),
            "include_prompt": st.booleans(),
            "behind": st.sampled_from(
                [
                    [], ["normalize"], [torch.nn.Tanh(), "normalize"], ["normalize", torch.nn.Identity()],
                    [torch.nn.GELU()], ["norm"], [torch.nn.Tanh(), "norm", "normalize"],
                ]
            ),
            "prompts": st.fixed_dictionaries(
                {}, optional={name: st.sampled_from(["", "find: ", "Query:", " "]) for name in ("query", "document", "passage")}
            ),
            "max_seq_length": st.sampled_from([None, 3, 8, 17, 64]),
            "do_lower_case": st.sampled_from([None, True, False]),
            "truncate_dim": st.sampled_from([None, 8, 64]),
            "padding": st.sampled_from(["left", "right"]),
            "truncation": st.sampled_from(["left", "right"]),
        }
    )
)  # fmt: skip
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_folder_gives_the_vectors_of_its_library(bases, drawn) -> None:
    from sentence_transformers import SentenceTransformer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "folder"
        _save(bases[drawn["base"]], folder, drawn)
        reference = SentenceTransformer(str(folder), device="cpu")
        encoder = Encoder.load(str(folder))
        for ours, theirs in (
            (encoder.encode_documents, reference.encode_document),
            (encoder.encode_queries, reference.encode_query),
        ):
            want = theirs(TEXTS, batch_size=1, normalize_embeddings=True)
            if not np.isfinite(want).all():  # a prompt that fills the length leaves max nothing to pool
                continue
            np.testing.assert_allclose(ours(TEXTS), want, atol=1e-5)


@pytest.mark.parametrize(
    ("file", "fields", "said"),
    [
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "max"]}, "concatenates 2 poolings"),
        ("sentence_bert_config.json", {"config_kwargs": {"rope_theta": 1.0}}, "rope_theta"),
        ("sentence_bert_config.json", {"processor_kwargs": {"add_eos_token": True}}, "add_eos_token"),
        ("sentence_bert_config.json", {"document_length": 12}, "document_length"),
        ("sentence_bert_config.json", {"transformer_task": "text-generation"}, "transformer_task"),
        ("sentence_bert_config.json", {"do_lower_case": "yes"}, "do_lower_case"),
        ("sentence_bert_config.json", {"max_seq_length": 0}, "max_seq_length"),
        ("config_sentence_transformers.json", {"truncate_dim": 0}, "truncate_dim"),
    ],
)
def test_what_is_not_obeyed_is_refused_by_its_name(bases, tmp_path: Path, file: str, fields: dict, said: str) -> None:
    _plain(bases, tmp_path / "folder")
    _edit(tmp_path / "folder" / file, **fields)
    with pytest.raises(ModelError, match=said) as caught:
        Encoder.load(str(tmp_path / "folder"))
    assert "\n" not in str(caught.value)


def _plain(bases, folder: Path) -> None:
    options = {
        "mode": "mean", "include_prompt": True, "behind": ["normalize"], "prompts": {}, "max_seq_length": None,
        "do_lower_case": None, "truncate_dim": None, "padding": "right", "truncation": "right",
    }  # fmt: skip
    _save(bases["llama", False], folder, options)


def test_a_module_with_code_of_its_own_is_refused(bases, tmp_path: Path) -> None:
    _plain(bases, tmp_path / "folder")
    path = tmp_path / "folder" / "modules.json"
    listed = json.loads(path.read_text())
    path.write_text(json.dumps([{**listed[0], "type": "custom_st.Transformer"}, *listed[1:]]))
    with pytest.raises(ModelError, match=r"custom_st\.Transformer.*never run"):
        Encoder.load(str(tmp_path / "folder"))


def test_older_spellings_mean_the_same(bases, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    _plain(bases, folder)
    want = Encoder.load(str(folder)).encode_documents(TEXTS)
    path = folder / "modules.json"
    listed = json.loads(path.read_text())
    old = [{**row, "type": f"sentence_transformers.models.{row['type'].rsplit('.', 1)[1]}"} for row in listed]
    path.write_text(json.dumps(old))
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False})
    )
    np.testing.assert_array_equal(Encoder.load(str(folder)).encode_documents(TEXTS), want)
