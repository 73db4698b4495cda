"""Blocks of LaTeX files: what is a section, an item, a formula, without running any macro."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from searchapp.corpus.blocks import Block, BlockKind, Builder, Located, taken
from searchapp.corpus.headings import _clip

_LEVELS = {
    "title": 1, "part": 2, "chapter": 3, "section": 4, "subsection": 5, "subsubsection": 6, "paragraph": 7,
    "subparagraph": 8, "frametitle": 6,
}  # fmt: skip
_HEADING = re.compile(rf"[ \t]*\\({'|'.join(_LEVELS)})\*?[ \t]*(?:\[[^\]]*\])?[ \t]*\{{")
_FRAME = re.compile(r"[ \t]*\\begin\{frame\}(?:\[[^\]]*\])?\{")
_BEGIN = re.compile(r"[ \t]*\\begin\{([\w*]+)\}")
_ABSTRACT = re.compile(r"[ \t]*\\begin\{abstract\}")
_ITEM = re.compile(r"[ \t]*\\item\b")
_CODE = frozenset(
    "verbatim verbatim* lstlisting minted alltt equation equation* align align* gather gather* multline multline* "
    "eqnarray eqnarray* displaymath math tabular tabular* tabularx longtable array tikzpicture algorithmic "
    "thebibliography filecontents filecontents* comment".split()
)
_QUOTES = ("quote", "quotation", "verse", "displayquote")
_COMMAND = re.compile(r"\\(?:label|index|footnote|thanks|cite\w*|ref)\{[^{}]*\}|\\[a-zA-Z]+\*?[ \t]*|[{}]")


def latex_blocks(lines: Iterable[Located]) -> Iterator[Block]:
    """Yield sections, paragraphs, items of lists, formulas, tables and listings (as code), quotes."""
    return taken(_Latex(), lines)


class _Latex:
    """What is open while the lines go by."""

    def __init__(self) -> None:
        self.builder = Builder()
        self._end = ""  # what ends the environment that is open
        self._lists = 0
        self._fresh = True

    def read(self, line: Located) -> None:
        text = line.text
        if self._end:
            self.builder.add(line) if text.strip() else self.builder.blank(line)
            if self._end in text:
                self._end, self._fresh = "", True
        elif not text.strip():
            self.builder.blank(line)
            self._fresh = True
        elif "\\" not in text or not self._opens(line):
            self._text(line)

    def _opens(self, line: Located) -> bool:
        text, builder = line.text, self.builder
        heading = _HEADING.match(text)
        if heading or (heading := _FRAME.match(text)):
            level = _LEVELS[heading[1]] if heading.re is _HEADING else 6
            builder.begin(BlockKind.HEADING, line, level, _label(text[heading.end() :] + line.second))
            self._fresh, self._lists = True, 0
        elif _ABSTRACT.match(text):
            builder.begin(BlockKind.HEADING, line, 4, "Abstract")
            self._fresh = True
        elif _ITEM.match(text):
            builder.begin(BlockKind.LIST_ITEM, line, max(1, self._lists))
            self._fresh = False
        elif begin := _BEGIN.match(text):
            self._begin(line, begin[1])
        else:
            if "\\end{" in text and self._lists and re.search(r"\\end\{(?:itemize|enumerate|description)\}", text):
                self._lists -= 1
                builder.add(line) if builder.kind is not None else builder.begin(BlockKind.TEXT, line)
                self._fresh = True
                return True
            return False
        return True

    def _begin(self, line: Located, name: str) -> None:
        if name in ("itemize", "enumerate", "description"):
            self._lists += 1
            self._text(line)
            self._fresh = False
            return
        kind = BlockKind.CODE if name in _CODE else BlockKind.QUOTE if name in _QUOTES else BlockKind.TEXT
        self.builder.begin(kind, line)
        self._fresh = False
        if kind is not BlockKind.TEXT and f"\\end{{{name}}}" not in line.text:
            self._end = f"\\end{{{name}}}"
        elif kind is not BlockKind.TEXT:
            self._fresh = True

    def _text(self, line: Located) -> None:
        inside = self.builder.kind is BlockKind.LIST_ITEM and self._lists > 0
        if self._fresh and not inside or self.builder.kind is None:
            self.builder.begin(BlockKind.TEXT, line)
        else:
            self.builder.add(line)
        self._fresh = False


def _label(text: str) -> str:
    """What stands before the brace that closes, without commands."""
    depth = 1
    for place, character in enumerate(text[:1_000]):
        if character in "{}" and text[place - 1 : place] != "\\":
            depth += 1 if character == "{" else -1
            if not depth:
                text = text[:place]
                break
    text = _COMMAND.sub("", text.replace("\\\\", " ").replace("~", " "))
    return _clip(re.sub(r"\\(.)", r"\1", text))
