"""Columns of a terminal: how many a text takes, where its lines break, how it is cut to what there is."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

ELLIPSIS = "…"


def cells(text: str) -> int:
    """The columns a text takes: two for a wide character (East Asian Width W and F), none for a mark on another."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(sign: str) -> int:
    if unicodedata.category(sign) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def lines(text: str, columns: int) -> Iterator[tuple[int, int]]:
    """Where the lines of a text lie that has single blanks between words; the blanks at line ends are in none.

    Lines break at blanks and between wide characters; a word that is longer than a line, wherever it is full.
    """
    start, at, used = 0, 0, 0
    chance = -1  # the last place where the line may end
    while at < len(text):
        sign = text[at]
        wide = _cells(sign)
        if sign == " ":
            chance = at
        elif wide == 2 and at > start:
            chance = at
        if used + wide > columns and sign != " " and at > start:
            end = chance if chance > start else at
            yield start, end
            start = end + 1 if text[end] == " " else end
            used, chance = cells(text[start:at]), -1
        used += wide
        at += 1
    if text[start:].strip():
        yield start, len(text.rstrip())


def clip(text: str, columns: int) -> str:
    """A text on one line of so many columns; what is cut off is shown by an ellipsis."""
    text = " ".join(text.split())
    if cells(text) <= columns:
        return text
    start, end = next(lines(text, columns - 2), (0, 0))
    return f"{text[start:end]} {ELLIPSIS}"
