"""The lines of a page of a PDF as PDFium finds them, with their places and fonts."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

UNREADABLE = 0.2  # share of a page's characters without meaning from which on its font has no Unicode map
_JOINED = re.compile("\ufffe(?=([A-Z0-9])?)")  # where PDFium has joined a word that a line end had cut
# Characters without meaning: controls, private ones, those that stand for what could not be told.
_ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd\U000f0000-\U0010ffff]")
_LEADERS = re.compile(r"(?:[.·…_] ?){5,}")
_BLANKS = re.compile(r"[ \t\xa0]+")
_FIXED = re.compile(r"mono|courier|typewriter|cmtt|consol|code|[a-z]tt\d", re.IGNORECASE)
_FIXED_FLAG = 1  # of a font descriptor: all glyphs have one width (PDF 32000-1, table 123)


@dataclass(slots=True)
class Line:
    """A line of a page: its text, where it begins (points from the left and the bottom), where its last character is.

    ``size`` is that of its font as it is seen, in points; ``fixed``: a typewriter's font. A word that was cut at the
    line's end is whole in it, with all that stands behind it in the next line.
    """

    text: str
    left: float
    bottom: float
    end: float
    size: float
    fixed: bool = False

    @property
    def key(self) -> str:
        """What is the same in the running heads of all pages: numbers as #, in small letters."""
        key = re.sub(r"\d+", "#", " ".join(self.text.split()).casefold())
        return "#" if re.fullmatch(r"[ivxlc]{1,7}", key) else key


class PageReader:
    """Reads the pages of one document of pypdfium2, one after the other."""

    def __init__(self, document: Any) -> None:
        from pypdfium2 import raw

        self._raw, self._document = raw, document
        self._box = [ctypes.c_double() for _ in range(4)]
        self._matrix, self._flags = raw.FS_MATRIX(), ctypes.c_int()
        self._name = ctypes.create_string_buffer(96)

    def lines(self, number: int) -> tuple[list[Line], str]:
        """The lines of a page (from 0) in the order of its content, and why it has none: "", "text" or "font".

        Raises the errors of pypdfium2 for a page that is damaged.
        """
        page = self._document[number]
        try:
            text_page = page.get_textpage()
            try:
                text = text_page.get_text_range()
                if _is_garbage(text):
                    return [], "font"
                lines = list(self._located(text_page, text))
            finally:
                text_page.close()
            if not lines and self._raw.FPDFPage_CountObjects(page) > 0:
                return [], "text"
            return lines, ""
        finally:
            page.close()

    def _located(self, text_page: Any, text: str) -> Iterator[Line]:
        raw, box = self._raw, self._box
        left, right, bottom, top = box
        # PDFium counts in UTF-16; beyond the first plane the places are counted on the way.
        wide = not text.isascii() and _units(text) > len(text)
        place = 0
        for part in text.split("\r\n"):
            shown = _shown(part)
            if shown:
                first = raw.FPDFText_GetCharIndexFromTextIndex(text_page, place + len(part) - len(part.lstrip()))
                raw.FPDFText_GetCharBox(text_page, first, left, right, bottom, top)
                x, y = left.value, bottom.value
                size = raw.FPDFText_GetFontSize(text_page, first)
                if raw.FPDFText_GetMatrix(text_page, first, self._matrix):
                    size *= max(abs(self._matrix.a), abs(self._matrix.b), abs(self._matrix.d)) or 1.0
                length = _units(part.rstrip()) if wide else len(part.rstrip())
                last = raw.FPDFText_GetCharIndexFromTextIndex(text_page, place + length - 1)
                raw.FPDFText_GetCharBox(text_page, last, left, right, bottom, top)
                fixed = self._is_fixed(text_page, first) and self._is_fixed(text_page, last)
                yield Line(shown, x, y, bottom.value, size, fixed)
            place += (_units(part) if wide else len(part)) + 2

    def _is_fixed(self, text_page: Any, place: int) -> bool:
        self._raw.FPDFText_GetFontInfo(text_page, place, self._name, len(self._name), self._flags)
        return bool(self._flags.value & _FIXED_FLAG) or _FIXED.search(self._name.value.decode("latin-1")) is not None


def _shown(text: str) -> str:
    """A line's text: cut words joined, leaders of a table of contents shortened, no control characters."""
    if "\ufffe" in text:
        text = _JOINED.sub(lambda found: "-" if found[1] else "", text)
    if "...." in text or ". . ." in text or "____" in text:
        text = _LEADERS.sub("… ", text)
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text if character != "\xad")
    return _BLANKS.sub(" ", text).strip()


def _is_garbage(text: str) -> bool:
    """Whether a page's characters have no meaning: its fonts name none."""
    return len(_ODD.findall(text)) > UNREADABLE * len(text.replace("\r\n", ""))


def _units(text: str) -> int:
    """How long a text is in UTF-16."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
