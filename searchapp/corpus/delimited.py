"""CSV and TSV: a header row that names the columns, then one document a row."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from searchapp.corpus.cells import allow_long_cells, typed
from searchapp.corpus.document import Document, Record, Rejected
from searchapp.corpus.lines import Lines
from searchapp.corpus.validate import ID_FIELDS, RawRecord, known_columns, require_columns, validate
from searchapp.errors import CorpusError
from searchapp.unicode import find_surrogate

_TEXT_COLUMNS = frozenset((*ID_FIELDS, "title", "text"))
_DELIMITERS = ",;\t|"
_DECLARED = re.compile(r'"?sep=(.)"?[,;\\t]*', re.IGNORECASE)  # the line that Excel reads and writes
_SHAPE = ((re.compile(r"[0-9]+"), "0"), (re.compile(r"[^\W\d_]+"), "a"))


class _HeldLine(NamedTuple):
    """A line of the file as text."""

    number: int
    text: str
    cut: bool


@dataclass
class _Feed:
    """Hands a file's lines to ``csv.reader`` as text, and holds those of the row in hand, to read them again.

    Bytes that are not UTF-8 go through as lone surrogates: a good file cannot hold any, so the row that has one can be
    named later, where an exception here would end the reader.
    """

    lines: Lines
    taken: list[_HeldLine] = field(default_factory=list)
    waiting: deque[_HeldLine] = field(default_factory=deque)
    end: int = 0  # the byte behind the last line that was read

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.waiting:
            held = self.waiting.popleft()
        else:
            line = next(self.lines)
            self.end = line.start + len(line.data)
            held = _HeldLine(line.number, line.data.decode(errors="surrogateescape"), not line.whole)
        self.taken.append(held)
        return held.text

    def give_back(self, count: int) -> None:
        """Read all lines of the row in hand but the first ``count`` again, as rows of their own."""
        self.waiting.extendleft(reversed(self.taken[count:]))
        del self.taken[count:]


@dataclass(frozen=True)
class _Table:
    """What the header says: the names of the columns, and how the rows are written."""

    columns: list[str]
    delimiter: str
    blanks: bool
    written: tuple[str, ...] = ()  # the header's cells as they stand

    def cells(self, line: str) -> list[str] | None:
        """A line as a row without quoting; None where it has not a cell for each column."""
        cells = line.rstrip("\r\n").split(self.delimiter)
        return cells if len(cells) == len(self.columns) > 1 else None

    def shape(self, cells: list[str] | None) -> str | None:
        """How the id of a row looks: digits as 0, letters as a."""
        if cells is None:
            return None
        found = cells[next(place for place, name in enumerate(self.columns) if name in ID_FIELDS)].strip()
        for pattern, sign in _SHAPE:
            found = pattern.sub(sign, found)
        return found


def read_csv(path: Path, file: str, span: tuple[int, int] | None = None) -> Iterator[Record]:
    """Read comma-separated rows; see ``_read``."""
    return _read(path, file, ",", span)


def read_tsv(path: Path, file: str, span: tuple[int, int] | None = None) -> Iterator[Record]:
    """Read tab-separated rows; see ``_read``."""
    return _read(path, file, "\t", span)


def header_end(path: Path, file: str, delimiter: str) -> int:
    """The byte behind the header of a plain UTF-8 table. Raises CorpusError where its header cannot be read."""
    feed = _Feed(Lines(path, file, returns=True))
    _header(feed, file, delimiter)
    return feed.end


def _read(path: Path, file: str, delimiter: str, span: tuple[int, int] | None = None) -> Iterator[Record]:
    """Yield one record a row; ``line`` is the line of the file where the row starts, the header being line 1.

    Quoting is read strictly: a stray quote is a rejection, not a guess; in a table with tabs, which has no quoting of
    its own, it is a quote where each line has all its cells. A row that runs over lines which look like rows is not
    believed, and the header again is rejected. For metadata cells see ``typed``; an empty cell and a column without a
    name are left out. ``span`` is a part of a file without quotes, as ``Lines`` takes it; the first begins at byte 0
    and ends behind the header.

    Raises CorpusError where the header lacks the `text` or the id column, or the file cannot be read.
    """
    feed = _Feed(Lines(path, file, returns=True, span=None if span is None or span[0] else span))
    table = _header(feed, file, delimiter)
    if span is not None and span[0]:
        feed = _Feed(Lines(path, file, returns=True, span=span))
    rows = csv.reader(feed, delimiter=table.delimiter, skipinitialspace=table.blanks, strict=True)
    doubt = _Doubt()
    while True:
        feed.taken.clear()
        try:
            row, fault = next(rows), ""
        except StopIteration:
            return
        except csv.Error as error:
            row, fault = [], _reason(error)
        if not fault and len(row) < 2 and not "".join(row).strip():
            continue
        for item in _items(table, feed, row, fault, doubt, file):
            yield Record(item, feed.lines.progress)


@dataclass
class _Doubt:
    """Lines up to ``until`` stand where a quote on line ``opened`` is open: rows there have ids like ``shape``."""

    opened: int = 0
    until: int = 0
    shape: str | None = None


def _items(
    table: _Table, feed: _Feed, row: list[str], fault: str, doubt: _Doubt, file: str
) -> Iterator[Document | Rejected]:
    taken = list(feed.taken)
    first = taken[0].number
    if any(held.cut for held in taken):
        yield Rejected(file=file, line=first, reason="a line that is too long was cut")
        return
    several, good = len(taken) > 1, not fault and len(row) == len(table.columns)
    plain = [table.cells(held.text) for held in taken]
    if table.delimiter == "\t" and (several or not good) and all(plain):
        for held, cells in zip(taken, plain, strict=True):
            yield _item(table, cells or [], held.number, doubt, file)
        return
    shape = table.shape(plain[0])
    alike = [shape is not None and table.shape(cells) == shape for cells in plain[1:]]
    where = f" (the row runs on to line {taken[-1].number})" if several else ""
    if good and several and all(alike):
        for held in taken:
            reason = f"a quote that opens on line {first} takes in lines that look like rows: close it, or double it"
            yield Rejected(file=file, line=held.number, reason=reason)
    elif good:
        yield _item(table, row, first, doubt, file)
    else:
        reason = f"not a row of the table{where}: {fault}" if fault else _cells_fault(table, row, where)
        if any('\\"' in held.text for held in taken):
            reason += '; a backslash does not mark a quote: write "" in its place'
        yield Rejected(file=file, line=first, reason=reason)
        if any(alike):
            doubt.opened, doubt.until, doubt.shape = first, taken[-1].number, shape
            feed.give_back(1)


def _item(table: _Table, row: list[str], line: int, doubt: _Doubt, file: str) -> Document | Rejected:
    if line <= doubt.until and table.shape(row) != doubt.shape:
        reason = f"may be part of the row on line {doubt.opened}, whose quote is not closed"
        return Rejected(file=file, line=line, reason=reason)
    if tuple(row) == table.written:
        return Rejected(file=file, line=line, reason="the header row again, as files put together have it: remove it")
    for name, cell in zip(table.columns, row, strict=True):
        if find_surrogate(cell) is not None:
            reason = f"invalid UTF-8 in `{name}`: save the file as UTF-8"
            return Rejected(file=file, line=line, reason=reason)
    return validate(RawRecord(_fields(table.columns, row), file, line))


def _cells_fault(table: _Table, row: list[str], where: str) -> str:
    return f"{len(row)} cells, the header names {len(table.columns)}{where}"


def _reason(error: csv.Error) -> str:
    text = str(error)
    if "new-line character" in text:
        return "a carriage return inside a cell without quotes: end lines alike, or quote the cell"
    return text


def _header(feed: _Feed, file: str, delimiter: str) -> _Table:
    """Read the header, and from it how the table is written.

    A first line ``sep=;`` declares the delimiter. Else it is the one of the file's ending; another one only where the
    names `id` and `text` are found with that one alone.
    """
    first = next((line for line in feed if line.strip()), None)
    if first is None:
        raise CorpusError(f"{file}: empty; expected a header row with the columns `id` and `text`")
    declared = _DECLARED.fullmatch(first.strip("\r\n"))
    if declared:
        feed.taken.clear()
        table = _columns(feed, file, declared[1])
        require_columns(table.columns, file)
        return table
    tables = []
    del feed.taken[:-1]  # blank lines
    for known in dict.fromkeys((delimiter, *_DELIMITERS)):
        feed.give_back(0)
        tables.append(_columns(feed, file, known))
        if _complete(tables[-1].columns):
            break
    else:
        require_columns(tables[0].columns, file)
    require_columns(tables[-1].columns, file)
    return tables[-1]


def _columns(feed: _Feed, file: str, delimiter: str) -> _Table:
    allow_long_cells()
    try:
        rows = csv.reader(feed, delimiter=delimiter, strict=True)
        columns = next((row for row in rows if "".join(row).strip()), [])
    except csv.Error as error:
        raise CorpusError(f"{file}: the header row cannot be read: {_reason(error)}") from error
    if any(find_surrogate(name) is not None for name in columns):
        raise CorpusError(f"{file}: the header row is not valid UTF-8; save the file as UTF-8")
    # Blanks after all delimiters: whoever wrote the header so wrote the rows so.
    blanks = len(columns) > 1 and all(name[:1] == " " for name in columns[1:])
    if blanks:
        columns = [name.strip(" ").removeprefix('"').removesuffix('"') for name in columns]
    return _Table(known_columns(columns), delimiter, blanks, tuple(columns))


def _complete(columns: list[str]) -> bool:
    return "text" in columns and any(name in columns for name in ID_FIELDS)


def _fields(columns: list[str], row: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, cell in zip(columns, row, strict=True):
        if name in _TEXT_COLUMNS:
            fields[name] = cell
        elif name and cell:
            fields[name] = typed(cell)
    return fields
