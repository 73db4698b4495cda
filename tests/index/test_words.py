"""Words of the world: Python's own Unicode data as the truth, and the two versions of the analysis."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from searchapp.errors import SearchAppError
from searchapp.index import Analyzer, VectorIndex, Writer, build
from searchapp.index.lexical.analyzer import ANALYSIS
from searchapp.index.lexical.bm25 import add_lexical
from searchapp.index.lexical.words import RARE, WORD, ascii_words, document_words, folded, folded_slowly, query_words

LETTERS = st.characters(codec="utf-8", exclude_categories=["Cs", "Cn", "Co"])


@settings(max_examples=500, deadline=None)
@example(text="café tiếng ﬁeld ㎏ ｶﾞ")
@example(text="ΆΣ ẛ̣ ᾳ İ ß")
@given(text=st.text(LETTERS, max_size=12))
def test_all_normal_forms_of_a_text_have_the_same_words(text: str) -> None:
    words = document_words(text)
    for form in ("NFC", "NFD"):
        assert document_words(unicodedata.normalize(form, text)) == words
    for word in words:
        assert unicodedata.is_normalized("NFKC", word)
        assert not word.isspace() and any(unicodedata.category(letter)[0] in "LN" for letter in word)


@given(text=st.text(st.characters(max_codepoint=127)))
def test_plain_ascii_has_the_words_it_always_had(text: str) -> None:
    assert document_words(text) == query_words(text) == ascii_words(text)


@settings(max_examples=200)
@given(text=st.text(LETTERS, max_size=12))
def test_the_words_of_a_query_are_among_those_of_the_same_text(text: str) -> None:
    assert set(query_words(text)) <= set(document_words(text))


@pytest.mark.parametrize(
    "word",
    ["किताब", "পানি", "বাংলা", "தமிழ்", "తెలుగు", "മലയാളം", "ਪੰਜਾਬੀ", "සිංහල", "שָׁלוֹם", "كِتَابٌ", "tiếng", "བོད"],
)  # fmt: skip
def test_no_word_is_cut_at_a_mark(word: str) -> None:
    for form in ("NFC", "NFD"):
        assert document_words(f"a {unicodedata.normalize(form, word)}, b")[1:-1] == [
            unicodedata.normalize("NFKC", word)
        ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ＡＢＣ１２", "abc12"), ("ﬁeld", "field"), ("co\u00adoperate", "cooperate"), ("İstanbul", "istanbul"),
        ("İSTANBUL", "istanbul"), ("Straße", "STRASSE"), ("ΟΔΟΣ", "οδος"), ("ｶﾞｽ", "ガス"), ("می\u200cخواهم", "میخواهم"),
        ("क\u094d\u200dष", "क\u094dष"), ("كـــتاب", "كتاب"), ("Windows™", "windows"), ("\ufeffword", "word"),
        ("ភាសា\u200bខ្មែរ", "ភាសាខ្មែរ"), ("one\u200btwo", "one two"), ("①", "1"), ("x²", "x2"),
    ],
)  # fmt: skip
def test_spellings_that_meet(one: str, other: str) -> None:
    assert document_words(one) == document_words(other)


@pytest.mark.parametrize(
    ("text", "inside", "absent"),
    [
        ("東京都は日本の首都です", "首都", "大阪"), ("我们在北京大学学习", "北京", "上海"), ("ราคาน้ำมันแพง", "น้ำมัน", "ข้าว"),
        ("ខ្ញុំរៀនភាសាខ្មែរ", "ភាសា", "ផ្ទះ"), ("ຂ້ອຍຮຽນພາສາລາວ", "ພາສາ", "ເຮືອນ"), ("緑茶を飲む", "茶", "水"),
    ],
)  # fmt: skip
def test_a_word_is_found_where_no_spaces_are_written(text: str, inside: str, absent: str) -> None:
    assert set(query_words(inside)) <= set(document_words(text))
    assert not set(query_words(absent)) & set(document_words(text))


def test_turkish_keeps_its_two_letters_apart() -> None:
    turkish = Analyzer("turkish", None)
    assert turkish.words("IŞIK İSTANBUL") == ["ışık", "istanbul"]


def test_an_old_index_goes_on_with_its_analysis_until_it_is_renewed(tmp_path: Path, hash_encoder) -> None:
    lines = [json.dumps({"_id": str(n), "text": text}, ensure_ascii=False) for n, text in enumerate(["किताब", "कुतुब"])]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    path = tmp_path / "ix"
    build([str(tmp_path / "a.jsonl")], path, hash_encoder, lexical=False)
    with Writer.update(path) as writer:
        add_lexical(writer, Analyzer(version=1))
        state = writer.state
        old = replace(state.lexical, analysis=1)
        assert state.lexical == old
        assert add_lexical(writer, Analyzer()) == state, "the same stems are no reason to count again"
    both = VectorIndex.open(path).lexical.search(["किताब"], 2)[1]
    assert sorted(both[0].tolist()) == [0, 1], "as it was"
    with Writer.update(path) as writer:
        new = add_lexical(writer, Analyzer(), renew=True)
    assert new.lexical.analysis == ANALYSIS == 3 and not set(new.lexical.files.values()) & set(old.files.values())
    assert VectorIndex.open(path).lexical.search(["किताब"], 2)[1].tolist() == [[0, -1]]


def test_an_analysis_of_the_future_is_refused() -> None:
    with pytest.raises(SearchAppError, match="analysis 4, expected 1 to 3"):
        Analyzer(version=4)


PLAIN = st.characters(max_codepoint=0x2BFF, exclude_categories=["Cs"]).filter(lambda sign: not re.match(RARE, sign))


@given(st.text(st.one_of(PLAIN, st.sampled_from("aIiİıßſΣσς’…\u00a0\u00ad\u200bǰΐ"))))
@settings(max_examples=1000, deadline=None)
def test_the_short_way_gives_the_words_of_the_long_one(text: str) -> None:
    long = folded_slowly(text)
    if not re.search(RARE, long):
        assert document_words(text) == WORD.findall(long)


def test_every_character_folds_alike_on_both_ways() -> None:
    for sign in map(chr, range(0x80, 0x2C00)):
        if not re.match(RARE, sign):
            assert WORD.findall(folded(sign)) == WORD.findall(folded_slowly(sign)), hex(ord(sign))


def test_digits_of_all_scripts_meet() -> None:
    for sign in map(chr, range(0x80, sys.maxunicode + 1)):
        if unicodedata.category(sign) == "Nd":
            assert document_words(f"a {sign}7 b")[1] == f"{unicodedata.decimal(sign)}7", hex(ord(sign))


def test_burmese_keeps_its_vowel_signs() -> None:
    # U+102B, U+102C and U+1038 are no part of a grapheme cluster in Unicode: ma and ma with a are two
    assert set(query_words("\u1019\u102c")) != set(query_words("\u1019"))
    assert document_words("\u1019\u102c\u1038") == ["\u1019\u102c\u1038"]


def test_the_second_analysis_stays_what_it_was() -> None:
    assert document_words("\u0662\u0660", version=2) == ["\u0662\u0660"]
    assert document_words("\u1019\u102c\u1019", version=2) == ["\u1019", "\u1019", "\u1019\u1019"]


def test_a_manifest_that_names_no_analysis_is_of_the_first(tmp_path: Path, hash_encoder) -> None:
    """A manifest as a version of the program wrote it that knew one analysis: without the key, on disk."""
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "a", "text": "किताब naïve"}) + "\n", encoding="utf-8")
    path = tmp_path / "ix"
    build([str(tmp_path / "a.jsonl")], path, hash_encoder, lexical=False)
    with Writer.update(path) as writer:
        add_lexical(writer, Analyzer(version=1))
    for file in [*path.glob("manifest-*.json"), *path.glob("manifest-*.copy")]:
        content = json.loads(file.read_text(encoding="utf-8").partition("\n")[2])
        assert content["lexical"] is None or content["lexical"].pop("analysis") == 1
        body = json.dumps(content).encode()
        file.write_bytes(hashlib.blake2b(body, digest_size=16).hexdigest().encode("ascii") + b"\n" + body)
    lexical = VectorIndex.open(path).lexical
    assert lexical.analyzer.version == 1
    assert lexical.search(["किताब"], 1)[1][0].tolist() == [0]
