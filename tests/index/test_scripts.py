"""What is said of texts whose script a model's vocabulary lacks."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer

import searchapp
from searchapp.encoder.checkpoint import BUNDLED
from searchapp.index.intake.scripts import broken_scripts

CHINESE = ["蜜蜂酿造蜂蜜", "蚂蚁挖掘隧道", "机器学习模型"]
RUSSIAN = ["пчёлы делают мёд", "муравьи роют ходы"]
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


def tokenizer_of(*words: str) -> SimpleNamespace:
    """A WordPiece tokenizer that knows these words, and all letters of the texts here by themselves."""
    letters = {letter for text in (*CHINESE, *RUSSIAN) for letter in text if not letter.isspace()}
    known = ["[UNK]", *words, *sorted(letters), *(f"##{letter}" for letter in sorted(letters))]
    tokenizer = Tokenizer(WordPiece({word: number for number, word in enumerate(known)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return SimpleNamespace(tokenizer=SimpleNamespace(backend_tokenizer=tokenizer))


def test_words_of_single_letters_are_broken_and_single_ideographs_are_not() -> None:
    letters = broken_scripts(tokenizer_of(), RUSSIAN)
    assert letters.share == 1.0 and letters.scripts == ("Cyrillic",)
    assert broken_scripts(tokenizer_of(*" ".join(RUSSIAN).split()), RUSSIAN).share == 0.0
    assert broken_scripts(tokenizer_of(), CHINESE).share == 0.0
    unknown = broken_scripts(tokenizer_of(), ["ελληνικά"])
    assert unknown.share == 1.0 and unknown.scripts == ("Greek",)


def test_a_build_warns_once_and_names_the_alternative(tmp_path: Path, tiny_encoder, caplog) -> None:
    with caplog.at_level(logging.WARNING, "searchapp"):
        searchapp.build(CHINESE, tmp_path / "x", model=tiny_encoder, segment_size=1, progress=False)
        made = searchapp.build(["bees make honey"], tmp_path / "y", model=tiny_encoder, progress=False)
    said = [record.getMessage() for record in caplog.records if "vocabulary" in record.getMessage()]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "searchapp"):
        made.add(["ants dig tunnels"])
        assert not caplog.records
        made.add([*CHINESE, "spiders spin"])
    [added] = [record for record in caplog.records if "vocabulary" in record.getMessage()]
    assert added.name == "searchapp.index.add"
    assert len(said) == 1 and "lacks Chinese characters" in said[0] and "--model" in said[0] and "bm25" in said[0]
