"""Parquet: the columns are the fields, read a small batch at a time."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from searchapp.corpus.column_names import ColumnNames
from searchapp.corpus.document import Document, Record, Rejected
from searchapp.corpus.validate import ID_FIELDS, RawRecord, validate
from searchapp.corpus.vector_column import VECTOR, exported, vector_column
from searchapp.errors import CorpusError

_BATCH_ROWS = 256
_BUFFER_BYTES = 2**20
_TEXT_COLUMNS = frozenset((*ID_FIELDS, "title", "text"))
_OFFSET = re.compile(r"[-+][0-9]{2}:?[0-9]{2}")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def read_parquet(
    path: Path, file: str, columns: ColumnNames | None = None, span: tuple[int, int] | None = None
) -> Iterator[Record]:
    """Yield one record a row; ``line`` is the row, from 1. Nulls are left out; other columns become JSON values.

    Dates and times become ISO strings (nanoseconds cut to microseconds), durations seconds, decimals without a
    fraction integers, others floats, or text where a float is not equal, and a NaN is a null. Bytes are text where
    they are readable UTF-8, as in the files of writers that do not mark text (old Spark, Hive, Impala), else base64;
    in id, title and text they must be text. ``columns`` says which are these, where they are not called so. ``span``
    are the numbers of the first row group and of the one behind the last: these alone are read, and their rows keep
    their numbers.

    Raises CorpusError where the file is not Parquet, is damaged, or has no `text` or id column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb"):
        pass  # what the system refuses must not be blamed on the format
    row = 0
    columns = columns or ColumnNames()
    try:
        # With a buffer size, column chunks are streamed; without, each is read whole, however large the row group.
        # INT96, the timestamps of old Spark and Impala, reach beyond the years that 64 bits of nanoseconds hold, 1678
        # to 2262: read as these they would come out as other dates.
        with pq.ParquetFile(
            path, memory_map=False, pre_buffer=False, buffer_size=_BUFFER_BYTES, coerce_int96_timestamp_unit="us"
        ) as table:
            names = columns.names(table.schema_arrow.names, file)
            groups = range(*span) if span is not None else range(table.num_row_groups)
            counts = [table.metadata.row_group(number).num_rows for number in range(groups.stop)]
            before = row = sum(counts[: groups.start])
            total = sum(counts) - before
            has_vectors = exported(table.schema_arrow) is not None
            for batch in table.iter_batches(batch_size=_BATCH_ROWS, use_threads=False, row_groups=list(groups)):
                read = _exported_items if has_vectors else partial(_items, columns)
                for item in read(_microseconds(batch.rename_columns(names)), file, row):
                    row += 1
                    yield Record(item, (row - before) / total)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        if row:
            raise CorpusError(
                f"{file}: damaged Parquet data after row {row} ({reason}); write the file again"
            ) from error
        raise CorpusError(f"{file}: cannot be read as Parquet ({reason}); expected a Parquet file") from error


def batch_fields(batch: Any, file: str, before: int = 0) -> Iterator[Mapping[str, Any] | Rejected]:
    """Yield the fields of each row of an Arrow record batch, as ``read_parquet`` makes them.

    ``before`` rows came first. A row with a value that cannot be read is a rejection.
    """
    yield from _fields(_microseconds(batch), file, before)


def json_value(value: Any) -> Any:
    """A value of Python, NumPy or pandas as a JSON value, by the rules of ``read_parquet``; an array is a list."""
    if hasattr(value, "tolist") and type(value).__module__ == "numpy" and not isinstance(value, str | bytes):
        value = value.tolist()  # whose text leaves out the middle of a long array
    return _json_value(value)


def _items(columns: ColumnNames, batch: Any, file: str, before: int) -> Iterator[Document | Rejected]:
    for place, found in enumerate(_fields(batch, file, before)):
        if isinstance(found, Rejected):
            yield found
        else:
            yield validate(RawRecord(columns.fields(found), file, before + place + 1))


