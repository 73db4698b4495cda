r"""Passages: what becomes one document each when a text file is read, cut by the tokens that the encoder reads.

A passage is a stretch of the file, character by character, that stands under one heading and fits into a budget of
characters and of tokens, its title among them. The title is the path of headings, so that a hit says where it stands:

    # Bees                          title: Bees
    Bees live in hives.             "# Bees\nBees live in hives."
    ## Honey                        title: Bees > Honey
    Honey is food:                  "## Honey\nHoney is food:\n- for bees\n- for bears"
    - for bees
    - for bears

The rule, version 2 (version 1 is ``searchapp.corpus.passages``):

1. The text is cut before every heading that follows text. Headings that follow one another stay with what is below.
   A part that is ``whole``, such as a slide or a message, is cut off from what is before and after it.
2. A definition (what Sphinx describes: a function, an option) gets a passage of its own; one under 300 characters is
   joined with the next. A passage inside a definition has the definition's name in its path.
3. What is longer than the budget is cut at the best place: before a definition, a paragraph, a list item or table row,
   a nested item. Of several places of one kind the last is taken; a place that would leave less than a quarter of the
   budget filled (before a definition: an eighth) is taken only where there is no other. So short neighbours under one
   heading are joined, and items, rows, paragraphs and code stay whole.
4. Only what is too long alone is cut inside: at a blank line, a sentence, a line, a word, between grapheme clusters.
   A cluster is cut where it alone is too long; nothing but a single character can pass the budget.
5. A passage that begins inside a table repeats the table's header, before its own text.
6. Where 3,000 characters have no heading, a passage that begins between or inside paragraphs repeats the end of the one
   before, up to 15 % of it, from where a sentence begins.
7. A title takes at most a third of the tokens: its outer headings go first, then the end of the last one.

How a section is cut depends on that section alone: an edit changes the passages of its section only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.cut_points import blanks_at, cut_point, overlap_point
from searchapp.corpus.cut_rule import CutRule, Measure, estimate
from searchapp.corpus.pieces import Piece, Rank, pieces
from searchapp.corpus.titles import Titles

JOINED = 300  # characters up to which a definition is joined with the next
LONG = 3_000  # characters without a heading from which on passages overlap
OVERLAP = 0.15
RANGES = frozenset(("rows", "time"))  # of a place: a number or time, or two with a hyphen between
_INDENT = 64  # blanks at the start of a passage that are kept: more are no indentation
_SHRINK = (0.97, 0.9, 0.75, 0.5)  # of the characters that should fit, the first, second, … time a passage is too long


@dataclass(frozen=True, slots=True)
class CutPassage:
    """A stretch of a file.

    ``text`` is the source from ``start`` to ``end`` (characters, a line end as one), behind ``repeated`` characters of
    a table's header. ``start`` lies before the ``end`` of the passage before where the two overlap. ``headings`` are
    the path as it is, ``title`` is what was measured with the text and is to be embedded with it. Lines count from 1.
    ``page`` and ``end_page`` are those of its first and last block, ``anchor`` and ``where`` those it begins at; what
    ``where`` says of rows and times reaches to its end.
    """

    text: str
    headings: tuple[str, ...]
    title: str
    line: int
    end_line: int
    start: int
    end: int
    page: int | None = None
    repeated: int = 0
    end_page: int | None = None
    anchor: str = ""
    where: Mapping[str, str | int | float | bool] | None = None


def cut(
    blocks: Iterable[Block], rule: CutRule, measure: Measure | None = None, title: str = "", name: str = ""
) -> Iterator[CutPassage]:
    """Pack the blocks of one file into passages, in their order.

    ``measure`` counts the tokens of a title and a text as the encoder reads them (default: bytes divided by three); no
    passage has more than ``rule.tokens``. ``title`` is that of the file, which comes first in every path; ``name``
    is the title where the path is empty. Memory: 3,000 characters and the longest block.

    Raises CorpusError where what the encoder puts around a text leaves no room in ``rule.tokens``.
    """
    packer = _Packer(rule, measure or estimate, title, name)
    for piece in pieces(blocks):
        if piece.rank is Rank.SECTION:
            yield from packer.end_section()
        packer.add(piece)
        yield from packer.full()
    yield from packer.end_section()


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the next passage takes: ``count`` whole pieces, and the characters up to ``point`` of the one after them."""

    count: int
    point: int | None = None


