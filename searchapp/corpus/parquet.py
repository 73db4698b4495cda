"""Parquet: the columns are the fields, read a small batch at a time."""

from __future__ import annotations

import base64
import datetime
import decimal
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from searchapp.corpus.document import Document, Record, Rejected
from searchapp.corpus.validate import RawRecord, require_columns, validate
from searchapp.errors import CorpusError

_BATCH_ROWS = 256
_BUFFER_BYTES = 2**20


def read_parquet(path: Path, file: str) -> Iterator[Record]:
    """Yield one record a row; ``line`` is the row, from 1. Nulls are left out; other columns become JSON values.

    Dates and times become ISO strings, durations seconds, decimals floats, bytes base64, and a NaN is a null.

    Raises CorpusError where the file is not Parquet, is damaged, or has no `text` or id column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb"):
        pass  # what the system refuses must not be blamed on the format
    row = 0
    try:
        # With a buffer size, column chunks are streamed; without, each is read whole, however large the row group.
        with pq.ParquetFile(path, memory_map=False, pre_buffer=False, buffer_size=_BUFFER_BYTES) as table:
            require_columns(table.schema_arrow.names, file)
            total = table.metadata.num_rows
            for batch in table.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
                for item in _items(_microseconds(batch), file, row):
                    row += 1
                    yield Record(item, row / total)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        if row:
            raise CorpusError(
                f"{file}: damaged Parquet data after row {row} ({reason}); write the file again"
            ) from error
        raise CorpusError(f"{file}: cannot be read as Parquet ({reason}); expected a Parquet file") from error


def _items(batch: Any, file: str, before: int) -> Iterator[Document | Rejected]:
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):
        # One bad cell spoils the batch; row by row only the bad rows are lost.
        rows = [None] * batch.num_rows
    for place, fields in enumerate(rows):
        line = before + place + 1
        try:
            found = fields if fields is not None else batch.slice(place, 1).to_pylist()[0]
            known = {name: _json_value(value) for name, value in found.items() if value is not None}
        except UnicodeDecodeError as error:
            yield Rejected(file=file, line=line, reason=f"invalid UTF-8: {error.reason} at byte {error.start + 1}")
        except (ValueError, OverflowError) as error:
            yield Rejected(file=file, line=line, reason=f"a value that cannot be read: {error}")
        else:
            yield validate(RawRecord(known, file, line))


def _microseconds(batch: Any) -> Any:
    """Lower nanosecond columns to microseconds, the finest that Python's own dates and times hold."""
    import pyarrow as pa

    for place, field in enumerate(batch.schema):
        kind = field.type
        if getattr(kind, "unit", None) != "ns":
            continue
        if pa.types.is_timestamp(kind):
            target = pa.timestamp("us", tz=kind.tz)
        else:
            target = pa.time64("us") if pa.types.is_time(kind) else pa.duration("us")
        batch = batch.set_column(place, field.name, batch.column(place).cast(target, safe=False))
    return batch


def _json_value(value: Any) -> Any:  # noqa: C901 - one line a type reads better than a table of lambdas
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {str(name): _json_value(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(part) for part in value]
    return str(value)
