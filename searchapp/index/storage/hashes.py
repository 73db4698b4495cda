"""What tells documents apart, in 24 bytes each: 64-bit hashes of the id, of what is embedded, and of the metadata.

One file a segment, the three arrays one after the other. An update finds its rows by the first and tells by the others
whether a document has changed, without reading texts; a lost file of rows is filled again by them from its source.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from searchapp.corpus.document import Document
from searchapp.errors import IndexStoreError
from searchapp.index.storage.directory import ChecksumWriter, reading
from searchapp.index.storage.documents import DocumentStore
from searchapp.index.storage.ids import digest, digests

if TYPE_CHECKING:
    from searchapp.corpus.batch import DocumentBatch

ID, TEXT, METADATA = range(3)


def hash_document(document: Document) -> tuple[int, int, int]:
    """The three hashes of a document. The order of its metadata's keys does not count."""
    metadata = json.dumps(dict(document.metadata), ensure_ascii=False, sort_keys=True)
    return digest(document.id), digest(f"{document.title}\0{document.text}"), digest(metadata)


def write_hashes(draft: ChecksumWriter, hashes: np.ndarray) -> None:
    """Write one segment's hashes, uint64 (3, documents)."""
    draft.write(np.ascontiguousarray(hashes, dtype="<u8").tobytes())


def hash_documents(documents: Sequence[Document]) -> np.ndarray:
    """The hashes of several documents, uint64 (3, documents)."""
    return np.array([hash_document(document) for document in documents], dtype=np.uint64).reshape(-1, 3).T


def hash_batch(batch: DocumentBatch) -> np.ndarray:
    """``hash_documents`` of documents that are columns, uint64 (3, documents)."""
    metadata = ["{}"] if not batch.metadata else batch.json(sorted_keys=True)
    if batch.titles is None and batch.texts is None:
        texts = ["\0"]
    elif batch.titles is None:
        texts = ["\0" + text for text in batch.column("text")]
    else:
        texts = list(map("\0".join, zip(batch.column("title"), batch.column("text"), strict=True)))
    found = np.empty((3, len(batch)), dtype=np.uint64)
    for part, values in enumerate((batch.ids, texts, metadata)):
        found[part] = digests(values)  # a single one is that of all
    return found


def read_hashes(folder: Path, rows: DocumentStore, numbers: Iterable[int]) -> np.ndarray:
    """The hashes of segments, uint64 (3, rows); made from the documents where a segment has none yet."""
    parts = [np.zeros((3, 0), dtype=np.uint64)]
    for number in numbers:
        segment = rows.segments[number]
        if not segment.hashes_file:
            parts.append(hash_documents(rows.documents(number)))
            continue
        with reading(folder / segment.hashes_file):
            found = np.fromfile(folder / segment.hashes_file, dtype="<u8")
        if found.size != 3 * segment.count:
            raise IndexStoreError(
                f"data/{segment.hashes_file} holds {found.size} numbers, expected {3 * segment.count}; "
                "run `searchapp verify` on the index"
            )
        parts.append(found.reshape(3, segment.count))
    return np.concatenate(parts, axis=1)
