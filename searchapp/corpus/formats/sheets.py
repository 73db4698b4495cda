"""Spreadsheets (.xlsx, .xlsm, .xlsb, .xls, .ods): groups of rows under the header of their sheet.

The cells are read by calamine, which gives the values that the program stored; a formula without one is given as it
stands (in .xlsx and .xlsm). A group of rows is a passage of its own with the sheet's name and its rows, as ``2-41``.
"""

from __future__ import annotations

import datetime
import html
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.markup import label_of, run, tidy
from searchapp.corpus.formats.opc import core_facts, relations
from searchapp.corpus.formats.parts import SEPARATOR
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable, Value
from searchapp.corpus.formats.zipped import Zipped
from searchapp.errors import reason_of

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

MIMES = {
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xlsm": "application/vnd.ms-excel.sheet.macroenabled.12",
    ".xlsb": "application/vnd.ms-excel.sheet.binary.macroenabled.12",
    ".xls": "application/vnd.ms-excel",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
}
GROUP = 600  # characters of rows in a passage, header aside
MOST_CELLS = 20_000_000  # in the rectangle of a sheet, empty ones too: calamine holds them all
_ZIP = b"PK\x03\x04"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")  # in Office files with a password
_FORMULA = re.compile(rb'<c r="([A-Z]{1,3})([0-9]{1,7})"[^>]*><f[^>]*>([^<]+)</f>(?:<v\s*/>|<v></v>)?</c>')
_FILLED = re.compile(rb'<c r="([A-Z]{1,3})([0-9]{1,7})"(?:[^>]*[^>/])?>')
_DECLARED = re.compile(rb'<dimension ref="(?:[A-Z]{1,3}[0-9]{1,7}:)?([A-Z]{1,3})([0-9]{1,7})"')
_TAIL = 4_096  # bytes of a cell that may lie across two chunks
_SPACES = {
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main": "",
    "http://purl.oclc.org/ooxml/spreadsheetml/main": "",
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships": "r",
    "http://purl.oclc.org/ooxml/officeDocument/relationships": "r",
}
_Formulas = dict[int, dict[int, str]]  # by row from 1, then by column from 0


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield the facts of a workbook, then its sheets: a heading, then groups of rows."""
    from python_calamine import CalamineError

    data = path.read_bytes()
    facts = Facts()
    formulas: dict[str, _Formulas] = {}
    if data.startswith(_ZIP):
        with Zipped(path, limits) as package:
            facts = core_facts(package, limits, "")
            formulas = _formulas(package, limits)
    with _opened(data) as book:
        names = book.sheet_names
        if len(names) > limits.pages:
            raise Unreadable(f"{len(names):,} sheets; at most {limits.pages:,} are read")
        yield replace(facts, mime=MIMES.get(path.suffix.lower(), ""), pages=len(names))
        composer = Composer(limits)
        for name in names:
            try:
                sheet = book.get_sheet_by_name(name)
            except CalamineError as error:
                raise Unreadable(f"damaged: sheet {name[:100]!r} ({reason_of(error)})") from None
            yield from _Sheet(name, sheet, formulas.get(name, {}), composer).blocks()


def _opened(data: bytes) -> CalamineWorkbook:
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    try:
        return CalamineWorkbook.from_filelike(io.BytesIO(data))
    except PasswordError:
        raise Unreadable("password") from None
    except (CalamineError, OSError, ValueError) as error:
        raise Unreadable("password" if _ENCRYPTED in data else f"damaged: {reason_of(error)}") from None


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a sheet: its number from 1, and its cells that hold something, by column from 0."""

    number: int
    cells: Mapping[int, str]


def _rows(sheet: CalamineSheet, formulas: _Formulas) -> Iterator[_Row]:
    """Yield the rows that hold something, with the formulas that have no value."""
    waiting = sorted(formulas)
    if sheet.start is not None:  # it is None of an empty sheet and of a chart
        left = sheet.start[1]
        for number, row in enumerate(sheet.iter_rows(), 1):
            while waiting and waiting[0] < number:
                yield _Row(waiting[0], formulas[waiting.pop(0)])
            cells = {column: text for column, value in enumerate(row, left) if (text := _text(value))}
            if waiting and waiting[0] == number:
                cells = dict(sorted((formulas[waiting.pop(0)] | cells).items()))
            if cells:
                yield _Row(number, cells)
    for number in waiting:
        yield _Row(number, formulas[number])


def _text(value: object) -> str:
    """A value as people write it."""
    if isinstance(value, str):
        return tidy(value).replace("\n", " ")
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")
    return str(value)


