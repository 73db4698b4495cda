"""Long text cut into passages that know their lines: at headings, blank lines, sentence ends, in this order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain

from searchapp.corpus.headings import Kind, Mark

TARGET_CHARACTERS = 1200
MAX_PASSAGE_CHARACTERS = 2000

# One end mark at a time and few closing quotes: a run of ten million "!" must not backtrack.
_SENTENCE = re.compile(r"[.!?…][\"')\]”’»]{0,3}\s+|[。！？]")
_SENTENCE_AT_END = re.compile(r"[.!?…。！？][\"')\]”’»]{0,3}$")


class Cut(IntEnum):
    """How well the text before a piece can be parted from the piece."""

    CODE = 0
    AFTER_HEADING = 1
    LINE = 2
    SENTENCE = 3
    PARAGRAPH = 4
    SECTION = 5


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one line that is never cut, with what stands between it and the piece before."""

    line: int
    text: str
    gap: str
    cut: Cut
    headings: str
    is_heading: bool


@dataclass(frozen=True, slots=True)
class Passage:
    """What becomes one document: its first and last line (from 1), its text, the headings it stands under."""

    line: int
    end_line: int
    text: str
    headings: str


def passages(marks: Iterable[Mark]) -> Iterator[Passage]:
    """Pack marked lines into passages of up to about 1,200 characters, never over 2,000.

    Every character that is no white space ends up in exactly one passage, in order. A passage begins at each heading
    that follows text; a paragraph or a fenced block is cut only where it is too long alone. Memory: one passage and
    one line.
    """
    held = _Held([])
    for piece in _pieces(marks):
        if held.pieces and piece.cut is Cut.SECTION:
            yield _passage(held.pieces)
            held = _Held([])
        held.add(piece)
        while held.must_cut():
            yield _passage(held.pieces[: held.best])
            held = _Held(held.pieces[held.best :])
    if held.pieces:
        yield _passage(held.pieces)


class _Held:
    """The pieces of the passage in the making, their size, and where they are best cut."""

    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces: list[Piece] = []
        self.best = 0  # the place with the best cut before it, the last such; 0 while there is none
        self._size = 0
        self._body = 0  # the size without headings: a paragraph that fits is not cut because of the heading above it
        for piece in pieces:
            self.add(piece)

    def add(self, piece: Piece) -> None:
        if self.pieces:
            self._size += len(piece.gap)
            if not self.best or piece.cut >= self.pieces[self.best].cut:
                self.best = len(self.pieces)
        self._size += len(piece.text)
        if not piece.is_heading:
            self._body += len(piece.text) + (len(piece.gap) if self._body else 0)
        self.pieces.append(piece)

    def must_cut(self) -> bool:
        if not self.best:
            return False
        is_clean = self.pieces[self.best].cut >= Cut.SENTENCE
        return self._size > MAX_PASSAGE_CHARACTERS or (is_clean and self._body > TARGET_CHARACTERS)


def _passage(held: list[Piece]) -> Passage:
    text = held[0].text + "".join(piece.gap + piece.text for piece in held[1:])
    return Passage(held[0].line, held[-1].line, text.rstrip(), held[-1].headings)


def _pieces(marks: Iterable[Mark]) -> Iterator[Piece]:
    stack: list[tuple[int, str]] = []
    headings = ""
    last: Mark | None = None
    ended = False
    for mark in marks:
        if mark.level:
            stack = [above for above in stack if above[0] < mark.level] + [(mark.level, mark.heading)]
            headings = " > ".join(heading for _, heading in stack if heading)
        cut = _cut_before(mark, last, ended)
        gap = "\n\n" if mark.gap else "\n"
        for text in _fragments(mark):
            yield Piece(mark.number, text, gap, cut, headings, mark.kind is Kind.HEADING)
            ended = bool(_SENTENCE_AT_END.search(text.rstrip()[-5:]))
            gap, cut = "", _cut_between(mark, ended)
        last = mark


def _cut_before(mark: Mark, last: Mark | None, ended: bool) -> Cut:
    if last is None:
        return Cut.SECTION
    if last.kind is Kind.HEADING:
        # Headings that follow each other stay together, and with the text below them.
        return Cut.AFTER_HEADING
    if mark.kind is Kind.HEADING:
        return Cut.SECTION
    inside = mark.kind is Kind.CODE and not mark.opens
    if not inside and (mark.gap or mark.opens or mark.kind is not last.kind):
        return Cut.PARAGRAPH
    return _cut_between(mark, ended)


def _cut_between(mark: Mark, ended: bool) -> Cut:
    if mark.kind is Kind.CODE:
        return Cut.CODE
    return Cut.SENTENCE if ended else Cut.LINE


def _fragments(mark: Mark) -> Iterator[str]:
    """Part a line after each sentence (code and headings: not), and hard where a part is still too long."""
    line = mark.text.rstrip()
    start = 0
    sentences = _SENTENCE.finditer(line) if mark.kind is Kind.TEXT else iter(())
    for end in chain((match.end() for match in sentences), [len(line)]):
        while end - start > MAX_PASSAGE_CHARACTERS:
            space = line.rfind(" ", start + TARGET_CHARACTERS // 2, start + TARGET_CHARACTERS)
            stop = space + 1 if space >= 0 else start + TARGET_CHARACTERS
            if line[start:stop].strip():
                yield line[start:stop]
            start = stop
        if line[start:end].strip():
            yield line[start:end]
        start = end
