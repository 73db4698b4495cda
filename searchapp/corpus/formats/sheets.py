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
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.markup import label_of, run, tidy
from searchapp.corpus.formats.opc import core_facts, relations
from searchapp.corpus.formats.parts import SEPARATOR
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable, Value
from searchapp.corpus.formats.sheet_cells import SPACES, column, shared_strings, sheet_rows
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
_Formulas = dict[int, dict[int, str]]  # by row from 1, then by column from 0
_Row = tuple[int, dict[int, str]]  # the number of a row from 1, and its cells that hold something, by column from 0


@dataclass(frozen=True, slots=True)
class _Look:
    """What is known of a sheet before it is read: its part, its formulas without a value, whether most is empty."""

    part: str
    formulas: _Formulas
    is_sparse: bool


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield the facts of a workbook, then its sheets: a heading, then groups of rows."""
    data = path.read_bytes()
    facts = Facts()
    looks: dict[str, _Look] = {}
    with ExitStack() as stack:
        package: Zipped | None = None
        if data.startswith(_ZIP):
            package = stack.enter_context(Zipped(path, limits))
            facts = core_facts(package, limits, "")
            looks = _looks(package, limits)
        book = stack.enter_context(_opened(data))
        names = book.sheet_names
        if len(names) > limits.pages:
            raise Unreadable(f"{len(names):,} sheets; at most {limits.pages:,} are read")
        yield replace(facts, mime=MIMES.get(path.suffix.lower(), ""), pages=len(names))
        composer = Composer(limits)
        for name in names:
            look = looks.get(name)
            rows = None if look is not None and look.is_sparse else _read_by_calamine(book, name, look)
            if rows is None and package is not None and look is not None:
                rows = sheet_rows(package, look.part, shared_strings(package, limits), limits)
            if rows is None:
                raise Unreadable(f"damaged: sheet {name[:100]!r}")
            yield from _Sheet(name, rows, composer).blocks()


def _read_by_calamine(book: CalamineWorkbook, name: str, look: _Look | None) -> Iterator[_Row] | None:
    """The rows of a sheet; None where calamine refuses it, as for a number with a blank before it."""
    from python_calamine import CalamineError

    try:
        return _rows(book.get_sheet_by_name(name), look.formulas if look is not None else {})
    except CalamineError:
        return None


def _opened(data: bytes) -> CalamineWorkbook:
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    try:
        return CalamineWorkbook.from_filelike(io.BytesIO(data))
    except PasswordError:
        raise Unreadable("password") from None
    except (CalamineError, OSError, ValueError) as error:
        raise Unreadable("password" if _ENCRYPTED in data else f"damaged: {reason_of(error)}") from None


def _rows(sheet: CalamineSheet, formulas: _Formulas) -> Iterator[_Row]:
    """Yield the rows that hold something, with the formulas that have no value."""
    waiting = sorted(formulas)
    if sheet.start is not None:  # it is None of an empty sheet and of a chart
        left = sheet.start[1]
        for number, row in enumerate(sheet.iter_rows(), 1):
            while waiting and waiting[0] < number:
                yield waiting[0], formulas[waiting.pop(0)]
            cells = {
                place: text
                for place, value in enumerate(row, left)
                if value != "" and (text := value if _is_clean(value) else _text(value))
            }
            if waiting and waiting[0] == number:
                cells = dict(sorted((formulas[waiting.pop(0)] | cells).items()))
            if cells:
                yield number, cells
    for number in waiting:
        yield number, formulas[number]


def _is_clean(value: object) -> TypeGuard[str]:
    """Whether a value that is not empty is a string as it should be: by far the most strings are."""
    return type(value) is str and value.isprintable() and value[0] != " "


def _text(value: object) -> str:
    """A value as people write it."""
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")
    return str(value)


class _Sheet:
    """Makes blocks of the rows of a sheet: what stands above its table, the header, groups of rows."""

    def __init__(self, name: str, rows: Iterator[_Row], composer: Composer) -> None:
        self._name, self._composer, self._rows = name, composer, rows
        self._left: int | None = None  # the column that rows begin at
        self._group: list[str] = []
        self._size = self._first = self._last = 0
        self._alone = False  # the next group is a passage of its own, not one with the heading or the table's header

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks of a sheet that is not empty."""
        in_table = False
        for number, cells in self._rows:
            if not self._last:
                yield self._block(BlockKind.HEADING, tidy(self._name) or "Sheet", number, number, 1, whole=True)
            text = self._text(cells)
            if not in_table:
                in_table = len(cells) > 1
                if in_table and not any(cell[:1].isdecimal() or cell[:1] == "=" for cell in cells.values()):
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

    def _text(self, cells: dict[int, str]) -> str:
        """A row with its empty cells, but for those left of the table and where most are empty."""
        first, last = next(iter(cells)), next(reversed(cells))
        self._left = first if self._left is None else min(first, self._left)
        begin = self._left
        if len(cells) == last - begin + 1:
            return SEPARATOR.join(cells.values())
        if last - begin > 20 + 4 * len(cells):
            return SEPARATOR.join(cells.values())
        return SEPARATOR.join(cells.get(place, "") for place in range(begin, last + 1))

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


def _looks(package: Zipped, limits: Limits) -> dict[str, _Look]:
    """A look at each sheet of a workbook, by name; none in formats other than .xlsx and .xlsm."""
    if "xl/workbook.xml" not in package:
        return {}
    book = _Book()
    run(package.chunks("xl/workbook.xml"), book, limits, SPACES)
    found = relations(package, "xl/workbook.xml", limits)
    parts = {name: found[id].target for name, id in book.sheets.items() if id in found}
    return {name: _look(package.chunks(part), part) for name, part in parts.items() if part in package}


def _look(chunks: Iterator[bytes], part: str) -> _Look:
    formulas: _Formulas = {}
    rows = columns = 0
    declared: int | None = None
    tail = b""
    for chunk in chunks:
        data = tail + chunk
        if declared is None:
            found = _DECLARED.search(data)
            declared = (column(found[1].decode()) + 1) * int(found[2]) if found else MOST_CELLS + 1
        if declared > MOST_CELLS:  # it says so: look where its cells are
            for cell in _FILLED.finditer(data):
                columns, rows = max(columns, column(cell[1].decode()) + 1), max(rows, int(cell[2]))
        if b"</f>" in data:
            for formula in _FORMULA.finditer(data):
                text = f"={html.unescape(formula[3].decode('utf-8', 'replace'))}"
                formulas.setdefault(int(formula[2]), {})[column(formula[1].decode())] = tidy(text).replace("\n", " ")
        tail = data[-_TAIL:]
    ordered = {number: dict(sorted(cells.items())) for number, cells in formulas.items()}
    return _Look(part, ordered, rows * columns > MOST_CELLS)


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