class _Sheet:
    """Makes blocks of the rows of a sheet: what stands above its table, the header, groups of rows."""

    def __init__(self, name: str, sheet: CalamineSheet, formulas: _Formulas, composer: Composer) -> None:
        columns = [min(cells) for cells in formulas.values()] + ([sheet.start[1]] if sheet.start else [])
        self._left = min(columns, default=0)
        self._name, self._composer = name, composer
        self._rows = _rows(sheet, formulas)
        self._group: list[str] = []
        self._size = self._first = self._last = 0
        self._alone = False  # the next group is a passage of its own, not one with the heading or the table's header

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks of a sheet that is not empty."""
        in_table = False
        for row in self._rows:
            number = row.number
            if not self._last:
                yield self._block(BlockKind.HEADING, tidy(self._name) or "Sheet", number, number, 1, whole=True)
            text = SEPARATOR.join(row.cells.get(column, "") for column in range(self._left, max(row.cells) + 1))
            if not in_table:
                in_table = len(row.cells) > 1
                if in_table and not any(cell[:1].isdecimal() or cell[:1] == "=" for cell in row.cells.values()):
                    yield from self._closed()
                    yield self._block(BlockKind.TABLE_ROW, text.strip(), number, number, 1)
                    self._last, self._alone = number, False
                    continue
            if self._group and self._size + len(text) > GROUP:
                yield from self._closed()
            self._first = self._first if self._group else number
            self._group.append(text.rstrip())
            self._size += len(text) + 1
            self._last = number
        yield from self._closed()

    def _closed(self) -> Iterator[Block]:
        """Hand out the group of rows that is open."""
        if self._group:
            text = "\n".join(self._group).strip()
            yield self._block(BlockKind.TABLE_ROW, text, self._first, self._last, whole=self._alone)
            self._group, self._size, self._alone = [], 0, True

    def _block(
        self, kind: BlockKind, text: str, first: int, last: int, level: int = 0, *, whole: bool = False
    ) -> Block:
        where: dict[str, Value] = {"sheet": self._name, "rows": str(first) if first == last else f"{first}-{last}"}
        label = label_of(text) if kind is BlockKind.HEADING else ""
        return self._composer.block(kind, text, level=level, label=label, whole=whole, where=where)


def _formulas(package: Zipped, limits: Limits) -> dict[str, _Formulas]:
    """The formulas without a value, by sheet. Raises Unreadable where the cells of a sheet lie too far apart."""
    if "xl/workbook.xml" not in package:
        return {}
    book = _Book()
    run(package.chunks("xl/workbook.xml"), book, limits, _SPACES)
    found = relations(package, "xl/workbook.xml", limits)
    return {
        name: _scan(package.chunks(found[id].target), name)
        for name, id in book.sheets.items()
        if id in found and found[id].target in package
    }


def _scan(chunks: Iterator[bytes], name: str) -> _Formulas:
    formulas: _Formulas = {}
    rows = columns = 0
    declared: int | None = None
    tail = b""
    for chunk in chunks:
        data = tail + chunk
        if declared is None:
            found = _DECLARED.search(data)
            declared = _column(found[1]) * int(found[2]) if found else MOST_CELLS + 1
        if declared > MOST_CELLS:  # it says so: look where its cells are
            for cell in _FILLED.finditer(data):
                columns, rows = max(columns, _column(cell[1]) + 1), max(rows, int(cell[2]))
        if b"</f>" in data:
            for formula in _FORMULA.finditer(data):
                text = f"={html.unescape(formula[3].decode('utf-8', 'replace'))}"
                formulas.setdefault(int(formula[2]), {})[_column(formula[1])] = tidy(text).replace("\n", " ")
        tail = data[-_TAIL:]
    if rows * columns > MOST_CELLS:
        raise Unreadable(f"sheet {name[:100]!r} has cells over {rows:,} rows and {columns:,} columns")
    return {number: dict(sorted(cells.items())) for number, cells in formulas.items()}


def _column(letters: bytes) -> int:
    """The number of a column, from 0, of its letters."""
    number = 0
    for letter in letters:
        number = 26 * number + letter - 64
    return number - 1


class _Book:
    """The ids of the relations to the sheets of a workbook, by name."""

    def __init__(self) -> None:
        self.sheets: dict[str, str] = {}

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "sheet":
            self.sheets[attributes.get("name", "")] = attributes.get("r:id", "")

    def end(self, name: str) -> None:
        pass

    def text(self, data: str) -> None:
        pass
