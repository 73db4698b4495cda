"""Pieces: blocks with what the cutter needs to know, how well the text can be cut before each and its headings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

from searchapp.corpus.blocks import Block, BlockKind


class Rank(IntEnum):
    """How well the text can be cut before a piece: a higher rank is a better place."""

    GLUE = 0  # a heading, a signature, a table's header stay with what follows
    LINE = 1
    SUBITEM = 2
    ITEM = 3
    PARAGRAPH = 4
    DEFINITION = 5
    SECTION = 6


class Piece(NamedTuple):
    """The characters ``begin`` to ``end`` of a block, up to ``stop`` without the blanks at their end.

    ``scope``: the headings and definitions it stands under. ``header``: the header of the table it is a row of.
    ``anchor`` and ``where`` are the block's, else those of the nearest block before it that has them.
    """

    block: Block
    begin: int
    end: int
    stop: int
    line: int
    rank: Rank
    scope: tuple[str, ...]
    header: str
    anchor: str = ""
    where: Mapping[str, str | int | float | bool] | None = None

    @property
    def start(self) -> int:
        """The character of the file where it begins."""
        return self.block.start + self.begin

    @property
    def text(self) -> str:
        """Its characters."""
        return self.block.text[self.begin : self.end]

    def part(self, begin: int, end: int) -> Piece:
        """A part of it; ``begin`` and ``end`` count in the block."""
        text = self.block.text
        stop = min(end, self.stop)
        if end < self.end:
            stop = begin + len(text[begin:end].rstrip())
        line = self.line + (text.count("\n", self.begin, begin) if begin > self.begin else 0)
        return self._replace(begin=begin, end=end, stop=stop, line=line)


def pieces(blocks: Iterable[Block]) -> Iterator[Piece]:
    """Yield a piece for each block that is not blank."""
    headings: list[tuple[int, str]] = []
    path: tuple[str, ...] = ()
    definitions: list[str] = []
    header = anchor = ""
    where: Mapping[str, str | int | float | bool] | None = None
    last: Block | None = None
    for block in blocks:
        if block.whole:
            anchor, where = "", None
        anchor = block.anchor or anchor
        where = block.where or where
        stop = len(block.text.rstrip())
        if not stop:
            continue
        kind = block.kind
        if kind is BlockKind.HEADING:
            while headings and headings[-1][0] >= block.level:
                headings.pop()
            headings.append((block.level, block.label))
            path = tuple(label for _, label in headings if label)
            definitions.clear()
        del definitions[block.depth :]
        scope = (*path, *definitions) if definitions else path
        if kind is BlockKind.SIGNATURE:
            definitions.append(block.label)
        if kind is not BlockKind.TABLE_ROW:
            header = ""
        own = header if not block.level else ""
        yield Piece(block, 0, len(block.text), stop, block.line, _rank(block, last), scope, own, anchor, where)
        if kind is BlockKind.TABLE_ROW and block.level:
            header = f"{block.text.rstrip()}\n"
        last = block


def _rank(block: Block, last: Block | None) -> Rank:
    kind = block.kind
    if last is None or block.whole:
        return Rank.SECTION
    if last.kind is BlockKind.HEADING:
        return Rank.GLUE
    if kind is BlockKind.HEADING:
        return Rank.SECTION
    if kind is BlockKind.SIGNATURE:
        # Names that follow one another share what is said below them.
        return Rank.LINE if last.kind is BlockKind.SIGNATURE else Rank.DEFINITION
    if last.kind is BlockKind.SIGNATURE:
        return Rank.GLUE
    if kind is last.kind is BlockKind.TABLE_ROW and last.level > block.level:
        return Rank.GLUE
    if kind is last.kind and kind in (BlockKind.LIST_ITEM, BlockKind.TABLE_ROW) and block.depth == last.depth:
        return Rank.SUBITEM if kind is BlockKind.LIST_ITEM and block.level > 1 else Rank.ITEM
    introduced = kind is not BlockKind.TEXT or last.kind is BlockKind.LIST_ITEM
    if introduced and block.depth == last.depth and last.text.rstrip().endswith((":", "：")):  # noqa: RUF001
        return Rank.ITEM
    return Rank.PARAGRAPH