class _Packer:
    """The pieces of a section that wait, the first of which the next passage begins with."""

    def __init__(self, rule: CutRule, measure: Measure, title: str, name: str) -> None:
        self._rule = rule
        self._measure = measure
        self._titles = Titles(rule, measure, title, name)
        self._waiting: deque[Piece] = deque()
        self._size = 0  # characters that wait
        self._section = 0  # characters of the section, those handed out included
        self._overlap: Piece | None = None  # the end of the passage before, which the next one repeats
        self._ratio = 0.0  # tokens a character in the passage before; 0 where tokens are no bound
        self._counted: tuple[str, str, int] = ("", "", 0)  # the last text that was measured

    def add(self, piece: Piece) -> None:
        self._waiting.append(piece)
        self._size += piece.end - piece.begin
        self._section += piece.end - piece.begin

    def full(self) -> Iterator[CutPassage]:
        """Hand out passages while enough waits to see where each is best cut, and whether the section is long."""
        while self._size > max(LONG, self._rule.characters):
            yield self._take()

    def end_section(self) -> Iterator[CutPassage]:
        """Hand out all that waits."""
        while self._waiting:
            yield self._take()
        self._size = self._section = 0
        self._overlap, self._ratio = None, 0.0

    def _take(self) -> CutPassage:
        """The next passage: planned by characters, measured, and planned again with fewer while it is too long."""
        limit = self._rule.characters
        if self._rule.tokens is not None and self._ratio:
            limit = min(limit, max(1, int(self._rule.tokens / self._ratio)))
        turn = 0
        while True:
            self._trim(_INDENT if limit > 2 * _INDENT else 0)
            if self._overlap is not None and self._spoils(self._overlap, limit):
                self._overlap = None
            plan = self._plan(limit)
            passage = self._passage(plan)
            tokens = self._count(passage.title, passage.text)
            budget = self._rule.tokens
            if budget is None or tokens <= budget or len(passage.text) == 1:
                break
            around = self._titles.tokens(passage.title)
            share = max(1, budget - around) / max(1, tokens - around)
            shrunk = len(passage.text) * min(1.0, share) * _SHRINK[min(turn, len(_SHRINK) - 1)]
            limit, turn = max(1, min(limit - 1, len(passage.text) - 1, int(shrunk))), turn + 1
        self._learn(tokens, passage)
        self._drop(plan, len(passage.text))
        return passage

    def _trim(self, most: int) -> None:
        """Leave out the blanks at the start where there are more than ``most``."""
        first = self._waiting[0]
        blanks = blanks_at(first.block.text, first.begin)
        if blanks > most:
            self._waiting[0] = first.part(first.begin + blanks, first.end)
            self._size -= blanks
            self._overlap = None

    def _spoils(self, overlap: Piece, limit: int) -> bool:
        """Whether the first piece would fit if the overlap did not stand before it, or the overlap takes too much."""
        first = self._waiting[0]
        length, before = first.stop - first.begin, overlap.end - overlap.begin
        return before > limit // 2 or (length <= limit < length + before)

    def _header(self, first: Piece) -> str:
        """What is repeated before this piece; nothing where it takes more than a third of the characters."""
        return first.header if len(first.header) <= self._rule.characters // 3 and first.rank is not Rank.GLUE else ""

    def _plan(self, limit: int) -> _Plan:
        waiting = self._waiting
        size = ahead = self._ahead(limit)
        best: tuple[bool, Rank, int] = (False, Rank.GLUE, 0)
        start = 0  # of the run of pieces that must not be parted from the piece at hand
        for number, piece in enumerate(waiting):
            if number and piece.rank is not Rank.GLUE:
                if piece.rank is Rank.DEFINITION and size - ahead >= JOINED:
                    return _Plan(number)
                start = number
                share = 8 if piece.rank is Rank.DEFINITION else 4
                best = max(best, (share * size >= limit, piece.rank, number))
            if size + piece.stop - piece.begin > limit:
                return self._overflow(number, start, best, limit, limit - size)
            size += piece.end - piece.begin
        return _Plan(len(waiting))

    def _ahead(self, limit: int) -> int:
        """Characters that stand before the first piece: overlap or a repeated header."""
        if self._overlap is not None:
            return self._overlap.end - self._overlap.begin
        header = len(self._header(self._waiting[0]))
        return header if header <= limit // 2 else 0

    def _overflow(self, number: int, start: int, best: tuple[bool, Rank, int], limit: int, room: int) -> _Plan:
        """Where to cut when piece ``number`` does not fit any more."""
        well_filled, _, place = best
        if well_filled:
            return _Plan(place)
        if self._fits_whole(start, number):
            return _Plan(start) if start else _Plan(number + 1)
        piece = self._waiting[number]
        alone = number == 0 and self._overlap is None
        point = cut_point(
            piece.block.text, piece.begin, piece.stop, room,
            code=piece.block.kind is BlockKind.CODE, fits=self._fits_part if alone else None,
        )  # fmt: skip
        if point is not None and point < piece.stop:
            return _Plan(number, point)
        if place or number:
            return _Plan(place or number)
        if self._overlap is not None:
            self._overlap = None
            return self._plan(limit)
        return _Plan(1)

    def _fits_whole(self, start: int, number: int) -> bool:
        """Whether the pieces from ``start`` to ``number`` make a passage that fits, by an exact count."""
        run = [self._waiting[place] for place in range(start, number + 1)]
        if run[0].begin and start == number:
            return False  # the rest of a block that was cut
        if run[-1].start + run[-1].stop - run[-1].begin - run[0].start > self._rule.characters:
            return False
        passage = self._joined(run, None if start else self._overlap)
        return len(passage.text) <= self._rule.characters and self._within(passage)

    def _fits_part(self, begin: int, end: int) -> bool:
        """Whether a part of the first piece fits alone: asked of a single grapheme cluster."""
        passage = self._joined([self._waiting[0].part(begin, end)], None)
        return len(passage.text) <= self._rule.characters and self._within(passage)

    def _within(self, passage: CutPassage) -> bool:
        return self._rule.tokens is None or self._count(passage.title, passage.text) <= self._rule.tokens

    def _count(self, title: str, text: str) -> int:
        if self._rule.tokens is None:
            return 0
        if self._counted[:2] != (title, text):
            self._counted = (title, text, self._measure(title, text))
        return self._counted[2]

    def _passage(self, plan: _Plan) -> CutPassage:
        run = [self._waiting[place] for place in range(plan.count)]
        if plan.point is not None:
            piece = self._waiting[plan.count]
            run.append(piece.part(piece.begin, plan.point))
        return self._joined(run, self._overlap)

    def _joined(self, run: list[Piece], overlap: Piece | None) -> CutPassage:
        first, last = overlap or run[0], run[-1]
        header = self._header(run[0]) if overlap is None else ""
        body = "".join([overlap.text if overlap else "", *(piece.text for piece in run[:-1])])
        text = (body + last.block.text[last.begin : last.stop]).rstrip()
        scope = _scope(run)
        title = self._titles.of(scope)
        if header and (len(header) + len(text) > self._rule.characters or not self._room(title, header, text)):
            header = ""
        end_line = last.line + last.block.text.count("\n", last.begin, last.stop)
        end = last.start + last.stop - last.begin
        return CutPassage(
            header + text, scope, title, first.line, end_line, first.start, end, first.block.page, len(header),
            last.block.last_page, first.anchor, _span(first, last),
        )  # fmt: skip

    def _room(self, title: str, header: str, text: str) -> bool:
        """Whether a header fits before a text; a row is shown without it rather than cut because of it."""
        return self._rule.tokens is None or self._count(title, header + text) <= self._rule.tokens

    def _learn(self, tokens: int, passage: CutPassage) -> None:
        """Keep how many tokens a character has, where tokens may bound the next passage."""
        around = self._titles.guess(passage.title)
        near = self._rule.tokens is not None and 2 * tokens > self._rule.tokens and len(passage.text) > 1
        room = (self._rule.tokens or 1) / max(1, (self._rule.tokens or 1) - around)
        self._ratio = room * max(1, tokens - around) / len(passage.text) if near else 0.0

    def _drop(self, plan: _Plan, size: int) -> None:
        """Take out what was handed out, and keep its end where the next passage is to repeat it."""
        last: Piece | None = None
        for _ in range(plan.count):
            last = self._waiting.popleft()
            self._size -= last.end - last.begin
        if plan.point is not None:
            whole = self._waiting.popleft()
            last, rest = whole.part(whole.begin, plan.point), whole.part(plan.point, whole.end)
            self._size -= plan.point - whole.begin
            self._waiting.appendleft(rest._replace(rank=Rank.LINE))
        self._overlap = None
        if last is None or not self._waiting or self._section <= LONG:
            return
        following = self._waiting[0]
        if all(piece.block.kind is BlockKind.TEXT and not piece.block.depth for piece in (last, following)):
            begin = max(last.begin, last.stop - int(OVERLAP * size))
            point = last.begin if begin == last.begin else overlap_point(last.block.text, begin, last.stop)
            if point is not None:
                self._overlap = last.part(point, last.end)


def _span(first: Piece, last: Piece) -> Mapping[str, str | int | float | bool] | None:
    """Where a passage stands: what its first block says, ranges such as ``rows`` to the end of its last."""
    if first.where is last.where or not first.where or not last.where:
        return first.where
    found = dict(first.where)
    for name in RANGES & found.keys() & last.where.keys():
        begin, end = str(found[name]).partition("-")[0], str(last.where[name]).rpartition("-")[2]
        found[name] = f"{begin}-{end}" if begin != end else found[name]
    return found


def _scope(run: list[Piece]) -> tuple[str, ...]:
    """The path that all pieces stand under; that of the last heading where there is nothing else."""
    scopes = [piece.scope for piece in run if piece.block.kind is not BlockKind.HEADING]
    if not scopes:
        return run[-1].scope
    shared = scopes[0]
    for scope in scopes[1:]:
        while scope[: len(shared)] != shared:
            shared = shared[:-1]
    return shared
