"""Lines fit their columns and lose no word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapp.cli.cells import cells, clip, lines

TEXTS = st.text("abcdefgh   漢字かé\u0301ש", max_size=200).map(lambda text: " ".join(text.split()))


@pytest.mark.parametrize(
    ("text", "columns"), [("", 0), ("abc", 3), ("漢字", 4), ("e\u0301", 1), ("שלום", 4), ("ｗ", 2), ("\u200b", 0)]
)
def test_columns_of_a_text(text: str, columns: int) -> None:
    assert cells(text) == columns


@given(TEXTS, st.integers(2, 20))
def test_lines_fit_and_lose_nothing_but_blanks(text: str, columns: int) -> None:
    spans = list(lines(text, columns))
    assert all(cells(text[start:end]) <= columns and text[start:end].strip() for start, end in spans)
    assert all(one[1] <= other[0] for one, other in zip(spans, spans[1:], strict=False))
    assert "".join(text[start:end] for start, end in spans).replace(" ", "") == text.replace(" ", "")


def test_words_are_kept_whole_where_they_fit() -> None:
    text = "the quick brown fox jumps"
    assert [text[start:end] for start, end in lines(text, 10)] == ["the quick", "brown fox", "jumps"]
    assert [text[start:end] for start, end in lines("a verylongword b", 5)] != []


@given(TEXTS, st.integers(4, 20))
def test_a_clipped_text_fits(text: str, columns: int) -> None:
    clipped = clip(text, columns)
    assert cells(clipped) <= columns
    assert clipped == text or clipped.endswith(" …")
