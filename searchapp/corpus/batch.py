"""Many documents at once as columns of Arrow: what spares a Python object for each row where rows are plain.

Rows are plain where every id, title and text can stand as it is, metadata are whole numbers, finite numbers, texts and
flags, and nothing is missing. All others go through ``searchapp.corpus.validate``, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring  # what ``json.dumps`` writes of a text, without its calls around
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.corpus.document import Document

if TYPE_CHECKING:
    import pyarrow as pa

RESERVED = ("id", "_id", "title", "text", "metadata")
LONGEST = 1_000_000  # bytes of a text that is surely not too long in characters


@dataclass(frozen=True, eq=False)
class DocumentBatch:
    """Documents as columns of equal length: ``ids``, ``titles``, ``texts``; ``metadata`` by key; ``vectors``.

    ``id_column`` has the ids as Arrow's type string.

    ``titles`` and ``texts`` are of Arrow's type large_string and None where all are empty. ``vectors`` are float32
    (n, dim).
    """

    ids: list[str]
    id_column: pa.Array
    titles: pa.Array | None
    texts: pa.Array | None
    metadata: Mapping[str, pa.Array]
    vectors: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def json(self, *, sorted_keys: bool = False) -> list[str]:
        """The metadata of each document as ``json.dumps`` writes them."""
        keys = sorted(self.metadata) if sorted_keys else list(self.metadata)
        if not keys:
            return ["{}"] * len(self)
        parts = []
        for place, key in enumerate(keys):
            head = f"{', ' if place else '{'}{encode_basestring(key)}: "
            parts.append(_json_texts(self.metadata[key], head, "}" if place == len(keys) - 1 else ""))
        return parts[0] if len(parts) == 1 else list(map("".join, zip(*parts, strict=True)))

    def column(self, name: str) -> list[str]:
        """The titles or the texts."""
        found = self.titles if name == "title" else self.texts
        return [""] * len(self) if found is None else found.to_pylist()

    def documents(self) -> Iterator[Document]:
        """Each document by itself."""
        values = [column.to_pylist() for column in self.metadata.values()]
        for row, identifier in enumerate(self.ids):
            fields = {key: column[row] for key, column in zip(self.metadata, values, strict=True)}
            yield Document(
                identifier,
                "" if self.texts is None else self.texts[row].as_py(),
                "" if self.titles is None else self.titles[row].as_py(),
                fields,
                ("memory", 0),
                self.vectors[row],
            )


def plain_batch(batch: pa.RecordBatch, vectors: np.ndarray) -> DocumentBatch | None:
    """The rows of a record batch, under the names that documents have, as columns; None where one is not plain."""
    import pyarrow as pa

    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    key = next((name for name in ("_id", "id") if name in columns), None)
    if key is None or len(columns) != len(batch.schema.names) or "metadata" in columns:
        return None
    if any(column.null_count for column in columns.values()) or not np.isfinite(vectors).all():
        return None
    try:
        batch.validate(full=True)
    except pa.ArrowException:
        return None
    identifiers = _plain_ids(columns.pop(key))
    texts = [_plain_text(columns.pop(name, None)) for name in ("title", "text")]
    if identifiers is None or any(text is NotImplemented for text in texts):
        return None
    metadata = {name: _plain_value(column) for name, column in columns.items()}
    if any(column is None for column in metadata.values()) or not all(map(_is_plain, metadata)):
        return None
    return DocumentBatch(*identifiers, texts[0], texts[1], metadata, vectors)


def _is_plain(text: str) -> bool:
    return text.isascii() or text.isprintable()


def _plain_ids(column: pa.Array) -> tuple[list[str], pa.Array] | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(column.type):
        ids = list(map(str, column.to_pylist()))
        return ids, pa.array(ids, pa.string())
    if not _is_text(column.type):
        return None
    column = column.cast(pa.string())
    blank = pc.or_(pc.starts_with(column, " "), pc.ends_with(column, " "))
    if pc.min(pc.binary_length(column)).as_py() == 0 or pc.any(blank).as_py():
        return None
    ids = column.to_pylist()
    return (ids, column) if all(map(str.isprintable, ids)) else None


def _plain_text(column: pa.Array | None) -> Any:
    """A column of texts as large_string, None where all are empty, NotImplemented where one is not plain."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column is None:
        return None
    if not _is_text(column.type):
        return NotImplemented
    longest = pc.max(pc.binary_length(column)).as_py()
    if not longest:
        return None
    data = column.buffers()[2]
    held = memoryview(data).tobytes() if data is not None else b""
    if longest > LONGEST or b"\0" in held or b"\x1b" in held:
        return NotImplemented
    return column.cast(pa.large_string())


def _plain_value(column: pa.Array) -> pa.Array | None:
    """A column of metadata as it is stored; None for values that are not plain."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_boolean(kind):
        return column
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return column.cast(pa.int64())
    if pa.types.is_float64(kind):
        return column if np.isfinite(column.to_numpy(zero_copy_only=False)).all() else None
    return column.cast(pa.string()) if _is_text(kind) else None


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _json_texts(column: pa.Array, head: str, tail: str) -> list[str]:
    """Each value as ``json.dumps`` writes it, between two texts."""
    import pyarrow as pa

    encoded = column.dictionary_encode()
    distinct = encoded.dictionary
    if 2 * len(distinct) <= len(column):  # as metadata often are
        made = _json_texts(distinct, head, tail)
        return list(map(made.__getitem__, encoded.indices.to_pylist()))
    values = column.to_pylist()
    if pa.types.is_boolean(column.type):
        return [f"{head}{'true' if value else 'false'}{tail}" for value in values]
    if pa.types.is_string(column.type):
        return [f"{head}{encode_basestring(value)}{tail}" for value in values]
    return [f"{head}{value!r}{tail}" for value in values]
