"""Documents in memory as a source: texts, pairs, mappings, tables of pandas, polars, Arrow and datasets, iterators.

Tables go through the reader of Parquet files, so that a value is the same in a document wherever it came from.
A record without an id gets one: sixteen hexadecimal digits of a hash of its title and text, with ``-2``, ``-3`` …
behind it where the same text came before; a record that has only a vector gets its number, from 0.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from searchapp.corpus.batch import DocumentBatch, plain_batch
from searchapp.corpus.digest import sums
from searchapp.corpus.document import Document, Record, Rejected
from searchapp.corpus.memory_tables import arrow_batches, as_table, columns_of, is_batch, sliced
from searchapp.corpus.parquet import batch_fields, json_value
from searchapp.corpus.reserved import kept_name
from searchapp.corpus.source import MEMORY, Source, checked_label
from searchapp.corpus.table_digest import TableDigest
from searchapp.corpus.validate import ID_FIELDS, RawRecord, known_columns, require_single, validate
from searchapp.corpus.vector_column import vector_column
from searchapp.corpus.vector_values import vector_of, vectors_beside
from searchapp.errors import CorpusError

NAME = "documents"  # of a source in memory, where none is given
TOGETHER = 65_536  # plain rows that are taken at once
SUMMED = 65_536  # vectors whose digest is made at once: fixed, for another number would make another digest
EXPECTED = (
    "expected texts, (id, text) pairs, mappings, Documents, a mapping of ids to texts, a pandas or polars DataFrame, "
    "an Arrow table, or a Hugging Face Dataset"
)


@dataclass(frozen=True)
class FieldNames:
    """What the fields of a record are called that are its ``id``, ``title``, ``text`` and ``vector``.

    None: the id is `_id`, else `id`, as in files; there is no vector.
    """

    id: str | None = None
    title: str = "title"
    text: str = "text"
    vector: str | None = None

    def apply(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The record under the names that documents have; what another field takes the name of is kept."""
        asked = {self.title: "title", self.text: "text", **({self.id: "_id"} if self.id else {})}
        wanted = {theirs: ours for theirs, ours in asked.items() if theirs != ours and theirs in fields}
        taken = set(wanted.values())
        return {wanted.get(name) or kept_name(name, taken): value for name, value in fields.items()}


def memory_source(
    documents: Any, *, vectors: Any = None, names: FieldNames | None = None, label: str | None = None
) -> Source:
    """Documents in memory as a source, whose name in the index is ``label``.

    ``vectors`` is an array (documents, dim) beside them, or the name of a field or column that holds the vectors. A
    source made of an iterator can be read once. Raises CorpusError for what is no documents.

    >>> source = memory_source([("a", "first text"), {"id": "b", "text": "second", "year": 2020}])
    >>> [record.item.id for record in source.records()]
    ['a', 'b']
    """
    if isinstance(vectors, str):
        names, vectors = FieldNames(**{**vars(names or FieldNames()), "vector": vectors}), None
    held = _Held(as_table(documents), vectors_beside(vectors), names or FieldNames())
    held.check()
    label = checked_label(label or NAME)
    batches = held.batches if held.has_columns else None
    return Source(f"{MEMORY}:{label}", MEMORY, label, None, held.records, held.marks, _batches=batches)


def is_documents(value: Any) -> bool:
    """Whether a value is documents in memory rather than the paths of sources."""
    from pathlib import Path

    if isinstance(value, str | Path):
        return False
    return not (isinstance(value, list | tuple) and value and all(isinstance(item, Path) for item in value))


