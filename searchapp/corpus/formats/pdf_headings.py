"""The headings of a PDF: what its outline names, found on the pages; without an outline, lines in a larger font."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from searchapp.corpus.formats.pdf_lines import Line

LEAST = 3  # entries of an outline that is used
LARGER = 1.08  # times the font of most of the text
LONGEST = 150  # characters of a heading
LEVELS = 4  # of headings told by fonts
MOST = 20_000  # entries of an outline: one that runs in a circle has no end
_NUMBER = re.compile(
    r"(?:(?:chapter|appendix|part|section|kapitel|anhang|chapitre|annexe)\s+\w{1,6}|\d[\d.]*[a-z]?|[ivxlc]+\.|[a-z]\.[\d.]*)"
    r"[.:)]?\s+"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of an outline: its title, its level from 1, and how high on its page it is, in points, if it says."""

    title: str
    level: int
    top: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """A heading on a page: it takes the lines from ``first`` to ``end``; none where no line has its words."""

    first: int
    end: int
    level: int
    title: str


@dataclass
class Headings:
    """What tells the headings of a document: ``outline`` by page (from 0), or the sizes of fonts, largest first."""

    outline: dict[int, list[Entry]] = field(default_factory=dict)
    sizes: Sequence[float] = ()
    body: float = 0.0

    def find(self, page: int, lines: Sequence[Line]) -> list[Found]:
        """The headings of a page, in the order of its lines."""
        if self.outline:
            return _by_outline(self.outline.get(page, ()), lines)
        return self._by_fonts(lines)

    def _by_fonts(self, lines: Sequence[Line]) -> list[Found]:
        found: list[Found] = []
        number = 0
        while number < len(lines):
            size = _rounded(lines[number].size)
            end = number + 1
            if size in self.sizes and _may_head(lines[number]):
                while end < len(lines) and end - number < 4 and _rounded(lines[end].size) == size:
                    end += 1
                title = " ".join(line.text for line in lines[number:end])
                if len(title) <= LONGEST:
                    found.append(Found(number, end, 1 + self.sizes.index(size), title))
            number = end
        return found


def outline_of(document: Any) -> dict[int, list[Entry]]:
    """The outline of a document of pypdfium2 by page; empty where it has none worth the name."""
    found: dict[int, list[Entry]] = {}
    count = 0
    for number, item in enumerate(document.get_toc(max_depth=15)):
        if number >= MOST:
            break
        target = item.get_dest()
        page = target.get_index() if target is not None else None
        title = " ".join(item.get_title().split())
        if page is None or not title:
            continue
        mode, view = target.get_view()
        top = view[1] if mode == 1 and len(view) > 1 else view[0] if mode in (3, 7) and view else None
        found.setdefault(page, []).append(Entry(title[: 2 * LONGEST], item.level + 1, top))
        count += 1
    return found if count >= LEAST else {}


def by_fonts(pages: Iterable[Sequence[Line]]) -> Headings:
    """Headings told by the fonts of some pages."""
    characters: Counter[float] = Counter()
    heads: Counter[float] = Counter()
    for lines in pages:
        for line in lines:
            characters[_rounded(line.size)] += len(line.text)
            heads[_rounded(line.size)] += _may_head(line)
    if not characters:
        return Headings()
    body = characters.most_common(1)[0][0]
    sizes = sorted((size for size in heads if heads[size] and size >= LARGER * body), reverse=True)
    return Headings(sizes=sizes[:LEVELS], body=body)


def _by_outline(entries: Iterable[Entry], lines: Sequence[Line]) -> list[Found]:
    entries = list(entries)
    names = [_bare(line.text) for line in lines] if entries else []
    found: list[Found] = []
    taken = 0
    for entry in entries:
        words = _words_of(entry, names, lines, taken)
        if words is None:
            below = (n for n in range(taken, len(lines)) if entry.top and lines[n].bottom < entry.top - 1)
            place = next(below, taken)
            words = place, place
        found.append(Found(*words, entry.level, entry.title))
        taken = words[1]
    return found


def _words_of(entry: Entry, names: Sequence[str], lines: Sequence[Line], taken: int) -> tuple[int, int] | None:
    """The lines that have the words of an entry."""
    title = _bare(entry.title)
    if not title:
        return None
    for first in range(taken, len(lines)):
        joined = ""
        for end in range(first, min(first + 4, len(lines))):
            joined += names[end]
            if joined == title:
                return first, end + 1
            if not title.startswith(joined):
                break
    return None


def _bare(text: str) -> str:
    """Letters and digits of a heading, without its number."""
    plain = text.casefold()
    number = _NUMBER.match(plain)
    plain = plain[number.end() :] if number else plain
    return "".join(filter(str.isalnum, plain))


def _rounded(size: float) -> float:
    return round(2 * size) / 2


def _may_head(line: Line) -> bool:
    text = line.text
    head = len(text) <= LONGEST and not line.fixed and not text.endswith((".", ",", ";"))
    return head and any(map(str.isalpha, text))
