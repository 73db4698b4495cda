"""An index as files that other programs read: Parquet with ids, texts, metadata and vectors; a plain FAISS index.

A Parquet file made here is a source that ``build`` takes as it is: the vectors are not made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.atomic import atomic_write
from searchapp.corpus.source import Source
from searchapp.corpus.vector_column import KEY, VECTOR, exported_encoder
from searchapp.encoder import Encoder
from searchapp.encoder.fingerprint import differing
from searchapp.errors import IndexStoreError, reason_of
from searchapp.index.ann.faiss_lib import import_faiss
from searchapp.index.encoder_match import recorded_encoder
from searchapp.index.storage.manifest import Build, Manifest
from searchapp.index.storage.vectors import unit, widen

if TYPE_CHECKING:
    from searchapp.index.reader import VectorIndex

VERSION = 1
ROWS = 8_192  # of a row group
ENDINGS = (".parquet", ".faiss")


def export_parquet(index: VectorIndex, path: Path) -> int:
    """Write the documents to a Parquet file, whole or not at all; returns how many.

    Columns: ``id``, ``title``, ``text``, ``metadata`` (JSON as text), ``vector`` (float32, of length 1 up to half
    precision, as it is stored). Raises IndexStoreError where the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    manifest = index.manifest
    record = {"version": VERSION, "dim": manifest.dim, "encoder": manifest.encoder}
    schema = pa.schema(
        [
            ("id", pa.string()), ("title", pa.large_string()), ("text", pa.large_string()),
            ("metadata", pa.large_string()), (VECTOR, pa.list_(pa.float32(), manifest.dim)),
        ],
        metadata={KEY: json.dumps(record).encode()},
    )  # fmt: skip
    count = 0
    try:
        with atomic_write(path, sync=True) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for number, kept in _segments(index):
                columns = [index.rows.column(number, name).filter(pa.array(kept)) for name in schema.names[:4]]
                segment = index.snapshot.segments[number]
                rows = segment.base + np.flatnonzero(kept)
                vectors = pa.array(widen(index.vectors.stored(rows)).reshape(-1), pa.float32())
                columns.append(pa.FixedSizeListArray.from_arrays(vectors, manifest.dim))
                writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=ROWS)
                count += len(rows)
    except OSError as error:
        raise IndexStoreError(f"{path} cannot be written: {reason_of(error)}; give another file") from error
    return count


def export_faiss(index: VectorIndex, path: Path) -> int:
    """Write the vectors to an exact FAISS index of inner products, their ids a line each beside it (``.ids``).

    Row n of the index is the document of line n + 1. All vectors are in memory once, as float32. Returns how many.
    Raises IndexStoreError where a file cannot be written.
    """
    faiss = import_faiss()
    flat = faiss.IndexFlatIP(index.manifest.dim)
    names: list[str] = []
    for number, kept in _segments(index):
        rows = index.snapshot.segments[number].base + np.flatnonzero(kept)
        for begin in range(0, len(rows), ROWS):
            flat.add(unit(widen(index.vectors.stored(rows[begin : begin + ROWS]))))
        names += [name for name, is_kept in zip(index.rows.ids(number), kept.tolist(), strict=True) if is_kept]
    try:
        with atomic_write(path, sync=True) as file:
            faiss.write_index(flat, faiss.PyCallbackIOWriter(file.write))
        with atomic_write(path.with_suffix(".ids"), sync=True) as file:
            file.write("".join(f"{name}\n" for name in names).encode())
    except (OSError, RuntimeError) as error:
        raise IndexStoreError(f"{path} cannot be written: {reason_of(error)}; give another file") from error
    return len(names)


def _segments(index: VectorIndex) -> Iterator[tuple[int, np.ndarray]]:
    """Each segment's number, and which of its rows are there."""
    for number, segment in enumerate(index.snapshot.segments):
        kept = np.ones(segment.count, dtype=bool)
        if index.alive is not None:
            kept = index.alive[segment.base : segment.base + segment.count]
        if kept.any():
            yield number, kept


def exported_by(sources: Sequence[str | Source]) -> dict[str, Any] | None:
    """What is recorded of the encoder of exported files; None where the sources are no such files.

    Raises IndexStoreError for files of several encoders.
    """
    found = {str(source): record for source in sources if (record := _record(source)) is not None}
    first = next(iter(found.values()), None)
    for name, record in found.items():
        if first is not None and record["encoder"]["fingerprint"] != first["encoder"]["fingerprint"]:
            raise IndexStoreError(
                f"{name} has vectors of {record['encoder']['reference']['model']}, {next(iter(found))} of "
                f"{first['encoder']['reference']['model']}; one index has the vectors of one model: build two"
            )
    return first


def exporting_encoder(record: dict[str, Any], device: str = "auto") -> Encoder:
    """Load the encoder that made exported vectors. Raises ModelError where it is gone or no longer the same."""
    manifest = Manifest(record["encoder"], int(record["dim"]), Build(()))
    backend = str(record["encoder"].get("backend", "torch"))
    return recorded_encoder(manifest, Path("the exported file"), device, backend=backend)


def require_same_maker(sources: Sequence[str | Source], encoder: Encoder) -> None:
    """Raise IndexStoreError where an exported file has vectors of another encoder."""
    record = exported_by(sources)
    if record is not None and (parts := differing(record["encoder"]["fingerprint"], encoder.fingerprint)):
        raise IndexStoreError(
            f"the exported vectors are of {record['encoder']['reference']['model']}, whose {', '.join(parts)} differ "
            f"from {encoder.reference['model']}'s; give that model, or leave the column {VECTOR!r} out of the file"
        )


def _record(source: str | Source) -> dict[str, Any] | None:
    name = source if isinstance(source, str) else source.name
    return exported_encoder(Path(name)) if name.lower().endswith(".parquet") else None
