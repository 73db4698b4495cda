"""Documents on disk: one Arrow IPC file a segment, one record batch in it, memory-mapped to read."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.corpus.document import Document
from searchapp.errors import IndexStoreError
from searchapp.filesystem import allow_open_files
from searchapp.index.storage.directory import ChecksumWriter
from searchapp.index.storage.manifest import Segment
from searchapp.index.storage.text_columns import TextColumn, text_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from searchapp.corpus.batch import DocumentBatch


COLUMNS = ("id", "title", "text", "metadata", "fields")


def write_documents(draft: ChecksumWriter, documents: Sequence[Document]) -> None:
    """Write one segment's documents.

    ``metadata`` is kept as JSON text, which is what hits return. ``fields`` repeats it as typed columns, which is what
    filters read.
    """
    import pyarrow as pa

    columns = {
        "id": pa.array([document.id for document in documents], pa.string()),
        "title": pa.array([document.title for document in documents], pa.large_string()),
        "text": pa.array([document.text for document in documents], pa.large_string()),
        "metadata": pa.array(
            [json.dumps(dict(item.metadata), ensure_ascii=False) for item in documents], pa.large_string()
        ),
        "fields": _columns(documents),
    }
    write_batches(draft, [pa.record_batch(columns)])


def write_columns(draft: ChecksumWriter, batch: DocumentBatch) -> None:
    """Write documents that are columns already, as ``write_documents`` writes them."""
    import pyarrow as pa

    empty = pa.array([""], pa.large_string()).take(pa.array(np.zeros(len(batch), dtype=np.int64)))
    named = {f"{_kind_of_column(column)}:{key}": column for key, column in batch.metadata.items()}
    fields = pa.array([{}] * len(batch), pa.struct([]))
    if named:
        fields = pa.StructArray.from_arrays([named[name] for name in sorted(named)], names=sorted(named))
    columns = {
        "id": batch.id_column,
        "title": empty if batch.titles is None else batch.titles,
        "text": empty if batch.texts is None else batch.texts,
        "metadata": pa.array(batch.json(), pa.large_string()),
        "fields": fields,
    }
    write_batches(draft, [pa.record_batch(columns)])


def _kind_of_column(column: pa.Array) -> str:
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        return "flag"
    return "text" if pa.types.is_string(column.type) else "number"


def write_batches(draft: ChecksumWriter, batches: Sequence[pa.RecordBatch]) -> None:
    """Write record batches of one schema as the documents of one segment."""
    import pyarrow as pa

    table = pa.Table.from_batches(batches).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_batch(table.to_batches()[0])
    draft.write(memoryview(sink.getvalue()))


def _columns(documents: Sequence[Document]) -> pa.StructArray:
    """One column for each key and kind of value, named ``kind:key``, null where the value is of another kind.

    Kinds are ``number`` (64-bit integers where all are, else float64), ``text``, ``flag``, and ``other`` for lists and
    objects, of which only the presence is kept.
    """
    import pyarrow as pa

    found: dict[str, dict[int, Any]] = {}
    for row, document in enumerate(documents):
        for key, value in document.metadata.items():
            if value is not None:
                found.setdefault(f"{kind_of(value)}:{key}", {})[row] = value
    arrays = []
    for name in sorted(found):
        values = [found[name].get(row) for row in range(len(documents))]
        if name.startswith("other:"):
            arrays.append(pa.array([None if value is None else True for value in values], pa.bool_()))
        elif name.startswith("number:"):
            arrays.append(_numbers(values))
        else:
            arrays.append(pa.array(values))
    if not found:
        return pa.array([{}] * len(documents), pa.struct([]))
    return pa.StructArray.from_arrays(arrays, names=sorted(found))


def kind_of(value: Any) -> str:
    """The kind of column a metadata value stands in."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "other"


def _numbers(values: list[Any]) -> pa.Array:
    import pyarrow as pa

    given = [value for value in values if value is not None]
    if all(isinstance(value, int) and -(2**63) <= value < 2**63 for value in given):
        return pa.array(values, pa.int64())
    return pa.array([None if value is None else as_float(value) for value in values], pa.float64())


