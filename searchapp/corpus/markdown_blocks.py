"""Blocks of Markdown, as CommonMark and GitHub's tables have them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from searchapp.corpus.blocks import Block, BlockKind, Builder, Located, indent_of, taken
from searchapp.corpus.headings import _ATX, _NO_SETEXT, _atx_text, _clip, _closes, _opening, _setext_level

_ITEM = re.compile(r"[ \t]*([-+*]|[0-9]{1,9}[.)])(?=[ \t]|$)([ \t]*)")
_BREAK = re.compile(r" {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$")
_DELIMITER = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_SPECIAL = frozenset("#`~-+*_><|0123456789")  # what a line begins with that is more than text


def markdown_blocks(lines: Iterable[Located]) -> Iterator[Block]:
    """Yield headings, paragraphs, list items, table rows, code, quotes. What stands in HTML comments is no heading."""
    return taken(_Markdown(), lines)


class _Markdown:
    """What is open while the lines go by."""

    def __init__(self) -> None:
        self.builder = Builder()
        self._fence = ""  # the marks that opened the code
        self._comment = False
        self._underline = False  # the next line belongs to the heading
        self._header = False  # the next line is the delimiter row of a table
        self._table = False
        self._indented = 0  # the columns before the indented code that is open; 0 where none is
        self._items: list[int] = []  # the columns where the text of each open list item begins
        self._fresh = True  # a paragraph can begin: at the top, after a blank line, a heading or code

    def read(self, line: Located) -> None:
        text = line.text
        if text.isspace() or not text:
            self.builder.blank(line)
            self._fresh, self._table = True, False
        elif self._fence:
            self.builder.add(line)
            if _closes(text, self._fence):
                self._fence, self._fresh = "", True
        elif self._comment:
            self.builder.add(line)
            self._end_comment(text)
        elif self._underline or self._header:
            self.builder.add(line)
            self._table, self._fresh = self._header, self._underline
            self._underline = self._header = False
        else:
            self._block(line)

    def _block(self, line: Located) -> None:
        text, builder = line.text, self.builder
        first = text[0]
        if not self._fresh and not self._table and first not in _SPECIAL and not first.isspace() and "|" not in text:
            builder.add(line)  # by far the most lines
            return
        indent = indent_of(text)
        within = self._items[-1] if self._items else 0
        if self._continues_code(line, indent, within) or self._opens_other(line, indent):
            return
        if self._opens_table(line):
            return
        if self._fresh:
            left = self._leave_items(indent)
            if self._items and builder.kind is BlockKind.LIST_ITEM and not left:
                builder.add(line)  # a paragraph of the item
            else:
                builder.begin(BlockKind.TEXT, line)
        else:
            builder.add(line)
        self._fresh = False

    def _continues_code(self, line: Located, indent: int, within: int) -> bool:
        """Read a line of indented code, which a blank line stands before."""
        if indent < within + 4 or not self._fresh or _is_item(line.text) and within:
            return False
        if self.builder.kind is BlockKind.CODE and self._indented == within + 4:
            self.builder.add(line)
        else:
            self.builder.begin(BlockKind.CODE, line)
        self._indented = within + 4
        return True  # what follows is code as long as it is indented, hence still fresh

    def _opens_other(self, line: Located, indent: int) -> bool:
        """Read the first line of a fence, heading, list item, quote or comment."""
        text, builder = line.text, self.builder
        first = text[indent : indent + 1] if "\t" not in text[:indent] else text.lstrip()[0]
        bare = text.rstrip()
        if first in "`~" and (fence := _opening(bare)):
            builder.begin(BlockKind.CODE, line)
            self._fence = fence
        elif first == "#" and (atx := _ATX.match(bare)):
            self._heading(line, len(atx[1]), _atx_text(bare[atx.end() :]))
            self._fresh = True
        elif self._fresh and not _NO_SETEXT.match(bare) and (level := _setext_level(line.second)):
            self._heading(line, level, _clip(bare))
            self._underline = True
        elif first == ">":
            if builder.kind is BlockKind.QUOTE and not self._fresh:
                builder.add(line)
            else:
                self._leave_items(indent)
                builder.begin(BlockKind.QUOTE, line)
            self._fresh = False
        elif text.lstrip().startswith("<!--"):
            builder.begin(BlockKind.TEXT, line)
            self._comment = True
            self._end_comment(text.lstrip()[4:])
        elif first in "-*_" and _BREAK.match(bare) and self._fresh:
            self._items.clear()
            builder.begin(BlockKind.TEXT, line)
            self._fresh = True
        elif (item := _ITEM.match(bare)) and (
            self._fresh or builder.kind is BlockKind.LIST_ITEM or item[1] in ("-", "+", "*", "1.", "1)")
        ):
            while self._items and indent < self._items[-1]:
                self._items.pop()
            self._items.append(indent + len(item[1]) + min(max(1, len(item[2])), 4))
            builder.begin(BlockKind.LIST_ITEM, line, level=len(self._items))
            self._fresh = False
        else:
            return False
        self._table, self._indented = False, 0
        return True

    def _opens_table(self, line: Located) -> bool:
        """Read the header of a table, whose delimiter row follows, or a row behind it."""
        text = line.text
        if self._table:
            self.builder.begin(BlockKind.TABLE_ROW, line)
        elif "|" in text and "|" in line.second and "-" in line.second and _DELIMITER.match(line.second.rstrip()):
            self.builder.begin(BlockKind.TABLE_ROW, line, level=1)
            self._header = True
        else:
            return False
        self._fresh = False
        return True

    def _heading(self, line: Located, level: int, label: str) -> None:
        self._items.clear()
        self.builder.begin(BlockKind.HEADING, line, level, label)

    def _end_comment(self, text: str) -> None:
        if "-->" in text:
            self._comment = False
            self._fresh = True
        else:
            self._fresh = False

    def _leave_items(self, indent: int) -> bool:
        """Close the list items that a line with this indentation does not belong to; whether there were some."""
        left = False
        while self._items and indent < self._items[-1]:
            self._items.pop()
            left = True
        return left


def _is_item(text: str) -> bool:
    return _ITEM.match(text) is not None
