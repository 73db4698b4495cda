"""Blocks of AsciiDoc files, as Asciidoctor reads them (AsciiDoc language, docs.asciidoctor.org, 2024)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from searchapp.corpus.blocks import Block, BlockKind, Builder, Located, taken
from searchapp.corpus.headings import _clip

_HEADING = re.compile(r"(={1,6}|#{1,6})[ \t]+(\S.*)")
_FENCE = re.compile(r"(-{4,}|\.{4,}|\+{4,}|/{4,}|_{4,}|```\w*|\|={3,})[ \t]*$")
_SHELL = re.compile(r"(?:={4,}|\*{4,}|--)[ \t]*$")  # examples, sidebars, open blocks: their content counts
_ATTRIBUTES = re.compile(r"\[.*\][ \t]*$|\.[^\s.].*$")  # of the block below: attributes, or a title
_ITEM = re.compile(r"[ \t]*(\*{1,6}|-|\.{1,6}|[0-9]+\.|[a-z]\.)[ \t]+\S")
_TERM = re.compile(r"\S.*?:{2,4}(?=[ \t]|$)")


def asciidoc_blocks(lines: Iterable[Located]) -> Iterator[Block]:
    """Yield headings, paragraphs, list items, table rows, code, quotes. Attributes belong to the block below them."""
    return taken(_Asciidoc(), lines)


class _Asciidoc:
    """What is open while the lines go by."""

    def __init__(self) -> None:
        self.builder = Builder()
        self._fence = ""  # the line that ends the block that is open
        self._rows = 0  # in the table that is open, from 1; 0 where none is
        self._fresh = True
        self._ahead = False  # attributes of the next block are open

    def read(self, line: Located) -> None:
        bare = line.text.rstrip()
        if self._rows:
            self._row(line, bare)
        elif self._fence:
            self.builder.add(line) if bare else self.builder.blank(line)
            if bare == self._fence:
                self._fence, self._fresh = "", True
        elif not bare.strip():
            self.builder.blank(line)
            self._fresh, self._ahead = True, False
        elif not self._opens(line, bare):
            self._text(line, bare)

    def _begin(self, kind: BlockKind, line: Located, level: int = 0, label: str = "") -> None:
        """Open a block, with the attributes above it."""
        if self._ahead and kind is not BlockKind.HEADING:
            self.builder.kind, self.builder.level = kind, level
            self.builder.add(line)
        else:
            self.builder.begin(kind, line, level, label)
        self._ahead = self._fresh = False

    def _opens(self, line: Located, bare: str) -> bool:
        if heading := _HEADING.match(bare):
            label = re.sub(r"[ \t]+[=#]+$", "", heading[2])
            self._begin(BlockKind.HEADING, line, len(heading[1]), _clip(label))
            self._fresh = True
        elif fence := _FENCE.match(bare):
            mark = fence[1]
            if mark[0] == "|":
                self._begin(BlockKind.TABLE_ROW, line)
                self._rows = 1
            else:
                self._begin(BlockKind.QUOTE if mark[0] == "_" else BlockKind.CODE, line)
                self._fence = "```" if mark.startswith("```") else bare
        elif _SHELL.match(bare) and self.builder.kind is not None:
            self.builder.add(line)
            self._fresh, self._ahead = True, False
        elif self._fresh and _ATTRIBUTES.match(bare) and line.second.strip():
            if not self._ahead:
                self.builder.begin(BlockKind.TEXT, line)
            else:
                self.builder.add(line)
            self._ahead = True
        else:
            return False
        return True

    def _text(self, line: Located, bare: str) -> None:
        builder = self.builder
        if item := _ITEM.match(bare):
            level = len(item[1]) if item[1][0] in "*." else 1
            self._begin(BlockKind.LIST_ITEM, line, level)
        elif self._fresh and _TERM.match(bare):
            self._begin(BlockKind.LIST_ITEM, line, 1)
        elif bare.strip() == "+" and builder.kind is not None:
            builder.add(line)  # what follows belongs to the item
            self._fresh = False
        elif self._ahead:
            self._begin(BlockKind.TEXT, line)
        elif self._fresh and line.text[0].isspace() and builder.kind is not BlockKind.LIST_ITEM:
            self._begin(BlockKind.CODE, line)
        elif self._fresh and not (builder.kind is BlockKind.LIST_ITEM and line.text[0].isspace()):
            self._begin(BlockKind.TEXT, line)
        else:
            builder.add(line)
            self._fresh = False

    def _row(self, line: Located, bare: str) -> None:
        """Read a line of a table; its first row is a header where a blank line follows it and none stands before."""
        if not bare.strip():
            self.builder.blank(line)
            self._rows += self._rows == 1
        elif _FENCE.match(bare) and bare[0] == "|":
            self.builder.add(line)
            self._rows, self._fresh = 0, True
        elif bare[0] != "|":
            self.builder.add(line)
        elif self._rows == 1:
            self.builder.level = 0 if line.second.strip() else 1
            self.builder.add(line)
            self._rows += 1
        else:
            self.builder.begin(BlockKind.TABLE_ROW, line)
            self._rows += 1
