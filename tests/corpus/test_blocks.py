"""Blocks of the three plain formats: what is what, and that blocks laid end to end are the text."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings

from searchapp.corpus.block_readers import BLOCK_READERS, read_blocks
from searchapp.corpus.blocks import BlockKind
from searchapp.corpus.front_matter import FrontMatter
from tests.corpus.test_cut import blocks_of, bodies, endings, lines_of

SHORT = {
    BlockKind.HEADING: "H", BlockKind.TEXT: "T", BlockKind.LIST_ITEM: "L", BlockKind.TABLE_ROW: "R", BlockKind.CODE: "C",
    BlockKind.QUOTE: "Q", BlockKind.SIGNATURE: "S",
}  # fmt: skip


def kinds(source: str, ending: str) -> str:
    """A letter a block, with its level or depth where it has one: ``H1 T L1 L2 S0 T/1``."""
    return " ".join(
        SHORT[block.kind] + (str(block.level) if block.level else "") + (f"/{block.depth}" if block.depth else "")
        for block in blocks_of(textwrap.dedent(source).lstrip("\n"), ending)
    )


@given(bodies, endings)
@settings(max_examples=200, deadline=None)
def test_blocks_laid_end_to_end_are_the_text(body: str, ending: str) -> None:
    blocks = blocks_of(body, ending)
    assert "".join(block.text for block in blocks) == body[blocks[0].start if blocks else len(body) :]
    for block, following in zip(blocks, blocks[1:], strict=False):
        assert block.end == following.start
    for block in blocks:
        assert body[block.start : block.end] == block.text
        assert block.line == 1 + body.count("\n", 0, block.start)
        if block.text.strip():
            assert block.end_line == block.line + block.text.rstrip().count("\n")


@given(bodies, endings)
@settings(max_examples=50, deadline=None)
def test_line_ends_of_windows_count_as_one_character(body: str, ending: str) -> None:
    crossed = [(number, text.replace("\n", "\r\n")) for number, text in lines_of(body.replace("\r", ""))]
    assert list(read_blocks(crossed, ending)) == blocks_of(body.replace("\r", ""), ending)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("# One\n## Two ##\ntext\nmore\n\nnext\n", "H1 H2 T T"),
        ("Under\n=====\ntext\nOver\n---\n", "H1 T"),
        ("Under\n---\n\n---\n\n- item\n---\n", "H2 T L1"),
        ("```\n# code\n\nx\n```\ntext\n", "C T"),
        ("~~~\n```\n# code\n~~~\ntext\n", "C T"),
        ("text\n\n    code\n\n    code\ntext\n", "T C T"),
        ("text\n    no code\n", "T"),
        ("<!--\n# none\n\n# none\n-->\n# One\n", "T H1"),
        ("<!-- a --> b\n# One\n", "T H1"),
        ("- a\n  b\n\n  c\n- d\n  - e\n    - f\n- g\n\ntext\n", "L1 L1 L2 L3 L1 T"),
        ("1. a\n2. b\n10) c\n", "L1 L1 L1"),
        ("a year\n1984. Not an item\n", "T"),
        ("- a\n\n  ```\n  # code\n  ```\n- b\n", "L1 C L1"),
        ("> a\nb\n> c\n\n> d\n", "Q Q"),
        ("a | b\n--|:-:\n1 | 2\n3 | 4\n\ntext | no table\n", "R1 R R T"),
        ("text\n| a |\n|---|\n| 1 |\n# One\n", "T R1 R H1"),
        ("#nospace\n\n####### seven\n", "T T"),
        ("```x``` is code in text\n# One\n", "T H1"),
    ],
)
def test_markdown(source: str, expected: str) -> None:
    assert kinds(source, ".md") == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("====\nBook\n====\n\nPart\n====\n\nA\n-\n\ntext\n\nPart\n====\n", "H1 H2 T T H2"),
        ("text::\n\n   literal\n\n     # more\n\n   end\n\ntext\n", "T C T"),
        (".. code-block:: c\n   :linenos:\n\n   int x;\n\n   int y;\n\ntext\n", "C T"),
        (".. note::\n   One.\n\n   Two.\n\ntext\n", "T T T"),
        ("* a\n  b\n\n  c\n* d\n\n  * e\n\ntext\n", "L1 L1 L2 T"),
        ("term\n   meaning\n\n   more\n\nother\n   meaning\ntext\n", "L1 L1 T"),
        ("== ==\na  b\n== ==\n1  2\n   3\n4  5\n== ==\n\ntext\n", "R1 R R T"),
        ("== ==\n1  2\n3  4\n== ==\n", "R R"),
        ("+--+\n|a |\n+==+\n|1 |\n+--+\n|2 |\n+--+\n", "R1 R R"),
        (".. function:: f(x)\n              g(x)\n\n   Does.\n\n   .. note:: so\n\ntext\n", "S T/1 T/1 T"),
        (".. class:: A\n\n   .. method:: b()\n\n      Does.\n\n   more\n\ntext\n", "S S/1 T/2 T/1 T"),
        (".. py:function:: f\n.. c:macro:: M\n", "S"),
        (">>> 1\n1\n\ntext\n", "C T"),
        (".. a comment\n   Title\n   =====\n\ntext\n", "T T"),
        (":param x: what\n:returns: this\n", "L1 L1"),
    ],
)
def test_restructuredtext(source: str, expected: str) -> None:
    assert kinds(source, ".rst") == expected


def test_titles_of_restructuredtext_are_not_what_is_indented() -> None:
    source = "Top\n===\n\nOne\n---\n\ntext\n\nTwo\n---\n\nDeep\n~~~~\n\ntext\n\n    Not\n    ---\n\nThree\n-----\n\n* Not\n  ---\n"
    found = [(block.label, block.level) for block in blocks_of(source, ".rst") if block.kind is BlockKind.HEADING]
    assert found == [("Top", 1), ("One", 2), ("Two", 2), ("Deep", 3), ("Three", 2)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("one\ntwo\n\nthree\n# no heading\n", "T T"),
        ("The items:\n- a\n  b\n- c\n\ntext - no\n- item\n", "T L1 L1 T"),
        ("1. a\n2. b\n\n(a) c\n\nb) d\n", "L1 L1 L1 L1"),
        ("text of\n1984. It goes on\n", "T"),
        ("x" * 300 + ".\n" + "y" * 300 + ".\nshort\n", "T T T"),
    ],
)
def test_plain_text(source: str, expected: str) -> None:
    assert kinds(source, ".txt") == expected


def test_front_matter_is_counted_and_left_out_or_read_as_text() -> None:
    source = "---\ntitle: Bees\n---\n# One\n"
    [block] = read_blocks(lines_of(source), ".md", FrontMatter(3, {"title": "Bees"}))
    assert (block.kind, block.line, block.start) == (BlockKind.HEADING, 4, 20)
    source = "---\n# a: [\n---\n# One\n"
    found = list(read_blocks(lines_of(source), ".md", FrontMatter(3)))
    assert [(block.kind, block.line) for block in found] == [(BlockKind.TEXT, 1), (BlockKind.HEADING, 4)]
    assert "".join(block.text for block in found) == source


def test_all_endings_have_a_reader() -> None:
    assert sorted(BLOCK_READERS) == [".adoc", ".asciidoc", ".log", ".md", ".org", ".rst", ".tex", ".txt"]
    for ending in BLOCK_READERS:
        assert blocks_of("", ending) == blocks_of("\n \n", ending) == []
