"""A passage on the lines of a terminal: the query's words and the decisive sentence stand out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from searchapp.cli.cells import ELLIPSIS, lines
from searchapp.cli.console import BOLD, GREEN, plain, style
from searchapp.search.highlight import Highlight
from searchapp.search.passage import Snippet

LINES = 3
SENTENCE, WORD = 1, 2  # bits of what a character belongs to
CODES = {0: (), SENTENCE: (BOLD,), WORD: (BOLD, GREEN), SENTENCE | WORD: (BOLD, GREEN)}


def snippet(text: str, marked: Highlight, columns: int) -> list[str]:
    """At most ``LINES`` lines of the marked passage of a text, chosen so that the decisive sentence begins there."""
    shown, bits = _squeezed(text, marked)
    if not shown:
        return []
    begin = _begin(shown, bits, columns)
    if begin or marked.continues:
        shown, bits = f"{ELLIPSIS} {shown[begin:]}", [0, 0, *bits[begin:]]
    spans = list(lines(shown, columns))
    if len(spans) > LINES:  # the last line has room for what says that more follows
        start, end = spans[LINES - 1]
        start, end = next(lines(shown[start:end], columns - 2), (0, 0))
        last = spans[LINES - 1][0]
        spans = [*spans[: LINES - 1], (last + start, last + end)]
        return [*(_styled(shown, bits, *span) for span in spans[:-1]), f"{_styled(shown, bits, *spans[-1])} {ELLIPSIS}"]
    return [_styled(shown, bits, *span) for span in spans]


def _squeezed(text: str, marked: Highlight) -> tuple[str, list[int]]:
    """The passage with single blanks and without what a terminal would obey, and the bits of its characters."""
    passage = marked.passage
    bits = [0] * (passage.end - passage.start)
    for bit, stretches in ((SENTENCE, [marked.sentence] if marked.sentence else []), (WORD, marked.words)):
        for at in _places(stretches, passage):
            bits[at] |= bit
    signs: list[str] = []
    kept: list[int] = []
    for sign, bit in zip(text[passage.start : passage.end], bits, strict=True):
        if sign.isspace():
            if not signs or signs[-1] == " ":
                continue
            sign = " "
        elif not (sign := plain(sign)):
            continue
        signs.append(sign)
        kept.append(bit)
    return "".join(signs).rstrip(), kept


def _places(stretches: Sequence[Snippet], passage: Snippet) -> Iterator[int]:
    for stretch in stretches:
        yield from range(stretch.start - passage.start, stretch.end - passage.start)


def _begin(shown: str, bits: Sequence[int], columns: int) -> int:
    """Where to begin: at the top, but where the decisive sentence, or else the first word, would not be seen."""
    spans = list(lines(shown, columns))
    if len(spans) <= LINES:
        return 0
    seen = spans[LINES - 1][1] - 2
    of_sentence = [at for at, bit in enumerate(bits[: len(shown)]) if bit & SENTENCE]
    word = next((at for at, bit in enumerate(bits[: len(shown)]) if bit & WORD), 0)
    if of_sentence:
        wanted = of_sentence[0] if of_sentence[-1] >= seen else 0
    else:
        wanted = next((start for start, _ in reversed(spans) if start <= word), 0) if word >= seen else 0
    return min(wanted, _last_lines(shown, spans, columns))


def _last_lines(shown: str, spans: Sequence[tuple[int, int]], columns: int) -> int:
    """Where the last lines begin that can be shown: from there on nothing more is left out by beginning later."""
    fitting = (
        start for start, _ in spans[-LINES:] if len(list(lines(f"{ELLIPSIS} {shown[start:]}", columns))) <= LINES
    )
    return next(fitting, spans[-1][0])


def _styled(shown: str, bits: Sequence[int], start: int, end: int) -> str:
    line = ""
    for bit, places in groupby(range(start, end), key=bits.__getitem__):
        piece = "".join(shown[at] for at in places)
        line += style(piece, *CODES[bit]) if bit else piece
    return line
