"""The scripts that a vocabulary has words of, in each form that a vocabulary has."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from tokenizers.pre_tokenizers import ByteLevel

from searchapp.encoder.catalogue import FoundModel, find_model
from searchapp.encoder.checkpoint import BUNDLED
from searchapp.encoder.scripts import LEAST, vocabulary_scripts

LETTERS = {"Latin": "abcdefghijkl", "Cyrillic": "абвгдежзиклм", "Japanese": "あいうえおかきくけこさし", "Chinese": "一二三四五六七八九十百千"}  # fmt: skip


def words(script: str, count: int) -> list[str]:
    return ["".join(pair) for pair in product(LETTERS[script], repeat=2)][:count]


KNOWN = [
    *words("Latin", 140), *words("Cyrillic", 120), *words("Japanese", LEAST), *words("Chinese", LEAST - 1),
    *LETTERS["Chinese"], "1234", "--", "",
]  # fmt: skip


@pytest.mark.parametrize("form", ["word pieces", "pieces", "bytes"])
def test_scripts_with_enough_words(form: str, tmp_path: Path) -> None:
    content: dict = {"decoder": None}
    if form == "pieces":
        content["model"] = {"type": "Unigram", "vocab": [["▁" + word, -1.0] for word in KNOWN]}
    elif form == "bytes":
        mapped = [
            ByteLevel(add_prefix_space=True, use_regex=False).pre_tokenize_str(word)[0][0] for word in KNOWN if word
        ]
        assert any(not word.isascii() for word in mapped)
        content = {"decoder": {"type": "ByteLevel"}, "model": {"vocab": {word: 1 for word in mapped}}}
    else:
        content["model"] = {"vocab": {f"##{word}": number for number, word in enumerate(KNOWN)}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert vocabulary_scripts(tmp_path / "tokenizer.json") == ("Latin", "Cyrillic", "Japanese")


def test_what_a_model_serves_is_said_by_its_card_else_by_its_vocabulary(tiny_model: Path, tmp_path: Path) -> None:
    assert vocabulary_scripts(BUNDLED / "tokenizer.json") == ("Latin",)
    bundled = find_model("bundled")
    assert bundled is not None and bundled.serves == "en (by its model card)"
    assert FoundModel("x", Path(), "folder", "checkpoint", scripts=("Latin", "Greek")).serves == (
        "Latin, Greek scripts (by its vocabulary)"
    )
    assert find_model("none/such") is None and find_model(str(tmp_path)) is None
    found = find_model(str(tiny_model))
    assert found is not None and found.dimension