@dataclass
class _Held:
    documents: Any
    vectors: np.ndarray | None
    names: FieldNames
    _read: bool = field(default=False)

    def check(self) -> None:
        """Raise CorpusError for what is no documents, and for vectors that are not as many."""
        self._require_documents()
        columns = columns_of(self.documents)
        if columns is not None:
            require_single(columns, NAME)
        for name in filter(None, (self.names.id, self.names.vector, *self._renamed())):
            if columns is not None and name not in columns:
                found = ", ".join(map(str, columns[:20]))
                raise CorpusError(f"the documents have no column {name!r}; found {found}; name one of them")
        if self.vectors is not None and self.count not in (None, len(self.vectors)):
            raise CorpusError(
                f"{len(self.vectors):,} vectors for {self.count:,} documents; give one for each, in order"
            )

    def _renamed(self) -> list[str]:
        return [name for name, usual in ((self.names.text, "text"), (self.names.title, "title")) if name != usual]

    def _require_documents(self) -> None:
        given = self.documents
        if arrow_batches(given) is not None:
            return
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            raise CorpusError(f"the documents are a {type(given).__name__}; {EXPECTED}")
        if isinstance(given, Mapping) and not all(isinstance(text, str) for text in given.values()):
            raise CorpusError(
                "the documents are a mapping whose values are not all texts; give {id: text}, a list of mappings with "
                "a `text` each, or one split of a data set"
            )
        if isinstance(given, Sequence) and given and isinstance(given[0], str) and _is_file(given[0]):
            raise CorpusError(
                f"the first of the texts is the name of a file, {given[0]!r}; give pathlib.Path({given[0]!r}) to read "
                "it, or (id, text) pairs where the text is meant"
            )

    @cached_property
    def is_read_once(self) -> bool:
        """Whether the documents come from an iterator."""
        given = self.documents
        return not isinstance(given, Sized) and isinstance(given, Iterable) and iter(given) is given

    @property
    def count(self) -> int | None:
        """How many there are; None where that is not known."""
        given = self.documents
        if isinstance(given, list) and given and all(map(is_batch, given)):
            return sum(int(batch.num_rows) for batch in given)
        if is_batch(given):
            return int(given.num_rows)
        return len(given) if isinstance(given, Sized) else None

    def records(self) -> Iterator[Record]:
        """The documents in their order. Raises CorpusError where an iterator was read already."""
        if self.is_read_once and self._read:
            raise CorpusError("the iterator of documents was read already; give a new one, or a list")
        self._read = True
        count, number = self.count, 0
        numbered = Numbered()
        for number, (fields, vector) in enumerate(self._with_vectors(), 1):
            item = _document(fields, vector, number, numbered)
            yield Record(item, min(1.0, number / count) if count else 0.0)
        if self.vectors is not None and number != len(self.vectors):
            raise CorpusError(f"{len(self.vectors):,} vectors for {number:,} documents; give one for each, in order")

    @property
    def has_columns(self) -> bool:
        """Whether these are rows of Arrow with vectors of their own, which may be taken many at once."""
        arrow = not isinstance(self.documents, list) and arrow_batches(self.documents) is not None
        return arrow and not self.is_read_once and (self.vectors is not None or self.names.vector is not None)

    def batches(self) -> Iterator[tuple[DocumentBatch | Document | Rejected, float]]:
        """The documents in their order, plain ones many at once."""
        numbered, count, row = Numbered(), max(1, self.count or 1), 0
        for whole in arrow_batches(self.documents) or ():
            for begin in range(0, whole.num_rows, TOGETHER):
                part = whole.slice(begin, TOGETHER)
                batch = self._plain(part, row)
                if batch is not None:
                    row += len(batch)
                    yield batch, min(1.0, row / count)
                    continue
                for small in sliced(part):
                    for place, found in enumerate(self._batch(small, row), row):
                        fields, vector = self._taken(found, place)
                        yield _document(fields, vector, place + 1, numbered), min(1.0, (place + 1) / count)
                    row += small.num_rows
        if self.vectors is not None and row != len(self.vectors):
            raise CorpusError(f"{len(self.vectors):,} vectors for {row:,} documents; give one for each, in order")

    def _plain(self, batch: Any, row: int) -> DocumentBatch | None:
        """Rows as columns; None where one of them is not plain."""
        if self.names.vector is not None:
            vectors = vector_column(batch, self.names.vector)
            batch = batch.drop_columns([self.names.vector])
        elif self.vectors is not None:
            vectors = np.asarray(self.vectors[row : row + batch.num_rows], dtype=np.float32)
        if len(vectors) != batch.num_rows:
            return None
        columns = dict(zip(known_columns(batch.schema.names), batch.columns, strict=True))
        if len(columns) < len(batch.schema.names):
            return None
        import pyarrow as pa

        return plain_batch(pa.RecordBatch.from_pydict(self.names.apply(columns)), vectors)

    def _with_vectors(self) -> Iterator[tuple[Any, Any]]:
        """Each record with its vector, None where it has none."""
        for number, fields in enumerate(self._rows()):
            yield self._taken(fields, number)

    def _taken(self, fields: Any, number: int) -> tuple[Any, Any]:
        """A record without its vector, and that."""
        vector = self.vectors[number] if self.vectors is not None and number < len(self.vectors) else None
        if self.names.vector is not None and isinstance(fields, Mapping):
            fields = dict(fields)
            vector = fields.pop(self.names.vector, None)
        return fields, vector

    def _rows(self) -> Iterator[Any]:
        """Each record: a mapping under the names that documents have, a Document, or a Rejected."""
        batches = arrow_batches(self.documents)
        items = self.documents.items() if isinstance(self.documents, Mapping) else self.documents
        row = 0
        for item in items if batches is None else batches:
            if not is_batch(item):
                row += 1
                yield self._fields(item, row)
                continue
            for batch in sliced(item):
                yield from self._batch(batch, row)
                row += batch.num_rows

    def _batch(self, batch: Any, row: int) -> Iterator[Any]:
        """Each row of a record batch as a record."""
        require_single(batch.schema.names, NAME)
        arrays = None
        if self.names.vector is not None:
            arrays = vector_column(batch, self.names.vector)
            batch = batch.drop_columns([self.names.vector])
        batch = batch.rename_columns(known_columns(batch.schema.names))
        for place, found in enumerate(batch_fields(batch, MEMORY, row)):
            if isinstance(found, Rejected):
                yield found
                continue
            fields = self.names.apply(found)
            if arrays is not None:
                fields[str(self.names.vector)] = arrays[place]
            yield fields

    def _fields(self, item: Any, number: int) -> Any:
        if isinstance(item, Document):
            return item
        if isinstance(item, str):
            return {"text": item}
        if isinstance(item, Mapping):
            renamed = self.names.apply(item)
            kept = {name: value for name, value in renamed.items() if name != self.names.vector}
            plain = {str(name): json_value(value) for name, value in kept.items()}
            if self.names.vector in renamed:
                plain[str(self.names.vector)] = renamed[self.names.vector]
            return plain
        if isinstance(item, tuple | list) and len(item) == 2:
            return {"id": json_value(item[0]), "text": item[1]}
        reason = f"a {type(item).__name__}, expected a text, an (id, text) pair or a mapping"
        return Rejected(MEMORY, number, reason)

    def marks(self) -> Iterator[str]:
        """What tells these documents from others: a digest of all they hold; of an iterator, no two alike."""
        yield self._digest

    @cached_property
    def _digest(self) -> str:
        if not isinstance(self.documents, Sized):
            return uuid.uuid4().hex
        digest = hashlib.blake2b(repr(self.names).encode(), digest_size=32)
        batches = arrow_batches(self.documents)
        if batches is not None:
            table = TableDigest(self.names.vector)
            for batch in batches:
                table.update(batch)
            digest.update(table.digest())
        else:
            for fields, vector in self._with_vectors():
                if isinstance(fields, Document):
                    vector = fields.vector if vector is None else vector
                    fields = (fields.id, fields.title, fields.text, _metadata(fields))
                digest.update(json.dumps(fields, default=repr).encode() + b"\n")
                if vector is not None and self.vectors is None:
                    known = vector_of(vector)
                    digest.update(known.encode() if isinstance(known, str) else known.tobytes())
        if self.vectors is not None:
            digest.update(f"{self.vectors.dtype} {self.vectors.shape}".encode())
            for begin in range(0, len(self.vectors), SUMMED):
                digest.update(sums(self.vectors[begin : begin + SUMMED]))
        return digest.hexdigest()


