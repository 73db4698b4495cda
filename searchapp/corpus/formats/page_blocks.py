"""The blocks of a page of HTML from what happens in it: an element begins, text, an element ends.

Headings, paragraphs, list items, entries of definition lists, rows of tables and code become blocks. Menus, scripts and
forms are left out. Whoever parses the page (a tree, a stream of tags) calls ``begin``, ``text`` and ``end`` in order,
or ``leaf`` for an element of which only the text counts. Nothing here calls itself: nesting has no bound.
"""

from __future__ import annotations

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.reading import Composer, Limits

DROPPED = frozenset(
    "script style noscript template nav footer iframe object embed applet canvas audio video map button select "
    "input textarea datalist dialog head".split()
)
BLOCKS = frozenset(
    "html body main article section div p header aside address figure figcaption details summary fieldset legend form "
    "center hr ul ol menu dir li dl dt dd blockquote pre listing xmp table caption thead tbody tfoot tr td th "
    "h1 h2 h3 h4 h5 h6".split()
)
HEADINGS = {f"h{level}": level for level in range(1, 7)}
CODE = frozenset(("pre", "listing", "xmp"))
LEAVES = frozenset((*HEADINGS, *CODE, "p", "dt"))  # no block of another kind stands in them
_IN_CELLS = frozenset(("p", "div", "section", "span", "center"))  # blocks that a cell of a table may have
_CELLS = frozenset(("td", "th"))
_LISTS = frozenset(("ul", "ol", "menu", "dir"))
_LABEL = 200  # characters of a heading in the path of a passage


class _Row:
    """A row of a table: its cells, and whether it is made of headers alone."""

    __slots__ = ("anchor", "cells", "is_header", "is_open")

    def __init__(self, anchor: str) -> None:
        self.cells: list[str] = []
        self.is_header = True
        self.is_open = True  # false once a cell has turned out to hold more than a line: it is laid out by the table
        self.anchor = anchor


class PageBlocks:
    """Makes blocks of a page's elements; ``take`` gives those that are complete."""

    def __init__(self, limits: Limits) -> None:
        self._compose = Composer(limits).block
        self._ready: list[Block] = []
        self._parts: list[str] = []  # of the block that is open
        self._anchor = ""  # of the next block
        self._open: list[str] = []  # elements that matter: lists and their items, definitions, quotes, code
        self._lists: list[int] = []  # of each list that is open: the number of its next item; 0: it has none
        self._fresh = False  # whether the item at hand has no block yet
        self._depth = self._quotes = self._code = 0
        self._rows: list[_Row] = []
        self._cells = 0  # open, of rows that are open

    def take(self) -> list[Block]:
        """The blocks that are complete; they are handed out once."""
        ready, self._ready = self._ready, []
        return ready

    def close(self) -> None:
        """End what is open, at the end of the page."""
        self._flush()

    def text(self, text: str) -> None:
        """Text as it stands in the page, references resolved."""
        self._parts.append(text)

    def anchor(self, name: str) -> None:
        """The place at hand can be linked to by this name."""
        self._anchor = name or self._anchor

    def leaf(self, tag: str, text: str) -> None:
        """An element of ``LEAVES`` that only has text."""
        if tag == "p" and self._cells:
            self._parts += (" ", text, " ")
            return
        self.begin(tag)
        self._parts.append(text)
        self.end(tag)

    def begin(self, tag: str) -> None:
        """An element begins."""
        if tag not in BLOCKS:
            if tag == "br":
                self._parts.append("\n")
            return
        if self._cells and tag not in _CELLS and tag != "tr":
            if tag in _IN_CELLS:
                self._parts.append(" ")
                return
            self._lay_out()
        else:
            self._flush()
        if tag in CODE:
            self._code += 1
        elif tag in _LISTS:
            self._lists.append(1 if tag == "ol" else 0)
        elif tag == "li":
            self._fresh = True
        elif tag == "dd":
            self._depth += 1
        elif tag == "blockquote":
            self._quotes += 1
        elif tag == "tr":
            self._rows.append(_Row(self._anchor))
            self._anchor = ""
        elif tag in _CELLS and self._rows and self._rows[-1].is_open:
            self._cells = 1
            self._rows[-1].is_header &= tag == "th"

    def end(self, tag: str) -> None:
        """An element ends; one that never began is passed over."""
        if tag not in BLOCKS:
            return
        if tag in _CELLS and self._cells:
            self._rows[-1].cells.append(" ".join("".join(self._parts).split()))
            self._parts.clear()
            self._cells = 0
            return
        if self._cells and tag in _IN_CELLS:
            self._parts.append(" ")
            return
        if tag in HEADINGS:
            self._heading(HEADINGS[tag])
        elif tag == "dt":
            self._signature()
        elif tag == "tr":
            self._row()
        else:
            self._flush()
        if tag in CODE:
            self._code = max(0, self._code - 1)
        elif tag in _LISTS and self._lists:
            self._lists.pop()
            self._fresh = False
        elif tag == "dd":
            self._depth = max(0, self._depth - 1)
        elif tag == "blockquote":
            self._quotes = max(0, self._quotes - 1)

    def _flush(self) -> None:
        """Complete the block that is open, if it has any text."""
        if not self._parts:
            return
        text = "".join(self._parts)
        self._parts.clear()
        if self._code:
            text = text.replace("\r\n", "\n").strip("\n").rstrip()
            if text:
                self._emit(BlockKind.CODE, text)
            return
        text = " ".join(text.split())
        if not text:
            return
        if self._fresh:
            self._item(text)
        else:
            self._emit(BlockKind.QUOTE if self._quotes else BlockKind.TEXT, text)

    def _item(self, text: str) -> None:
        self._fresh = False
        mark = "-"
        if self._lists and self._lists[-1]:
            mark = f"{self._lists[-1]}."
            self._lists[-1] += 1
        level = max(1, len(self._lists))
        self._emit(BlockKind.LIST_ITEM, f"{mark} {text}", level)

    def _heading(self, level: int) -> None:
        label = " ".join("".join(self._parts).split())
        self._parts.clear()
        self._fresh = False
        if label:
            self._ready.append(
                self._compose(
                    BlockKind.HEADING,
                    label,
                    level=level,
                    label=label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…",
                    anchor=self._anchor,
                )
            )
            self._anchor = ""

    def _signature(self) -> None:
        text = " ".join("".join(self._parts).split())
        self._parts.clear()
        if text:
            label = text if len(text) <= _LABEL else f"{text[: _LABEL - 1]}…"
            self._emit(BlockKind.SIGNATURE, text, label=label)

    def _row(self) -> None:
        """Complete a row: one block of its cells, or the text behind the last block of a cell."""
        row = self._rows.pop() if self._rows else None
        self._cells = 0
        if row is None or not row.is_open:
            self._flush()
            return
        self._parts.clear()
        text = " | ".join(row.cells).strip(" |")
        if text:
            self._anchor = self._anchor or row.anchor
            self._emit(BlockKind.TABLE_ROW, text, 1 if row.is_header and len(row.cells) > 1 else 0)

    def _lay_out(self) -> None:
        """A cell holds blocks: its row is no row of a table but a layout; what it has so far is text."""
        row = self._rows[-1]
        row.is_open, self._cells = False, 0
        cells, self._parts = [*row.cells, "".join(self._parts)], []
        for cell in cells:
            self._parts.append(cell)
            self._flush()

    def _emit(self, kind: BlockKind, text: str, level: int = 0, label: str = "") -> None:
        self._ready.append(self._compose(kind, text, level=level, label=label, depth=self._depth, anchor=self._anchor))
        self._anchor = ""
