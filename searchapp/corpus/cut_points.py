"""Where a stretch of text that is too long is best cut: paragraph, sentence, line, word, character as readers see it.

All work on a window of the text and none goes back: a line of ten million characters is cut in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

_PARAGRAPH = re.compile(r"\n[ \t]*(?=\n)")
# End marks with white space behind them (Latin, Arabic, Urdu, Devanagari, Ethiopic), or full-width ones without.
_SENTENCE = re.compile(r"[.!?…؟۔।॥።][\"')\]”’»]{0,3}(?=\s)|[。！？｡][」』”’）】》〉]{0,3}")  # noqa: RUF001
_WORD = re.compile(r"\s+|(?<=[，、；：।])")  # noqa: RUF001 - a script without blanks has its commas
_BLANK = re.compile(r"\s*")
_TOP = re.compile(r"\n[ \t]*\n(?=\S)")


def cut_point(
    text: str, begin: int, end: int, room: int, *, code: bool, fits: Callable[[int, int], bool] | None = None
) -> int | None:
    """Where to cut ``text[begin:end]`` so that at most ``room`` characters, blanks at their end aside, stand before it.

    The best kind of place that fills a quarter of the room wins, and of its places the last; in ``code`` a blank line
    before a line that is not indented is the best, then any blank line, then a line. A grapheme cluster for which the
    room is too small is not cut without ``fits``: then None, as where all of the room is blank. With it the cluster is
    taken whole where ``fits(begin, end)`` of it is true, else cut.
    """
    if room < 1:
        return None
    window = text[begin : min(end, begin + room + 1)]
    if not window[:room].strip():
        return None
    for kind in (_tops, _paragraphs, _lines) if code else (_paragraphs, _sentences, _lines):
        for place in kind(window):
            if room // 4 < place <= room and (found := after_blank(text, begin + place, end)) is not None:
                return found
    for place in _words(window):
        if 0 < place <= room and (found := after_blank(text, begin + place, end)) is not None:
            if place < room // 4 and end - found > room and not re.search(r"\s", text[found : found + room]):
                break  # what follows is too long to be kept whole: fill the room with it
            return found
    found = _cluster(text, begin, end, room, fits)
    return None if found is None else skip_blank(text, found, end)


def overlap_point(text: str, begin: int, end: int) -> int | None:
    """The first place in ``text[begin:end]`` where a sentence begins, else a word; None where there is neither."""
    window = text[begin:end]
    for kind in (_sentences, _words):
        places = [place for place in kind(window) if place]
        for place in reversed(places):
            found = after_blank(text, begin + place, end)
            if found is not None and found < end:
                return found
    return None


def blanks_at(text: str, begin: int) -> int:
    """How many blanks stand at ``begin``."""
    match = _BLANK.match(text, begin)
    return match.end() - begin if match else 0


def skip_blank(text: str, begin: int, end: int) -> int:
    """The first character from ``begin`` on that is no blank, or the start of its line where that lies between."""
    stop = min(end, begin + blanks_at(text, begin))
    line = text.rfind("\n", begin, stop) + 1
    return max(begin, line) if line and stop < end else stop


def after_blank(text: str, place: int, end: int) -> int | None:
    """The place behind the blanks that begin at ``place``; None where it would part a mark from what it stands on."""
    found = skip_blank(text, place, end)
    if found < end and text[found] >= "\u0300" and text[found - 1] != "\n" and _extends().match(text[found]):
        return None
    return found


def _last(places: list[int]) -> Iterator[int]:
    return reversed(places)


def _tops(window: str) -> Iterator[int]:
    return _last([match.start() for match in _TOP.finditer(window)])


def _paragraphs(window: str) -> Iterator[int]:
    return _last([match.start() for match in _PARAGRAPH.finditer(window)])


def _sentences(window: str) -> Iterator[int]:
    """Ends of sentences, the last first; not where a small letter follows, as behind "e.g."."""
    for place in _last([match.end() for match in _SENTENCE.finditer(window)]):
        following = window[place : place + 8].lstrip()
        if not (following and following[0].islower()):
            yield place


def _lines(window: str) -> Iterator[int]:
    place = len(window)
    while (place := window.rfind("\n", 0, place)) > 0:
        yield place


def _words(window: str) -> Iterator[int]:
    return _last([match.start() for match in _WORD.finditer(window)])


def _cluster(text: str, begin: int, end: int, room: int, fits: Callable[[int, int], bool] | None) -> int | None:
    """The last border between grapheme clusters within the room."""
    stop = min(end, begin + room)
    if text[begin : min(end, stop + 1)].isascii():
        return stop
    best = None
    ahead = min(end, stop + 64)
    # The window is a string of its own: among flags, the library looks back to where the string begins.
    for match in _clusters().finditer(text[begin:ahead]):
        if begin + match.end() > stop or (begin + match.end() == ahead and ahead < end):
            break
        best = begin + match.end()
    if best is not None or fits is None:
        return best
    match = _clusters().match(text[begin : min(end, begin + 4096)])
    whole = begin + match.end() if match else stop
    return whole if fits(begin, whole) else stop


@cache
def _clusters() -> Any:
    import regex

    return regex.compile(r"\X")


@cache
def _extends() -> Any:
    import regex

    return regex.compile(r"[\p{Grapheme_Cluster_Break=Extend}\p{Grapheme_Cluster_Break=SpacingMark}\u200d]")
