"""The structure of a text as a sequence of blocks: headings, paragraphs, list items, table rows, code and so on.

A reader of a format yields blocks in reading order; the cutter (``searchapp.corpus.cut``) packs them into passages and
knows no format. Blocks put end to end are the text: a block includes the blank lines that follow it, so that a passage
is a stretch of the source. For example

    # Bees          HEADING, level 1, label "Bees"

    They fly.       TEXT
    They hum.
                    (belongs to the block above)
    - honey         LIST_ITEM, level 1
    - wax           LIST_ITEM, level 1

A reader that composes the text itself (of a page, a sheet) ends each block with the white space before the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, Protocol


class BlockKind(Enum):
    """What a block is."""

    HEADING = auto()
    TEXT = auto()  # a paragraph
    LIST_ITEM = auto()  # with its continuation lines; an item below it is a block of its own
    TABLE_ROW = auto()
    CODE = auto()
    QUOTE = auto()
    SIGNATURE = auto()  # what a definition begins with: the name of a function, an option, a term


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a file, with the blank lines behind it.

    ``start`` and ``end`` count characters of the decoded text, a line end as one; ``line`` and ``end_line`` count from
    1, without the blank lines. ``level``: of a heading from 1; of a list item how deep it is nested, from 1; of a table
    row 1 where it is the table's header, else 0. ``label``: a heading's or signature's text without marks. ``depth``:
    how many definitions (signatures) it stands in. ``page`` counts from 1, where there are pages;
    ``end_page`` is where it ends, if that is another.

    ``anchor`` is what a link to the place ends in, such as the ``id`` of an HTML element. ``whole``: it begins a part
    that is a passage of its own, such as a slide or a message; a passage never reaches over its start. ``where`` is
    metadata of the place, by the reserved names, such as ``{"slide": 3}``.
    """

    kind: BlockKind
    text: str
    line: int
    end_line: int
    start: int
    end: int
    level: int = 0
    label: str = ""
    depth: int = 0
    page: int | None = None
    anchor: str = ""
    whole: bool = False
    where: Mapping[str, str | int | float | bool] | None = None
    end_page: int | None = None

    @property
    def last_page(self) -> int | None:
        """The page on which it ends."""
        return self.page if self.end_page is None else self.end_page


class Located(NamedTuple):
    """A line of a file: its number (from 1), the character where it starts, its text with a line end of one character.

    ``second`` and ``third`` are the lines that follow it, "" past the end.
    """

    number: int
    start: int
    text: str
    second: str
    third: str


def located(lines: Iterable[tuple[int, str]], skip: int = 0) -> Iterator[Located]:
    """Lines with their places and those that follow them; the first ``skip`` are counted and left out."""
    start = 0
    held: list[tuple[int, str]] = []  # the two lines before the one at hand
    for number, raw in lines:
        text = f"{raw[:-2]}\n" if raw.endswith("\r\n") else raw
        if number <= skip:
            start += len(text)
            continue
        if len(held) < 2:
            held.append((number, text))
            continue
        first, second = held
        yield Located(first[0], start, first[1], second[1], text)
        start += len(first[1])
        held = [second, (number, text)]
    for place, (number, text) in enumerate(held):
        yield Located(number, start, text, held[1][1] if not place and len(held) > 1 else "", "")
        start += len(text)


class Builder:
    """Collects the lines of the block that is open; those that are complete wait in ``ready``."""

    __slots__ = ("_depth", "_end_line", "_held", "_label", "_line", "_start", "kind", "level", "ready")

    def __init__(self) -> None:
        self.ready: list[Block] = []
        self.kind: BlockKind | None = None  # of the open block; None before the first
        self.level = 0
        self._held: list[str] = []
        self._line = self._end_line = self._start = self._depth = 0
        self._label = ""

    def begin(self, kind: BlockKind, line: Located, level: int = 0, label: str = "", depth: int = 0) -> None:
        """Close the block that is open, and open one with this line."""
        self.close()
        self.kind, self.level, self._label, self._depth = kind, level, label, depth
        self._line = self._end_line = line.number
        self._start = line.start
        self._held = [line.text]

    def add(self, line: Located) -> None:
        """Put a line that is not blank to the open block."""
        self._held.append(line.text)
        self._end_line = line.number

    def blank(self, line: Located) -> None:
        """Put a blank line to the open block; before the first block it is passed over."""
        if self.kind is not None:
            self._held.append(line.text)

    def close(self) -> None:
        """Complete the open block."""
        if self.kind is None:
            return
        text = "".join(self._held)
        self.ready.append(
            Block(
                self.kind, text, self._line, self._end_line, self._start, self._start + len(text),
                self.level, self._label, self._depth,
            )
        )  # fmt: skip
        self.kind = None

    def take(self) -> list[Block]:
        """The blocks that are complete; they are handed out once."""
        ready, self.ready = self.ready, []
        return ready


class LineReader(Protocol):
    """Reads a text line by line, and puts each line to a block."""

    builder: Builder

    def read(self, line: Located) -> None:
        """Take the next line."""


def taken(reader: LineReader, lines: Iterable[Located]) -> Iterator[Block]:
    """Yield the blocks that a reader of lines makes, each as soon as it is complete."""
    for line in lines:
        reader.read(line)
        if reader.builder.ready:
            yield from reader.builder.take()
    reader.builder.close()
    yield from reader.builder.take()


def indent_of(text: str) -> int:
    """The width of a line's indentation in columns; a tab reaches to the next multiple of four."""
    lead = text[: len(text) - len(text.lstrip(" \t"))]
    return len(lead.expandtabs(4)) if "\t" in lead else len(lead)
