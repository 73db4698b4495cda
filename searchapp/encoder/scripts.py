"""Which scripts a tokenizer's vocabulary has words of: what a model can read, where no card says its languages."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from searchapp.encoder.json_files import read_json

LEAST = 100  # words of a script: of those measured, English vocabularies have 31 at most, a multilingual one hundreds
ONE_SCRIPT = {"Hiragana": "Japanese", "Katakana": "Japanese", "Cjk": "Chinese"}  # as people call them


def script_of(character: str) -> str:
    """The script of a letter, by the first word of its name: Latin, Cyrillic, Chinese …; "" for one without a name."""
    name = unicodedata.name(character, "").partition(" ")[0].capitalize()
    return ONE_SCRIPT.get(name, name)


def vocabulary_scripts(path: Path) -> tuple[str, ...]:
    """The scripts in which a tokenizer.json has at least ``LEAST`` tokens of two letters or more, most of them first.

    Raises ModelError for a file that cannot be read.
    """
    content = read_json(path)
    model = content.get("model")
    vocabulary: Any = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, list):  # of Unigram: pairs of a token and its score
        vocabulary = [pair[0] for pair in vocabulary if isinstance(pair, list) and pair]
    tokens = [token for token in vocabulary or () if isinstance(token, str)]
    return scripts_of_words(map(_unmapped, tokens) if "ByteLevel" in str(content.get("decoder")) else tokens)


def scripts_of_words(tokens: Iterable[str]) -> tuple[str, ...]:
    """The scripts in which at least ``LEAST`` of these tokens are two letters or more, most of them first."""
    found: Counter[str] = Counter()
    for token in tokens:
        word = token.strip(" ▁#")
        if len(word) < 2:
            continue
        if word.isascii():
            found["Latin"] += word.isalpha()
            continue
        scripts = {script_of(sign) for sign in word if sign.isalpha()}
        marked = all(sign.isalpha() or unicodedata.category(sign)[0] == "M" for sign in word)
        if len(scripts) == 1 and marked:
            found[scripts.pop()] += 1
    return tuple(script for script, count in found.most_common() if count >= LEAST and script)


def _unmapped(token: str) -> str:
    """A token of a byte-level vocabulary as text; bytes that are no whole character are left out."""
    if token.isascii():
        return token
    table = _bytes()
    return bytes(table.get(sign, 0x20) for sign in token).decode("utf-8", "ignore")


@cache
def _bytes() -> dict[str, int]:
    """The signs that stand for bytes in byte-level vocabularies, those of GPT-2: bytes without a glyph have others."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(0x100) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(0x100 + place): byte for place, byte in enumerate(rest)}
