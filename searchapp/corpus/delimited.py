"""CSV and TSV: a header row that names the columns, then one document a row."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from searchapp.corpus.document import Document, Record, Rejected
from searchapp.corpus.lines import Lines
from searchapp.corpus.validate import ID_FIELDS, RawRecord, require_columns, validate
from searchapp.errors import CorpusError

# A quote that is never closed would otherwise swallow the whole rest of the file into one cell.
_MAX_CELL_CHARACTERS = 16 * 2**20
_TEXT_COLUMNS = frozenset((*ID_FIELDS, "title", "text"))
# No leading zeros, and at most 18 digits: "007" and longer numbers are names, and would not come back the same.
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?(?:[eE][-+]?[0-9]{1,3})?")
_BOOLEANS = {"true": True, "false": False}


class _Feed:
    """Hands a file's lines to ``csv.reader`` as text, and remembers the last one that had to be cut short.

    Bytes that are not UTF-8 go through as lone surrogates: a good file cannot hold any, so the row that has one can be
    named later, where an exception here would end the reader.
    """

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.cut = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        if not line.whole:
            self.cut = line.number
        return line.data.decode(errors="surrogateescape")


def read_csv(path: Path, file: str) -> Iterator[Record]:
    """Read comma-separated rows; see ``_read``."""
    return _read(path, file, ",")


def read_tsv(path: Path, file: str) -> Iterator[Record]:
    """Read tab-separated rows; see ``_read``."""
    return _read(path, file, "\t")


def _read(path: Path, file: str, delimiter: str) -> Iterator[Record]:
    """Yield one record a row; ``line`` is the line of the file where the row starts, the header being line 1.

    Quoting is read strictly: a stray quote is a rejection, not a guess. A metadata cell that is wholly an integer, a
    float or true/false becomes one; an empty cell and a column without a name are left out.

    Raises CorpusError where the header lacks the `text` or the id column, or the file cannot be read.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_CELL_CHARACTERS))
    feed = _Feed(Lines(path, file))
    rows = csv.reader(feed, delimiter=delimiter, strict=True)
    columns = _header(rows, file)
    while True:
        line = feed.lines.number + 1
        item: Document | Rejected
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            reached = feed.lines.number
            where = f" (the row runs on to line {reached})" if reached > line else ""
            item = Rejected(file=file, line=line, reason=f"not a row of the table{where}: {error}")
        else:
            if len(row) < 2 and not "".join(row).strip():
                continue
            fault = "a line that is too long was cut" if feed.cut >= line else _row_fault(columns, row)
            if fault:
                item = Rejected(file=file, line=line, reason=fault)
            else:
                item = validate(RawRecord(_fields(columns, row), file, line))
        yield Record(item, feed.lines.progress)


def _header(rows: Iterator[list[str]], file: str) -> list[str]:
    try:
        columns = next((row for row in rows if "".join(row).strip()), None)
    except csv.Error as error:
        raise CorpusError(f"{file}: the header row cannot be read: {error}") from error
    if columns is None:
        raise CorpusError(f"{file}: empty; expected a header row with the columns `id` and `text`")
    if not all(map(_is_utf8, columns)):
        raise CorpusError(f"{file}: the header row is not valid UTF-8; save the file as UTF-8")
    require_columns(columns, file)
    return columns


def _row_fault(columns: list[str], row: list[str]) -> str | None:
    if len(row) != len(columns):
        return f"{len(row)} cells, the header names {len(columns)}"
    return next(
        (f"invalid UTF-8 in `{name}`" for name, cell in zip(columns, row, strict=True) if not _is_utf8(cell)), None
    )


def _fields(columns: list[str], row: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, cell in zip(columns, row, strict=True):
        if name in _TEXT_COLUMNS:
            fields[name] = cell
        elif name and cell:
            fields[name] = _typed(cell)
    return fields


def _typed(cell: str) -> bool | int | float | str:
    if cell.lower() in _BOOLEANS:
        return _BOOLEANS[cell.lower()]
    if _INTEGER.fullmatch(cell):
        return int(cell)
    if _FLOAT.fullmatch(cell) and math.isfinite(float(cell)):
        return float(cell)
    return cell


def _is_utf8(cell: str) -> bool:
    if cell.isascii():
        return True
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True
