"""JSON Lines: one object a line, plain or gzip'd."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from searchapp.corpus.document import Document, Record, Rejected
from searchapp.corpus.lines import MAX_LINE_BYTES, Line, Lines
from searchapp.corpus.validate import RawRecord, validate
from searchapp.errors import CorpusError


def read_jsonl(path: Path, file: str, span: tuple[int, int] | None = None) -> Iterator[Record]:
    """Read one record a line; blank lines are passed over, a bad line becomes a rejection.

    A file that is one JSON array of objects is read too, on one line or many, whatever its name says. ``span`` is a
    part of a file with an object a line, as ``Lines`` takes it.

    Raises CorpusError where the file cannot be read, its gzip data is damaged, or its one line is too long.
    """
    lines = Lines(path, file, span=span)
    first = span is None or span[0] == 0
    for line in lines:
        if not line.data.strip():
            continue
        if first and line.data.lstrip().startswith(b"["):
            if not line.whole:
                raise CorpusError(
                    f"{file}: an array on a line of over {len(line.data):,} bytes; write an object a line"
                )
            for item in _array(line, lines, file):
                yield Record(item, lines.progress)
        else:
            for item in _items(line, file):
                yield Record(item, lines.progress)
        first = False


def _items(line: Line, file: str) -> Iterator[Document | Rejected]:
    """The record of a line; its records where carriage returns, as an old Mac ends lines, are between them."""
    item = _item(line, file)
    parts = line.data.strip().split(b"\r")
    if isinstance(item, Document) or len(parts) < 2 or not line.whole or not all(map(_is_object, parts)):
        yield item
        return
    for part in parts:
        if part.strip():
            yield _item(line._replace(data=part), file)


def _is_object(part: bytes) -> bool:
    """Whether bytes begin and end as an object does; blank ones may stand between two."""
    part = part.strip()
    return not part or (part.startswith(b"{") and part.endswith(b"}"))


def _array(line: Line, lines: Lines, file: str) -> Iterator[Document | Rejected]:  # noqa: C901 - one state machine
    """The objects of an array that begins on this line; one rejection where the line alone is something else."""
    try:
        value = json.loads(line.data)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list) and not (value and all(isinstance(part, dict) for part in value)):
        yield _item(line, file)
        return
    depth, buffer, start = 0, "", line.number
    while True:
        try:
            text = line.text()
        except ValueError as error:
            yield Rejected(file=file, line=line.number, reason=str(error))
            text = ""
        begin = 0
        for found in _STRUCTURE.finditer(text):
            sign = found[0]
            if sign in "[{":
                depth += 1
                if depth == 1:
                    begin = found.end()
            closes = sign in "]}"
            depth -= closes
            if (sign == "," and depth == 1) or (closes and depth == 0):
                part = buffer + text[begin : found.start()]
                buffer, begin = "", found.end()
                if part.strip():
                    yield _element(part, file, start)
                start = line.number
            if closes and depth == 0:
                if text[begin:].strip():
                    yield Rejected(file=file, line=line.number, reason="text after the end of the JSON array")
                return
        if not buffer.strip() and not text[begin:].strip():
            start = line.number + 1
        buffer += text[begin:]
        following = next(lines, None)
        if following is None or len(buffer) > MAX_LINE_BYTES:
            reason = "a JSON array that is not closed: the file ends inside of it"
            yield Rejected(file=file, line=start, reason=reason)
            return
        line = following


def _element(part: str, file: str, line: int) -> Document | Rejected:
    try:
        fields = _parse(part.strip())
    except ValueError as error:
        return Rejected(file=file, line=line, reason=str(error))
    return validate(RawRecord(fields, file, line))


def _item(line: Line, file: str) -> Document | Rejected:
    try:
        fields = _parse(line.text().rstrip("\r\n"))
    except ValueError as error:
        return Rejected(file=file, line=line.number, reason=str(error))
    return validate(RawRecord(fields, file, line.number))


def _parse(text: str) -> dict[str, Any]:
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"invalid JSON at column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("invalid JSON: nested too deep") from None
    except ValueError as error:
        if "digits" in str(error):
            raise ValueError("a whole number beyond the limit of 4,300 digits: write it as text") from None
        raise
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}, expected an object with `_id`, `text` and perhaps `title`")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"invalid JSON: {name} is not in the language; use null or leave the field out")


def unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, none of whose names may stand twice: which of the two is meant cannot be known (RFC 8259, 4)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {doubled!r} stands twice in one object: rename one of them")
    return found


# Strings are passed over whole: JSON has none that goes over a line end.
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[][{},]')
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=unique_object)
