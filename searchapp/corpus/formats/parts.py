"""Parts of a document before they are blocks: paragraphs and tables, which stand in one another in office formats.

A paragraph may hold a text box that holds a table whose cells hold paragraphs. ``Parts`` keeps what is open on a stack
of its own and hands out a flat sequence: a table becomes rows, a table inside a cell becomes text of that cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.markup import label_of
from searchapp.corpus.formats.reading import Composer, Value

SEPARATOR = " | "  # between the cells of a row
_LONG_ROW = 1_000  # characters from which on a row is layout, not a record: its paragraphs stand for themselves
_LAYOUT = 200  # characters in a lone cell of several paragraphs from which on the same holds


class Part(NamedTuple):
    """A paragraph, heading, list item, row …; the fields are those of ``Block``.

    ``label`` None: that of a heading or signature is its text.
    """

    kind: BlockKind
    text: str
    level: int = 0
    depth: int = 0
    anchor: str = ""
    label: str | None = None


class _Table:
    """A table that is open: its rows so far, and whether its first row is its header."""

    __slots__ = ("has_header", "rows")

    def __init__(self, has_header: bool) -> None:
        self.has_header, self.rows = has_header, 0


class Parts:
    """Collects parts; those that are complete wait in ``ready``."""

    def __init__(self) -> None:
        self.ready: list[Part] = []
        self._sinks: list[list[Part]] = [self.ready]  # where a part goes: the innermost cell or text box that is open
        self._tables: list[_Table] = []
        self._rows: list[tuple[list[list[Part]], bool]] = []  # cells of each open row, and whether it is a header

    def put(self, part: Part) -> None:
        """Add a part where it stands."""
        self._sinks[-1].append(part)

    def put_code(self, text: str) -> None:
        """Add a line of code, or several; it goes on in the code directly above it."""
        text = "\n".join(line.rstrip() for line in text.split("\n"))
        sink = self._sinks[-1]
        if sink and sink[-1].kind is BlockKind.CODE:
            sink[-1] = sink[-1]._replace(text=f"{sink[-1].text}\n{text}")
        elif text.strip():
            sink.append(Part(BlockKind.CODE, text.strip("\n")))

    def hold(self) -> None:
        """What is put from now on stands inside a paragraph that is not complete: a text box, a note."""
        self._sinks.append([])

    def release(self) -> list[Part]:
        """What was put since ``hold``."""
        return self._sinks.pop()

    def open_table(self, *, has_header: bool = False) -> None:
        """A table begins; with ``has_header`` its first row names its columns."""
        self._tables.append(_Table(has_header))

    def set_header(self) -> None:
        """The first row of the table that is open names its columns, as is known behind the table's start."""
        if self._tables:
            self._tables[-1].has_header = True

    def close_table(self) -> None:
        """A table ends."""
        if self._tables:
            self._tables.pop()

    def open_row(self, *, header: bool = False) -> None:
        """A row begins."""
        self._rows.append(([], header))

    def set_row_header(self) -> None:
        """The row that is open names the columns."""
        if self._rows:
            self._rows[-1] = (self._rows[-1][0], True)

    def open_cell(self) -> None:
        """A cell begins."""
        self._sinks.append([])

    def close_cell(self) -> None:
        """A cell ends."""
        cell = self._sinks.pop()
        if self._rows:
            self._rows[-1][0].append(cell)
        else:
            self._sinks[-1].extend(cell)

    def close_row(self) -> None:
        """A row ends: it becomes a part, or its paragraphs do where it only lays out a page."""
        cells, header = self._rows.pop()
        table = self._tables[-1] if self._tables else _Table(False)
        first, table.rows = table.rows == 0, table.rows + 1
        texts = [" ".join(part.text.replace("\n", " ") for part in cell) for cell in cells]
        filled = [number for number, text in enumerate(texts) if text]
        if not filled:
            return
        length = sum(map(len, texts))
        lone = len(filled) == 1 and len(cells[filled[0]]) > 1 and length > _LAYOUT
        if lone or length > _LONG_ROW:
            for cell in cells:
                self._sinks[-1].extend(cell)
            return
        level = 1 if first and (header or table.has_header) else 0
        self.put(Part(BlockKind.TABLE_ROW, SEPARATOR.join(texts).strip(), level))

    def take(self) -> list[Part]:
        """The parts that are complete; they are handed out once."""
        taken = self.ready[:]
        self.ready.clear()
        return taken


def compose(
    parts: list[Part],
    composer: Composer,
    *,
    page: int | None = None,
    whole: bool = False,
    where: Mapping[str, Value] | None = None,
) -> Iterator[Block]:
    """Yield parts as blocks; with ``whole`` the first begins a part of the document that is a passage of its own."""
    for part in parts:
        text = part.text.rstrip()
        if not text:
            continue
        label = part.label
        if label is None:
            label = label_of(part.text) if part.kind in (BlockKind.HEADING, BlockKind.SIGNATURE) else ""
        yield composer.block(
            part.kind, text, level=part.level, label=label, depth=part.depth, page=page, anchor=part.anchor,
            whole=whole, where=where,
        )  # fmt: skip
        whole = False
