"""Folders of sentence-transformers as older versions and other people lay them out: as that library reads them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.errors import ModelError
from tests.models import make_checkpoint

TEXTS = ["bees fly", "how do you measure the quality of a search engine", "0 1 2"]


@pytest.fixture
def folder(tmp_path: Path, tokenizer) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    base = make_checkpoint(tmp_path / "base", tokenizer, "llama", head=False)
    modules = [Transformer(str(base)), Pooling(32, pooling_mode="mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "folder"))
    return tmp_path / "folder"


def _edit(path: Path, **fields: object) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **fields}))


def _compare(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    reference, encoder = SentenceTransformer(str(folder), device="cpu"), Encoder.load(str(folder))
    for ours, theirs in (
        (encoder.encode_documents, reference.encode_document),
        (encoder.encode_queries, reference.encode_query),
    ):
        np.testing.assert_allclose(ours(TEXTS), theirs(TEXTS, normalize_embeddings=True), atol=1e-5)


@pytest.mark.parametrize("place", ["0_Transformer", "0_BERT"])
def test_weights_in_a_folder_of_their_own(folder: Path, place: str) -> None:
    (folder / place).mkdir()
    for path in list(folder.iterdir()):
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json", "README.md"):
            path.rename(folder / place / path.name)
    listed = json.loads((folder / "modules.json").read_text())
    listed[0] |= {"path": place, "type": "sentence_transformers.models.Transformer"}
    (folder / "modules.json").write_text(json.dumps(listed))
    _edit(folder / place / "sentence_bert_config.json", max_seq_length=6, do_lower_case=True)
    _compare(folder)


@pytest.mark.parametrize(
    "prompts",
    [
        {"query": "query: ", "passage": "passage: "},  # as E5 is saved: no prompt for documents
        {"query": "query: ", "document": "passage: "},
        {"passage": "passage: "},
        {"document": "d: "},
        {"query": "q: "},
        {"query": "q: ", "document": None, "passage": "p: ", "corpus": "c: "},
        {"web_search_query": "x: ", "sts_query": "y: "},
        {},
    ],
)
@pytest.mark.parametrize("default", [None, "query"])
def test_prompts(folder: Path, prompts: dict, default: str | None) -> None:
    if default is not None and default not in prompts:
        prompts = {**prompts, default: "by default: "}
    _edit(folder / "config_sentence_transformers.json", prompts=prompts, default_prompt_name=default)
    _compare(folder)


@pytest.mark.parametrize("length", [None, 1, 3, 10_000])
def test_lengths(folder: Path, length: int | None) -> None:
    _edit(folder / "sentence_bert_config.json", max_seq_length=length)
    _compare(folder)


def test_a_folder_for_normalize_may_be_missing(folder: Path) -> None:
    if (folder / "2_Normalize").exists():
        for path in (folder / "2_Normalize").iterdir():
            path.unlink()
        (folder / "2_Normalize").rmdir()
    assert Encoder.load(str(folder)).encode_documents(TEXTS).shape == (3, 32)


@pytest.mark.parametrize(
    "kind",
    [
        "WordWeights", "WeightedLayerPooling", "LSTM", "CNN", "BoW", "Router", "Asym", "WordEmbeddings", "CLIPModel",
        "StaticEmbedding", "SpladePooling", "MLMTransformer",
    ],
)  # fmt: skip
def test_modules_that_are_not_run_are_refused_by_name(folder: Path, kind: str) -> None:
    listed = json.loads((folder / "modules.json").read_text())
    added = {"idx": 1, "name": "1", "path": f"1_{kind}", "type": f"sentence_transformers.models.{kind}"}
    (folder / "modules.json").write_text(json.dumps([listed[0], added, *listed[1:]]))
    with pytest.raises(ModelError, match=kind):
        Encoder.load(str(folder))


@pytest.mark.parametrize("place", ["../base", "/tmp/base"])
def test_modules_outside_of_the_folder_are_refused(folder: Path, place: str) -> None:
    listed = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([{**listed[0], "path": place}, *listed[1:]]))
    with pytest.raises(ModelError, match="below this one"):
        Encoder.load(str(folder))


@pytest.mark.parametrize(
    ("similarity", "unit", "said"),
    [
        ("dot", False, True),
        ("dot", True, False),
        ("euclidean", False, True),
        ("manhattan", True, True),
        ("cosine", False, False),
    ],
)
def test_another_similarity_is_said(folder: Path, caplog, similarity: str, unit: bool, said: bool) -> None:
    if not unit:
        listed = json.loads((folder / "modules.json").read_text())
        (folder / "modules.json").write_text(json.dumps(listed[:2]))
    _edit(folder / "config_sentence_transformers.json", similarity_fn_name=similarity)
    with caplog.at_level(logging.WARNING, "searchapp"):
        Encoder.load(str(folder))
    assert ("similarity_fn_name" in caplog.text) == said