class Numbered:
    """Ids for records that have none."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def of(self, title: Any, text: Any, number: int) -> str:
        """An id by title and text; by the number of the record, from 0, where it has neither."""
        said = f"{title or ''}\0{text or ''}"
        if said == "\0":
            return str(number)
        found = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        self._seen[found] += 1
        return found if self._seen[found] == 1 else f"{found}-{self._seen[found]}"


def _document(fields: Any, vector: Any, number: int, numbered: Numbered) -> Document | Rejected:
    """A record as a document, or why it is none."""
    if isinstance(fields, Rejected):
        return fields
    place = (MEMORY, number)
    if isinstance(fields, Document):
        place, vector = fields.place if fields.place[0] else place, fields.vector if vector is None else vector
        fields = {"_id": fields.id, "title": fields.title, "text": fields.text, "metadata": _metadata(fields)}
    known = None if vector is None else vector_of(vector)
    if isinstance(known, str):
        return Rejected(MEMORY, number, known)
    if all(fields.get(name) is None for name in ID_FIELDS):
        fields = {**fields, "id": numbered.of(fields.get("title"), fields.get("text"), number - 1)}
    return validate(RawRecord(fields, *place, known))


def _metadata(document: Document) -> dict[str, Any]:
    return {str(name): json_value(value) for name, value in document.metadata.items()}


def _is_file(text: str) -> bool:
    from pathlib import Path

    try:
        return len(text) < 1_000 and "\n" not in text and Path(text).is_file()
    except (OSError, ValueError):
        return False
