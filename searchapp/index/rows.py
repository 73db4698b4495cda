"""Documents on disk: one Arrow IPC file a segment, one record batch in it, memory-mapped to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.corpus.document import Document
from searchapp.index.durable import Draft
from searchapp.index.manifest import Segment

if TYPE_CHECKING:
    import pyarrow as pa

SCALARS = (str, int, float, bool)


def write_rows(draft: Draft, documents: Sequence[Document]) -> None:
    """Write one segment's documents.

    ``metadata`` is kept as JSON text, which is what hits return. ``fields`` repeats its scalars as typed columns,
    which is what filters read; a key whose values differ in type within a segment is kept as text there.
    """
    import pyarrow as pa

    batch = pa.record_batch(
        {
            "id": pa.array([document.id for document in documents], pa.string()),
            "title": pa.array([document.title for document in documents], pa.large_string()),
            "text": pa.array([document.text for document in documents], pa.large_string()),
            "metadata": pa.array(
                [json.dumps(dict(item.metadata), ensure_ascii=False) for item in documents], pa.large_string()
            ),
            "fields": _columns(documents),
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    draft.write(memoryview(sink.getvalue()))


def _columns(documents: Sequence[Document]) -> pa.StructArray:
    import pyarrow as pa

    names = sorted({key for item in documents for key, value in item.metadata.items() if isinstance(value, SCALARS)})
    arrays = []
    for name in names:
        values = [item.metadata.get(name) for item in documents]
        values = [value if isinstance(value, SCALARS) else None for value in values]
        kinds = {type(value) for value in values if value is not None}
        if kinds == {int, float}:
            values, kinds = [None if value is None else float(value) for value in values], {float}
        if len(kinds) > 1:
            values = [None if value is None else str(value) for value in values]
        try:
            arrays.append(pa.array(values))
        except (OverflowError, pa.ArrowInvalid):  # an integer beyond 64 bits
            arrays.append(pa.array([None if value is None else str(value) for value in values]))
    if not names:
        return pa.array([{}] * len(documents), pa.struct([]))
    return pa.StructArray.from_arrays(arrays, names=names)


class Rows:
    """Random access to the documents of all segments by row number."""

    def __init__(self, folder: Path, segments: Sequence[Segment]) -> None:
        self._folder = folder
        self._segments = segments
        self._bases = np.array([segment.base for segment in segments], dtype=np.int64)
        self._open: dict[int, pa.RecordBatch] = {}

    def batch(self, number: int) -> pa.RecordBatch:
        """The record batch of one segment; opened once."""
        if number not in self._open:
            import pyarrow as pa

            source = pa.memory_map(str(self._folder / self._segments[number].rows))
            self._open[number] = pa.ipc.open_file(source).get_batch(0)
        return self._open[number]

    def read(self, row: int) -> Document:
        """The document of a row."""
        number = int(np.searchsorted(self._bases, row, side="right")) - 1
        batch, offset = self.batch(number), int(row - self._bases[number])

        def value(name: str) -> Any:
            return batch.column(name)[offset].as_py()

        return Document(value("id"), value("text"), value("title"), json.loads(value("metadata")))

    def ids(self, number: int) -> list[str]:
        """All ids of one segment, in row order."""
        return self.batch(number).column("id").to_pylist()

    def fields(self) -> list[pa.StructArray]:
        """The typed metadata columns, a struct array for each segment."""
        return [self.batch(number).column("fields") for number in range(len(self._segments))]
