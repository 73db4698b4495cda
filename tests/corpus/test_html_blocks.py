"""HTML and comments in Markdown: the headings that a CommonMark parser finds, no more and no fewer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.corpus.headings import MARKERS
from tests.corpus.records import read

LINES = [
    "# A", " ## B", "text", "", "<!--", "-->", "<!-- x -->", "<!-- x --> y", "<div>", "</div>", "<DIV class='a'>", "<pre>",
    "</pre>", "<script>", "a </script> b", "<?php", "?>", "<!DOCTYPE html>", "<!DOCTYPE", "<![CDATA[", "]]>", "```", "~~~",
    "<b>", "</b>", "<b>x", "<a href='u' b>", "<a href='u>", "<", "<1>", "  <p", "<details><summary>", "x <!-- y", "-- >",
]  # fmt: skip


def _ours(lines: list[str]) -> list[int]:
    return [mark.number for mark in MARKERS[".md"](enumerate(lines, 1)) if mark.level]


@given(st.lists(st.sampled_from(LINES), max_size=12))
@settings(max_examples=1500, deadline=None)
def test_headings_are_those_of_commonmark(lines: list[str]) -> None:
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").parse("\n".join(lines))
    assert _ours(lines) == [token.map[0] + 1 for token in tokens if token.type == "heading_open" and token.map]


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("# H\n\n<!--\n# note\nnote\n====\n-->\n\nbody\n", ["H"]),
        ("# -*- coding: utf-8 -*-\n# H\nbody\n", ["a.md", "H"]),
        ("# H\n\nbody\n\n# -*- not at the top -*-\n\nbody\n", ["H", "-*- not at the top -*-"]),
    ],
)
def test_titles(tmp_path: Path, text: str, titles: list[str]) -> None:
    (tmp_path / "a.md").write_text(text)
    assert [document.title for document in read(tmp_path / "a.md")[0]] == titles


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("---\ntitle: T\n---\n\nHead\n====\n\nbody\n", ["a.rst", "Head"]),  # docutils: too short for an overline
        ("----\nLong title\n----\n\nbody\n", ["Long title"]),
        ("==\nAB\n==\n\nbody\n", ["AB"]),
    ],
)
def test_overlines_of_restructured_text(tmp_path: Path, text: str, titles: list[str]) -> None:
    (tmp_path / "a.rst").write_text(text)
    assert [document.title for document in read(tmp_path / "a.rst")[0]] == titles
