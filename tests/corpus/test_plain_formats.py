"""Blocks of Org, AsciiDoc, LaTeX and log files, and that blocks laid end to end are the text, of their own marks too."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.corpus.blocks import BlockKind
from tests.corpus.test_blocks import SHORT, kinds
from tests.corpus.test_cut import blocks_of

MARKS = {
    ".org": ["* A", "** TODO [#A] B :x:y:", "#+TITLE: T", "#+begin_src py", "#+end_src", ":PROPERTIES:", ":END:", "- i", "| a |", "|---|", ": x", "#+begin_quote", "#+end_quote"],
    ".adoc": ["= A", "== B", "----", "[source,py]", ".Title", "|===", "| a | b", "* i", "** j", "term:: x", "____", "====", "+", "--", "////", " x", "```"],
    ".tex": ["\\section{A}", "\\begin{itemize}", "\\item x", "\\end{itemize}", "\\begin{equation}", "\\end{equation}", "\\begin{quote}", "\\end{quote}", "\\title{T", "}", "% c", "\\begin{abstract}", "\\begin{frame}{F}"],
    ".log": ["2024 INFO a", "  at b", "Traceback (x)", "}"],
}  # fmt: skip


@pytest.mark.parametrize("ending", sorted(MARKS))
def test_blocks_laid_end_to_end_are_the_text(ending: str) -> None:
    @given(st.lists(st.sampled_from([*MARKS[ending], "", "", "words", "  words"]), max_size=14))
    @settings(max_examples=150, deadline=None)
    def check(lines: list[str]) -> None:
        body = "".join(f"{line}\n" for line in lines)
        blocks = blocks_of(body, ending)
        assert "".join(block.text for block in blocks) == body[blocks[0].start if blocks else len(body) :]
        for block in blocks:
            assert body[block.start : block.end] == block.text
            assert block.line == 1 + body.count("\n", 0, block.start)

    check()


@pytest.mark.parametrize(
    ("source", "ending", "expected"),
    [
        ("* One\ntext\n** Two\n:PROPERTIES:\n:a: b\n:END:\nmore\n", ".org", "H1 T H2 T"),
        ("#+TITLE: Top\n* One\n", ".org", "H1 H2"),
        ("#+BEGIN_SRC py\n* no\n\n#+END_SRC\ntext\n#+begin_quote\nx\n#+end_quote\n", ".org", "C T Q"),
        ("- a\n  more\n  - b\n\n  of b\n1. c\n\ntext\n", ".org", "L1 L2 L1 T"),
        ("| N | A |\n|---+---|\n| x | 1 |\n|---+---|\n| y | 2 |\ntext\n", ".org", "R1 R R T"),
        (": fixed\n: width\ntext\n*bold* text\n", ".org", "C T"),
        ("= Top\n:toc:\n\n== One\ntext\n\n=== Two ===\n", ".adoc", "H1 T H2 T H3"),
        ("[source,py]\n----\n== no\n\n----\ntext\n", ".adoc", "C T"),
        (".Title\n[cols=2]\n|===\n| N | A\n\n| x | 1\n| y\n| 2\n|===\ntext\n", ".adoc", "R1 R R R T"),
        ("|===\n| x | 1\n| y | 2\n|===\n", ".adoc", "R R"),
        ("* a\n** b\n+\nof b\n\n. one\nterm:: what\n\n____\nsaid\n____\n", ".adoc", "L1 L2 L1 Q"),
        ("text\n\n literal\n\n====\nexample\n====\n", ".adoc", "T C T"),
        ("\\title{Top}\n\\begin{abstract}\nx\n\\end{abstract}\n\\section{One}\ntext\n\n\\subsection*{Two}\n", ".tex", "H1 H4 T H4 T H5"),
        ("\\begin{itemize}\n\\item a\nmore\n\n of a\n\\begin{enumerate}\n\\item b\n\\end{enumerate}\n\\end{itemize}\ntext\n", ".tex", "T L1 L2 T"),
        ("text\n\\begin{equation}\n\\section{no}\n\\end{equation}\n\\begin{quote}\nx\n\\end{quote}\nmore\n", ".tex", "T C Q T"),
        ("2024 INFO a\n2024 WARN b\n  at c\n\nTraceback (x)\n", ".log", "R R"),
    ],
)  # fmt: skip
def test_kinds(source: str, ending: str, expected: str) -> None:
    assert kinds(source, ending) == expected


@pytest.mark.parametrize(
    ("source", "ending", "label"),
    [
        ("** TODO [#A] Buy honey :shop:bees:\n", ".org", "Buy honey"),
        ("** DONE\n", ".org", "DONE"),
        ("== Honey & *wax* ==\n", ".adoc", "Honey & *wax*"),
        ("\\section[short]{The \\emph{long} title~of {A}\\label{sec:a} \\& B}\n", ".tex", "The long title of A & B"),
        ("\\section{over two\nlines} text\n", ".tex", "over two lines"),
        ("\\section{never closed\n", ".tex", "never closed"),
        ("\\begin{frame}[fragile]{A slide}\n", ".tex", "A slide"),
    ],
)
def test_labels(source: str, ending: str, label: str) -> None:
    assert [block.label for block in blocks_of(source, ending) if block.kind is BlockKind.HEADING] == [label]
    assert SHORT[BlockKind.HEADING] == "H"
