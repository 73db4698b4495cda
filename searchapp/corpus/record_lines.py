"""Where the records of a table or a list stand in its file, found by their ids.

An index does not store it: a line added at the top of a file would move all others. It is looked up when a hit is
shown, so that it is true of the file as it is now.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchapp.corpus.cells import allow_long_cells
from searchapp.corpus.validate import ID_FIELDS, known_columns

LARGEST = 32 << 20  # bytes of a file that is looked through: some 10 ms for each id
TRIES = 100  # places with an id's characters that are looked at; text may hold them too
DELIMITERS = {"csv": ",;|", "tsv": "\t"}


def record_lines(path: Path, kind: str, ids: Collection[str]) -> dict[str, int]:
    """The line, from 1, on which the record of each id begins; without those that are not found.

    ``kind`` is that of a source: jsonl, beir, csv or tsv. Nothing is found in a file that is compressed, larger than
    ``LARGEST``, gone or of another kind, nor where a record of JSON is spread over several lines.
    """
    try:
        if path.suffix == ".gz" or path.stat().st_size > LARGEST:
            return {}
        data = path.read_bytes()
    except OSError:
        return {}
    form = _LIST if kind in ("jsonl", "beir") else _table(data, DELIMITERS[kind]) if kind in DELIMITERS else None
    if form is None:
        return {}
    found = {identifier: _line(data, identifier, form) for identifier in ids}
    return {identifier: line for identifier, line in found.items() if line is not None}


@dataclass(frozen=True)
class _Form:
    """How a file holds records: the id of a line, how an id may be spelled, and whether quotes go over line ends."""

    id_of: Callable[[bytes], str | None]
    spellings: Callable[[str], Collection[bytes]]
    quotes: bool = False


def _line(data: bytes, identifier: str, form: _Form) -> int | None:
    for spelling in form.spellings(identifier):
        for begin, end in _lines_with(data, spelling):
            if form.quotes and data.count(b'"', 0, begin) % 2:
                continue  # inside a cell
            if form.id_of(data[begin:end]) == identifier:
                return data.count(b"\n", 0, begin) + 1
    return None


def _lines_with(data: bytes, text: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end of the first lines that hold a text."""
    at = 0
    for _ in range(TRIES):
        if (at := data.find(text, at)) < 0:
            return
        begin, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        end = len(data) if end < 0 else end
        yield begin, end
        at = end


def _json_spellings(identifier: str) -> list[bytes]:
    both = {json.dumps(identifier, ensure_ascii=ascii).encode(errors="surrogatepass") for ascii in (True, False)}
    return [*both, *([identifier.encode()] if identifier.lstrip("-").isdecimal() else [])]  # a number is an id too


def _json_id(line: bytes) -> str | None:
    try:
        record: Any = json.loads(line.decode("utf-8-sig").strip().strip("[,]"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    return next((str(record[name]) for name in ID_FIELDS if record.get(name) is not None), None)


_LIST = _Form(_json_id, _json_spellings)


def _cell_spellings(identifier: str) -> list[bytes]:
    return [identifier.replace('"', '""').encode(errors="surrogatepass")]


def _table(data: bytes, delimiters: str) -> _Form | None:
    """A table's form; None where the first line is not the head of a table that has one."""
    head = data[: data.find(b"\n") if b"\n" in data else len(data)].decode("utf-8-sig", "replace")
    for delimiter in delimiters:
        columns = known_columns(_cells(head, delimiter))
        name = next((name for name in ID_FIELDS if name in columns), None)
        if name is not None and "text" in columns:
            return _Form(_row_id(delimiter, columns.index(name)), _cell_spellings, quotes=True)
    return None


def _row_id(delimiter: str, column: int) -> Callable[[bytes], str | None]:
    def found(line: bytes) -> str | None:
        cells = _cells(line.decode("utf-8-sig", "replace"), delimiter)
        return cells[column].strip() if column < len(cells) else None

    return found


def _cells(line: str, delimiter: str) -> list[str]:
    allow_long_cells()
    try:
        return next(csv.reader([line.rstrip("\r")], delimiter=delimiter), [])
    except csv.Error:
        return []
