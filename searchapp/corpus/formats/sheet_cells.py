"""The cells of a sheet of an .xlsx file one by one, where calamine refuses it or would hold too many empty ones.

It is six times slower, takes every number as it is written, and gives dates as the numbers that they are stored as.
Source: ECMA-376, part 1 (SpreadsheetML), 5th edition 2016.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from searchapp.corpus.formats.markup import parse, run, tidy
from searchapp.corpus.formats.reading import Limits
from searchapp.corpus.formats.zipped import Zipped

SPACES = {
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main": "",
    "http://purl.oclc.org/ooxml/spreadsheetml/main": "",
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships": "r",
    "http://purl.oclc.org/ooxml/officeDocument/relationships": "r",
}
_PLACE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})$")


def column(letters: str) -> int:
    """The number of a column, from 0, of its letters."""
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - 64
    return number - 1


def shared_strings(package: Zipped, limits: Limits) -> list[str]:
    """The strings that the cells of a workbook refer to."""
    reader = _Strings()
    if "xl/sharedStrings.xml" in package:
        run(package.chunks("xl/sharedStrings.xml"), reader, limits, SPACES)
    return reader.strings


def sheet_rows(package: Zipped, part: str, strings: list[str], limits: Limits) -> Iterator[tuple[int, dict[int, str]]]:
    """Yield the number of each row from 1 and its cells that hold something, by column from 0."""
    reader = _Cells(strings)
    for _ in parse(package.chunks(part), reader, limits, SPACES):
        yield from reader.rows
        reader.rows.clear()


class _Strings:
    """Reads shared strings, without how they are pronounced."""

    def __init__(self) -> None:
        self.strings: list[str] = []
        self._held: list[str] = []
        self._in_text = self._spoken = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._in_text = name == "t"
        self._spoken = self._spoken or name == "rPh"

    def end(self, name: str) -> None:
        self._in_text = False
        if name == "rPh":
            self._spoken = False
        elif name == "si":
            self.strings.append("".join(self._held))
            self._held.clear()

    def text(self, data: str) -> None:
        if self._in_text and not self._spoken:
            self._held.append(data)


class _Cells:
    """Reads the rows of a sheet; those that are complete wait in ``rows``."""

    def __init__(self, strings: list[str]) -> None:
        self.rows: list[tuple[int, dict[int, str]]] = []
        self._strings = strings
        self._row = 0
        self._cells: dict[int, str] = {}
        self._column = -1
        self._type = ""
        self._held: dict[str, list[str]] = {}
        self._open = ""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "row":
            number = attributes.get("r", "")
            self._row = int(number[:7]) if number.isdecimal() else self._row + 1
            self._cells, self._column = {}, -1
        elif name == "c":
            place = _PLACE.match(attributes.get("r", ""))
            self._column = column(place[1]) if place else self._column + 1
            self._type = attributes.get("t", "n")
            self._held = {}
        self._open = name if name in ("v", "f", "t") else ""

    def text(self, data: str) -> None:
        if self._open:
            self._held.setdefault(self._open, []).append(data)

    def end(self, name: str) -> None:
        self._open = ""
        if name == "c":
            if text := tidy(self._value()).replace("\n", " "):
                self._cells[self._column] = text
        elif name == "row" and self._cells:
            self.rows.append((self._row, dict(sorted(self._cells.items()))))

    def _value(self) -> str:
        value = "".join(self._held.get("v", self._held.get("t", ()))).strip()
        if not value:
            return f"={formula}" if (formula := "".join(self._held.get("f", ()))) else ""
        if self._type == "s":
            place = int(value) if value.isdecimal() else -1
            return self._strings[place] if 0 <= place < len(self._strings) else ""
        if self._type == "b":
            return "TRUE" if value == "1" else "FALSE"
        return value
