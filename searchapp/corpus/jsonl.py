"""JSON Lines: one object a line, plain or gzip'd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from searchapp.corpus.document import Document, Record, Rejected
from searchapp.corpus.lines import Line, Lines
from searchapp.corpus.validate import RawRecord, validate


def read_jsonl(path: Path, file: str) -> Iterator[Record]:
    """Read one record a line; blank lines are passed over, a bad line becomes a rejection.

    Raises CorpusError where the file cannot be read, or its gzip data is damaged.
    """
    lines = Lines(path, file)
    for line in lines:
        if line.data.strip():
            yield Record(_item(line, file), lines.progress)


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
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}, expected an object with `_id`, `text` and perhaps `title`")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"invalid JSON: {name} is not in the language; use null or leave the field out")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
