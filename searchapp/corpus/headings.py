"""What each line of a text, Markdown or reStructuredText file is: heading, code or text."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

_MAX_HEADING = 200  # characters of a heading that go into a title
_ATX = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})")
# What cannot be the text of an underlined heading in Markdown: list items, quotes, tables, fences, indented code.
_NO_SETEXT = re.compile(r" {4}|\t| {0,3}(?:[-+*>|#`~]|[0-9]{1,9}[.)])")
MODE_LINE = re.compile(r"#\s*-\*-.*-\*-\s*$")  # what editors read about a file: # -*- coding: utf-8 -*-
# Blocks of HTML, in which nothing is Markdown: how one begins, and how it ends (CommonMark 0.31, section 4.6). Those
# that name no end end at a blank line.
_RAW = "script|pre|style|textarea"
_BLOCKS = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt|"
    "fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|"
    "menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr|"
    "track|ul"
)
_BLANK = re.compile(r"(?!)")
_ATTRIBUTE = r"""\s+[a-zA-Z_:][\w.:-]*(?:\s*=\s*(?:[^\s"'=<>`]+|'[^']*'|"[^"]*"))?"""
_HTML = tuple(
    (re.compile(rf" {{0,3}}{begin}", re.IGNORECASE), _BLANK if end is None else re.compile(end, re.IGNORECASE))
    for begin, end in (
        (rf"<(?:{_RAW})(?:\s|>|$)", rf"</(?:{_RAW})>"),
        ("<!--", "-->"),
        (r"<\?", r"\?>"),
        (r"<!\[CDATA\[", r"\]\]>"),
        ("<![a-z]", ">"),
        (rf"</?(?:{_BLOCKS})(?:\s|/?>|$)", None),
    )
)
_TAG = re.compile(rf" {{0,3}}(?:<[a-zA-Z][a-zA-Z0-9-]*(?:{_ATTRIBUTE})*\s*/?>|</[a-zA-Z][a-zA-Z0-9-]*\s*>)\s*$")
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


class Kind(Enum):
    """What a line is part of."""

    TEXT = auto()
    CODE = auto()
    HEADING = auto()


@dataclass(frozen=True, slots=True)
class Mark:
    """One line that is not blank.

    ``gap``: blank lines stood before it. ``opens``: it is the first line of a code block. ``level`` counts from 1 on
    the line that carries a heading's text, and is 0 on every other line, under- and overlines included.
    """

    number: int
    text: str
    kind: Kind
    gap: bool
    opens: bool = False
    level: int = 0
    heading: str = ""


Lines = Iterable[tuple[int, str]]


def mark_plain(lines: Lines) -> Iterator[Mark]:
    """Mark plain text: paragraphs and nothing else."""
    gap = False
    for number, line in lines:
        if line.strip():
            yield Mark(number, line, Kind.TEXT, gap)
        gap = not line.strip()


def mark_markdown(lines: Lines) -> Iterator[Mark]:
    """Mark Markdown: `#` headings, underlined headings of one line, fenced code blocks, and HTML, which is text."""
    fence = ""
    html: re.Pattern[str] | None = None  # the end of the block of HTML that is open
    gap = False
    fresh = True  # an underlined heading can start here: after a blank line, a heading, or code
    underline = False
    for number, (line, following) in enumerate(_windows(lines, 2), start=1):
        if not line.strip():
            gap, fresh = True, True
            html = None if html is _BLANK else html
            continue
        kind, opens, level, heading = Kind.TEXT, False, 0, ""
        if html is None and not fence and not underline:
            html = _html(line, fresh)
        if html is not None:
            closed = html.search(line) is not None
            html = None if closed else html
            yield Mark(number, line, kind, gap)
            gap, fresh = False, closed
            continue
        if fence:
            kind = Kind.CODE
            if _closes(line, fence):
                fence = ""
        elif underline:
            kind = Kind.HEADING
        elif opening := _opening(line):
            fence, kind, opens = opening, Kind.CODE, True
        elif (atx := _ATX.match(line)) and not (number == 1 and MODE_LINE.match(line)):
            kind, level, heading = Kind.HEADING, len(atx[1]), _atx_text(line[atx.end() :])
        elif fresh and not _NO_SETEXT.match(line) and (level := _setext_level(following)):
            kind, heading = Kind.HEADING, _clip(line)
        underline = kind is Kind.HEADING and level > 0 and not atx
        yield Mark(number, line, kind, gap, opens, level, heading)
        gap, fresh = False, kind is not Kind.TEXT


def mark_rst(lines: Lines) -> Iterator[Mark]:
    """Mark reStructuredText: headings under- or overlined with punctuation, levels in order of first use."""
    styles: list[str] = []
    gap = False
    fresh = True
    queue: list[tuple[int, str]] = []  # level and heading of the lines to come that belong to one heading
    for number, (line, second, third) in enumerate(_windows(lines, 3), start=1):
        if not line.strip():
            gap, fresh = True, True
            continue
        if not queue and fresh:
            style = ""
            if _overlines(line, second) and second.strip() and not _is_run(second) and third.rstrip() == line.rstrip():
                style, lead, text = line[0] * 2, 1, second
            elif not _is_run(line) and not line[0].isspace() and _underlines(second, line):
                style, lead, text = second[0], 0, line
            if style:
                if style not in styles:
                    styles.append(style)
                queue = [(0, "")] * lead + [(styles.index(style) + 1, _clip(text)), (0, "")]
        kind = Kind.HEADING if queue else Kind.TEXT
        level, heading = queue.pop(0) if queue else (0, "")
        yield Mark(number, line, kind, gap, False, level, heading)
        gap, fresh = False, kind is Kind.HEADING


MARKERS: dict[str, Callable[[Lines], Iterator[Mark]]] = {
    ".txt": mark_plain,
    ".md": mark_markdown,
    ".rst": mark_rst,
}


def _windows(lines: Lines, width: int) -> Iterator[tuple[str, ...]]:
    """Yield every line with those that follow it; "" past the end."""
    window: deque[str] = deque()
    for _, line in lines:
        window.append(line)
        if len(window) == width:
            yield tuple(window)
            window.popleft()
    while window:
        yield (*window, *[""] * (width - len(window)))
        window.popleft()


def _clip(heading: str) -> str:
    heading = " ".join(heading[: 4 * _MAX_HEADING].split())
    return heading if len(heading) <= _MAX_HEADING else heading[: _MAX_HEADING - 1] + "…"


def _opening(line: str) -> str:
    match = _FENCE.match(line)
    # "```x```" on one line is inline code.
    return "" if match is None or (match[1][0] == "`" and "`" in line[match.end() :]) else match[1]


def _html(line: str, fresh: bool) -> re.Pattern[str] | None:
    """How the block of HTML ends that begins with this line; None where none does.

    A tag that is alone on its line begins one too, but never inside of a paragraph.
    """
    if "<" not in line[:4]:
        return None
    end = next((end for begin, end in _HTML if begin.match(line)), None)
    return _BLANK if end is None and fresh and _TAG.match(line) else end


def _closes(line: str, fence: str) -> bool:
    closing = line.strip()
    return len(closing) >= len(fence) and not closing.strip(fence[0])


def _atx_text(rest: str) -> str:
    heading = _clip(rest)
    stripped = heading.rstrip("#")
    return stripped.rstrip() if not stripped or stripped.endswith(" ") else heading


def _setext_level(following: str) -> int:
    underline = following.strip()
    if len(underline) < 2 or following.startswith(("    ", "\t")):
        return 0
    return next((level for level, mark in ((1, "="), (2, "-")) if not underline.strip(mark)), 0)


def _is_run(line: str) -> bool:
    run = line.rstrip()
    return len(run) > 1 and run[0] in _PUNCTUATION and not run.strip(run[0])


def _overlines(overline: str, title: str) -> bool:
    """Docutils takes a short overline as text, unless it is four characters or more."""
    return _is_run(overline) and len(overline.rstrip()) >= min(len(title.strip()), 4)


def _underlines(underline: str, title: str) -> bool:
    """Docutils takes a short underline from four characters on; wide characters make a title longer than it counts."""
    return _is_run(underline) and len(underline.rstrip()) >= min(len(title.rstrip()), 4)
