"""What an assistant gets of a text: every character that is not seen by its number, and no more than its budget."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.assistants.visible import fitting, one_line, tokens, visible

KEPT = "\n\t"


def test_every_character_of_the_kinds_that_are_not_seen_is_shown() -> None:
    kinds = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    unseen = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in kinds]
    left = [letter for letter in unseen if letter not in KEPT and letter in visible(f"a{letter}b")]
    assert left == []


@pytest.mark.parametrize(
    "text", ["plain", "two\nlines\tand a tab", "naïve café", "日本語", "می\u200cخواهم", "👩\u200d👧", "עברית"]
)
def test_what_is_seen_stays(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc", "a\nb\\u000dc"),
        ("ab\u200dcd", "ab\\u200dcd"),
        ("م\u200c\u200d\u200cم", "م\\u200c\\u200d\\u200cم"),
        ("x\U000e0061", "x\\U000e0061"),
    ],
)
def test_what_is_not_seen_is_written_out(text: str, expected: str) -> None:
    assert visible(text) == expected


@settings(max_examples=40)
@given(st.text(max_size=80), st.integers(0, 50), st.integers(1, 100), st.integers(1, 60))
def test_parts_are_within_their_budget_and_join(text: str, start: int, characters: int, budget: int) -> None:
    joined, place = "", min(start, len(text))
    first = place
    while place < len(text):
        shown, end = fitting(text, place, characters, budget)
        assert place < end <= place + characters
        assert tokens(shown) <= budget or end == place + 1
        joined, place = joined + text[place:end], end
    assert joined == text[first:]


@settings(max_examples=40)
@given(st.text(max_size=60), st.integers(2, 40))
def test_one_line_is_one_line(text: str, most: int) -> None:
    line = one_line(text, most)
    assert len(line) <= most
    assert len(line.splitlines()) <= 1