def _exported_items(batch: Any, file: str, before: int) -> Iterator[Document | Rejected]:
    """The rows of a file of `searchapp export-index`: with their vectors, and metadata as JSON."""
    vectors = vector_column(batch, VECTOR)
    for place, found in enumerate(_fields(batch.drop_columns([VECTOR]), file, before)):
        if isinstance(found, Rejected):
            yield found
            continue
        try:
            fields = {**found, "metadata": json.loads(found.get("metadata", "{}"))}
        except (TypeError, ValueError):
            yield Rejected(file, before + place + 1, "`metadata` is no JSON")
            continue
        yield validate(RawRecord(fields, file, before + place + 1, vectors[place]))


def _fields(batch: Any, file: str, before: int) -> Iterator[Mapping[str, Any] | Rejected]:
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):
        # One bad cell spoils the batch; row by row only the bad rows are lost.
        rows = [None] * batch.num_rows
    for place, fields in enumerate(rows):
        line = before + place + 1
        try:
            found = fields if fields is not None else batch.slice(place, 1).to_pylist()[0]
            yield {name: _field(name, value) for name, value in found.items() if value is not None}
        except UnicodeDecodeError as error:
            at = f"{error.reason} at byte {error.start + 1}"
            yield Rejected(file=file, line=line, reason=f"invalid UTF-8: {at}; if it is bytes, write it as text")
        except (ValueError, OverflowError) as error:
            yield Rejected(file=file, line=line, reason=f"a value that cannot be read: {error}")


def _microseconds(batch: Any) -> Any:
    """Lower nanoseconds, nested ones too, to microseconds, the finest that Python's own dates and times hold."""
    for place, field in enumerate(batch.schema):
        if (target := _lowered(field.type)) != field.type:
            batch = batch.set_column(place, field.name, _cast(batch.column(place), target))
    return batch


def _lowered(kind: Any) -> Any:
    import pyarrow as pa
    from pyarrow import types

    if types.is_timestamp(kind):
        return pa.timestamp("us" if kind.unit == "ns" else kind.unit, tz=_zone(kind.tz))
    if types.is_time64(kind) and kind.unit == "ns":
        return pa.time64("us")
    if types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if types.is_dictionary(kind):
        return kind if (inner := _lowered(kind.value_type)) == kind.value_type else inner
    if types.is_struct(kind):
        return pa.struct([field.with_type(_lowered(field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(
            kind.key_field.with_type(_lowered(kind.key_type)), kind.item_field.with_type(_lowered(kind.item_type))
        )
    if types.is_list(kind) or types.is_large_list(kind):
        make = pa.list_ if types.is_list(kind) else pa.large_list
        return make(kind.value_field.with_type(_lowered(kind.value_type)))
    if types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_lowered(kind.value_type)), kind.list_size)
    return kind


@cache
def _zone(name: str | None) -> str | None:
    """A time zone, or UTC where this machine does not know it: the instant is the same."""
    if name is None or _OFFSET.fullmatch(name):
        return name
    try:
        return name if ZoneInfo(name) else None
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return "UTC"


def _cast(column: Any, target: Any) -> Any:
    return column.cast(target, safe=False)


def _field(name: str, value: Any) -> Any:
    if name in _TEXT_COLUMNS and isinstance(value, bytes):
        return value.decode()
    if name == "metadata" and isinstance(value, list) and value and all(isinstance(part, tuple) for part in value):
        fields = {str(_json_value(key)): part for key, part in value}  # a map: an object, where it can be one
        if len(fields) == len(value):
            return _json_value(fields)
    return _json_value(value)


def _bytes_value(value: bytes) -> str:
    """The text that bytes are, or base64 where they are none."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if text.isprintable() or not _CONTROLS.search(text):
        return text
    return base64.b64encode(value).decode("ascii")


def _json_value(value: Any) -> Any:  # noqa: C901 - one line a type reads better than a table of lambdas
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if value is None or isinstance(value, str | bool | int):
        return value
    if hasattr(value, "to_pydatetime"):  # pandas' own, from views of lists, whose nanoseconds pyarrow cannot lower
        value = value.to_pydatetime(warn=False)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        if value.as_tuple().exponent == 0:
            return int(value)
        near = float(value)
        return near if decimal.Decimal(repr(near)) == value else str(value)
    if isinstance(value, bytes):
        return _bytes_value(value)
    if isinstance(value, Mapping):
        return {str(name): _json_value(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(part) for part in value]
    return str(value)
