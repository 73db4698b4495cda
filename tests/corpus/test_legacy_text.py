"""Texts in encodings of before Unicode: read where their bytes tell which, and refused where they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from searchapp.corpus import Document, open_source
from searchapp.corpus.cut_rule import CutRule
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.formats.charsets import guess
from searchapp.corpus.source import find_source

CUTTER = Cutter(CutRule(tokens=None), lambda title, text: 1)
RUSSIAN = "Привет! Это короткая заметка о поездке в Москву, которую мы давно хотели совершить. " * 3
JAPANESE = "これは日本語の文章です。買い物に行ってから、友達と映画を見ました。とても面白かったです。" * 3


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("Einkaufsliste: Käse, Brötchen, Öl\r\nMüller anrufen – 5 €\r\n", "cp1252"),
        ("Le café du village est fermé pendant l’été… «\xa0désolé\xa0», dit le patron.\n", "cp1252"),
        ("Älg", "latin-1"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        ("这是一个中文的笔记，关于我们昨天在超市里买的东西，还有明天要做的事情。" * 4, "gb18030"),
    ],
)
def test_its_bytes_tell_the_encoding(tmp_path: Path, text: str, codec: str) -> None:
    (tmp_path / "a.md").write_bytes(f"# T\n\n{text}".encode(codec))
    [file] = find_source(str(tmp_path)).files(CUTTER)
    [record] = file.records()
    assert isinstance(record.item, Document)
    assert record.item.text == f"# T\n\n{text}".replace("\r\n", "\n").rstrip()
    assert len(file.notes) == 1 and next(iter(file.notes)).startswith("files decoded as ")


@pytest.mark.parametrize(
    "data", [b"\x81\xff not text", "Zażółć gęślą".encode("cp1250"), bytes(range(128, 256)) * 3, b"a\xff\0b"]
)
def test_what_its_bytes_do_not_tell_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    [record] = open_source(str(tmp_path / "a.txt")).records(CUTTER)
    assert not isinstance(record.item, Document) and ("UTF-8" in record.item.reason or "NUL" in record.item.reason)


def test_a_guess_is_none_where_nothing_is_likely() -> None:
    assert guess(b"\x8d\x81") is None and guess("Bäcker".encode("latin-1")) == "cp1252"
