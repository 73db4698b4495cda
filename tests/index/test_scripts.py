"""What is said of texts whose script a model's vocabulary lacks."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer

import searchapp
from searchapp.encoder.checkpoint import BUNDLED
from searchapp.index.intake.scripts import broken_scripts

CHINESE = ["蜜蜂酿造蜂蜜", "蚂蚁挖掘隧道", "机器学习模型"]
ENGLISH = ["Bees make honey, “naïve” as they are", "Ants dig tunnels – for café owners"]


@pytest.fixture(scope="module")
def bundled() -> SimpleNamespace:
    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    return SimpleNamespace(tokenizer=SimpleNamespace(backend_tokenizer=tokenizer))


def test_the_share_is_that_of_tokens_within_characters(bundled: SimpleNamespace) -> None:
    found = broken_scripts(bundled, CHINESE)
    encodings = [bundled.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False) for text in CHINESE]
    tokens, characters = sum(len(one.ids) for one in encodings), sum(map(len, CHINESE))
    assert tokens > 2 * characters  # each character is several tokens
    assert found.share == pytest.approx(1.0, abs=0.15) and found.scripts[0] == "Chinese characters"
    assert broken_scripts(bundled, ENGLISH).share < 0.2 and not broken_scripts(bundled, ENGLISH).warning
    half = broken_scripts(bundled, [*ENGLISH, *CHINESE])
    assert 0.2 < half.share < found.share


def test_a_build_warns_once_and_names_the_alternative(tmp_path: Path, tiny_encoder, caplog) -> None:
    with caplog.at_level(logging.WARNING, "searchapp"):
        searchapp.build(CHINESE, tmp_path / "x", model=tiny_encoder, segment_size=1, progress=False)
        searchapp.build(["bees make honey"], tmp_path / "y", model=tiny_encoder, progress=False)
    said = [record.getMessage() for record in caplog.records if "vocabulary" in record.getMessage()]
    assert len(said) == 1 and "lacks Chinese characters" in said[0] and "--model" in said[0] and "bm25" in said[0]
