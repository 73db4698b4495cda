"""Blocks of Org files, as Emacs reads them (Org syntax, orgmode.org, 2024)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from searchapp.corpus.blocks import Block, BlockKind, Builder, Located, indent_of, taken
from searchapp.corpus.headings import _clip

_HEADING = re.compile(r"(\*+)[ \t]+(.*)")
_LABEL = re.compile(r"(?:(?:TODO|DONE|NEXT|WAITING|CANCELLED)\s+)?(?:\[#[A-Za-z0-9]\]\s*)?(.*?)(?:\s+:[\w@#%:]+:)?\s*$")
_OPENS = re.compile(r"[ \t]*#\+begin_(\S+)", re.IGNORECASE)
_TITLE = re.compile(r"#\+title:[ \t]*(.*)", re.IGNORECASE)
_ITEM = re.compile(r"[ \t]*(?:[-+]|[0-9]+[.)])(?=[ \t]|$)|[ \t]+\*(?=[ \t])")
_DRAWER = re.compile(r"[ \t]*:[\w-]+:[ \t]*$")
_RULE = re.compile(r"[ \t]*\|[-+]+\|?[ \t]*$")
_QUOTES = ("quote", "verse")


def org_blocks(lines: Iterable[Located]) -> Iterator[Block]:
    """Yield headings, paragraphs, list items, table rows, code, quotes. Below a ``#+TITLE:`` a star is one level more.

    A drawer belongs to the block above it.
    """
    return taken(_Org(), lines)


class _Org:
    """What is open while the lines go by."""

    def __init__(self) -> None:
        self.builder = Builder()
        self._end = ""  # the line, in small letters, that ends what is open
        self._titled = 0
        self._fresh = True
        self._kind = BlockKind.TEXT  # of the lines that go by: rows and fixed width are told by each line

    def read(self, line: Located) -> None:
        bare = line.text.strip()
        if self._end:
            self.builder.add(line) if bare else self.builder.blank(line)
            if bare.lower() == self._end:
                self._end, self._fresh = "", True
        elif not bare:
            self.builder.blank(line)
            self._fresh = True
        elif not self._opens(line, bare):
            self._text(line, bare)

    def _opens(self, line: Located, bare: str) -> bool:
        builder = self.builder
        if heading := _HEADING.match(line.text):
            label = _LABEL.match(heading[2])
            level = len(heading[1]) + self._titled
            builder.begin(BlockKind.HEADING, line, min(level, 50), _clip(label[1] if label else heading[2]))
            self._fresh = True
        elif opening := _OPENS.match(line.text):
            name = opening[1].lower()
            builder.begin(BlockKind.QUOTE if name in _QUOTES else BlockKind.CODE, line)
            self._end = f"#+end_{name}"
        elif (title := _TITLE.match(line.text)) and not self._titled:
            builder.begin(BlockKind.HEADING, line, 1, _clip(title[1]))
            self._titled, self._fresh = 1, True
        elif _DRAWER.match(line.text) and builder.kind is not None:
            builder.add(line)
            self._end = ":end:"
        else:
            return False
        return True

    def _text(self, line: Located, bare: str) -> None:
        builder = self.builder
        if bare[0] == "|":
            self._row(line)
        elif bare[0] == ":" and bare[1:2] in ("", " "):
            self._run(BlockKind.CODE, line)
        elif _ITEM.match(line.text):
            builder.begin(BlockKind.LIST_ITEM, line, level=1 + indent_of(line.text) // 2)
        elif builder.kind is BlockKind.LIST_ITEM and (not self._fresh or line.text[:1].isspace()):
            builder.add(line)
        elif self._fresh or builder.kind is not BlockKind.TEXT:
            builder.begin(BlockKind.TEXT, line)
        else:
            builder.add(line)
        self._fresh = False

    def _row(self, line: Located) -> None:
        goes_on = self.builder.kind is BlockKind.TABLE_ROW and not self._fresh
        if _RULE.match(line.text) and goes_on:
            self.builder.add(line)
        else:
            header = not goes_on and _RULE.match(line.second.rstrip("\n")) is not None
            self.builder.begin(BlockKind.TABLE_ROW, line, level=1 if header else 0)

    def _run(self, kind: BlockKind, line: Located) -> None:
        if self.builder.kind is kind and not self._fresh:
            self.builder.add(line)
        else:
            self.builder.begin(kind, line)