def as_float(value: int | float) -> float:
    """The nearest float64; infinite where there is none."""
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf if value > 0 else -math.inf


def _document(identifier: str, title: str, text: str, metadata: str) -> Document:
    return Document(identifier, text, title, json.loads(metadata) if metadata != "{}" else {})


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


class DocumentStore:
    """Random access to the documents of all segments by row number."""

    def __init__(self, folder: Path, segments: Sequence[Segment]) -> None:
        self._folder = folder
        self.segments = segments
        self._begins = [segment.base for segment in segments]
        self._open: dict[int, pa.RecordBatch] = {}
        self._texts: dict[int, tuple[TextColumn, ...]] = {}  # all but the typed metadata
        self._columns: dict[tuple[int, str], pa.Array] = {}

    def batch(self, number: int) -> pa.RecordBatch:
        """The record batch of one segment; opened once. Its values need not be sound: ``read`` and ``column`` look."""
        if number not in self._open:
            import pyarrow as pa

            path = self._folder / self.segments[number].documents_file
            allow_open_files(len(self.segments) + 512)  # a mapping keeps its file open
            try:
                batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
                batch.validate()
                if batch.num_rows != self.segments[number].count:
                    raise ValueError(f"{batch.num_rows} rows, expected {self.segments[number].count}")
                columns = [batch.column(name) for name in COLUMNS]
                tuple(field.name for field in columns[-1].type)  # of metadata, which are text as well
            except (pa.ArrowException, OSError, ValueError, KeyError) as error:
                raise IndexStoreError(
                    f"{path} cannot be read as documents ({_first_line(error)}); "
                    f"mend it with `searchapp verify {self._folder.parent} --repair`"
                ) from error
            self._open[number] = batch
        return self._open[number]

    def column(self, number: int, name: str) -> pa.Array:
        """One column of a segment, proved to be sound once: Arrow ends the process where it follows a wrong offset."""
        if (number, name) not in self._columns:
            column = self.batch(number).column(name)
            self.prove(number, column)
            self._columns[number, name] = column
        return self._columns[number, name]

    def read(self, row: int) -> Document:
        """The document of a row."""
        number = bisect_right(self._begins, row) - 1
        columns = self._texts.get(number)
        if columns is None:
            columns = self._texts[number] = text_columns(self.batch(number), COLUMNS[:4])
        place = row - self._begins[number]
        try:
            identifier, title, text, metadata = columns
            return _document(identifier.read(place), title.read(place), text.read(place), metadata.read(place))
        except (ValueError, IndexError) as error:
            with self.decoding(number):
                raise ValueError(error) from error

    @contextmanager
    def decoding(self, number: int) -> Iterator[None]:
        """Raise IndexStoreError where texts or metadata of a segment are no UTF-8 or JSON any more."""
        try:
            yield
        except ValueError as error:
            raise IndexStoreError(
                f"data/{self.segments[number].documents_file} holds damaged documents ({error}); "
                f"mend it with `searchapp verify {self._folder.parent} --repair`"
            ) from error

    def kept(self, number: int, mask: np.ndarray) -> pa.RecordBatch:
        """The rows of one segment where a boolean mask is true."""
        import pyarrow as pa

        return self.batch(number).filter(pa.array(mask))

    def documents(self, number: int, mask: np.ndarray | None = None) -> list[Document]:
        """The documents of one segment in row order: all of them, or where ``mask`` is true."""
        columns = [self.column(number, name) for name in COLUMNS[:4]]
        if mask is not None:
            columns = [column.filter(mask) for column in columns]
        with self.decoding(number):
            return [_document(*row) for row in zip(*(column.to_pylist() for column in columns), strict=True)]

    def ids(self, number: int) -> list[str]:
        """All ids of one segment, in row order."""
        found: list[str] = self.column(number, "id").to_pylist()
        return found

    def fields(self) -> list[pa.StructArray]:
        """The typed metadata columns, a struct array for each segment; a part is read only after ``prove``."""
        return [self.batch(number).column("fields") for number in range(len(self.segments))]

    def prove(self, number: int, part: pa.Array) -> None:
        """Raise IndexStoreError where a part of a segment is not sound."""
        with self.decoding(number):
            part.validate(full=True)
