"""Writing segments: the files of a run of documents, and of the records that could not become one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from searchapp.corpus import Document, Rejected, passage_of
from searchapp.corpus.batch import DocumentBatch
from searchapp.encoder import Encoder
from searchapp.errors import IndexStoreError, ModelError
from searchapp.index.storage.directory import FileEntry
from searchapp.index.storage.documents import write_columns, write_documents
from searchapp.index.storage.halves import to_halves
from searchapp.index.storage.hashes import hash_documents, write_hashes
from searchapp.index.storage.manifest import Manifest, Segment
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.vectors import unit
from searchapp.index.storage.writer import Writer
from searchapp.progress import Progress
from searchapp.unicode import json_bytes

SEGMENT_DOCUMENTS = 8_192
SEGMENT_CHARACTERS = 32_000_000  # a segment's texts are held in memory until it is committed
NEARLY = 2e-3  # how far the squared length of a stored vector is from 1, at most
VECTORS_TOGETHER = 4_096  # that are made ready at once
NEAR_NUMBERS = 131_072  # numbers of vectors that stay near the processor, with what they are made into
Files = dict[str, FileEntry]


def encode(encoder: Encoder, documents: Sequence[Document], progress: Progress | None = None) -> tuple[np.ndarray, int]:
    """Unit vectors float16 (n, dim) of documents, as they are stored, and how many tokens these had.

    A document that came with a vector has that one. Raises ModelError where the model gives no number, and
    IndexStoreError for a vector of another length.
    """
    if not documents:
        return np.zeros((0, encoder.dim), dtype="<f2"), 0
    has_none = np.array([document.vector is None for document in documents])
    if not has_none.all():
        vectors = np.empty((len(documents), encoder.dim), dtype="<f2")
        given = [document for document in documents if document.vector is not None]
        vectors[~has_none] = as_stored([document.vector for document in given], encoder.dim, given[0].id)
        rest = [document for document in documents if document.vector is None]
        vectors[has_none], tokens = encode(encoder, rest, progress)
        if progress is not None:
            progress.advance(len(given), tokens=0)
        return vectors, tokens
    encoded = encoder.encode_counted(
        [passage_of(document) for document in documents],
        encoder.settings.document_instruction,
        progress=progress,
        dtype=np.dtype("<f2"),
    )
    finite = np.isfinite(encoded.vectors).all(1)
    if not finite.all():
        bad = documents[int(np.argmin(finite))].id
        raise ModelError(f"the model gave a vector that is no number for document {bad!r}; try --dtype float32")
    return encoded.vectors, encoded.tokens


def as_stored(vectors: Sequence[np.ndarray | None] | np.ndarray, dim: int, first: str = "") -> np.ndarray:
    """Vectors that were given, float16 (n, dim), as they are stored: of length 1.

    ``first`` is the id of the first. Raises IndexStoreError where they do not have ``dim`` numbers.
    """
    lengths = {vectors.shape[1]} if isinstance(vectors, np.ndarray) else {len(v) for v in vectors if v is not None}
    if lengths - {dim}:
        raise IndexStoreError(
            f"vectors of {min(lengths - {dim})} numbers were given (the first for document {first!r}); the index holds "
            f"vectors of {dim}"
        )
    made = np.empty((len(vectors), dim), dtype="<f2")
    step = max(1, NEAR_NUMBERS // dim)
    work = np.empty((3, min(step, len(vectors)), dim), dtype=np.float32)
    for begin in range(0, len(vectors), step):
        part = vectors[begin : begin + step]
        room = work[:, : len(part)]
        room[0] = np.asarray(part, dtype=np.float32)
        _store(room, made[begin : begin + step])
    return made


def _store(work: np.ndarray, made: np.ndarray) -> None:
    """Write the float32 vectors (n, dim) in ``work[0]`` as they are stored; ``work`` (3, n, dim) is used up."""
    wide = work[0]
    with np.errstate(over="ignore"):
        is_stored = np.abs(np.vecdot(wide, wide) - 1) < NEARLY
    kept = wide[is_stored].astype("<f2")
    same = (kept == wide[is_stored]).all(axis=1)  # those that were exported stay, bit by bit
    is_stored[is_stored] = same
    largest = np.maximum(wide.max(axis=1), -wide.min(axis=1))[:, None]
    wide /= np.where(largest > 0, largest, 1)  # so that no square is beyond what float32 holds
    to_halves(unit(wide), made, work[1:].view(np.uint32))
    made[is_stored] = kept[same]


def write_segment(
    writer: Writer, documents: Sequence[Document], vectors: np.ndarray, base: int
) -> tuple[Segment, Files]:
    """Write documents and their vectors as a segment from row ``base`` on, without committing it."""
    with writer.draft("rows") as (rows, draft, files):
        write_documents(draft, documents)
    with writer.draft("vectors") as (stored, draft, more):
        draft.write(np.ascontiguousarray(vectors, dtype="<f2").tobytes())
    with writer.draft("marks") as (hashes, draft, most):
        write_hashes(draft, hash_documents(documents))
    return Segment(rows, stored, base, len(documents), hashes), {**files, **more, **most}


def write_batch(writer: Writer, batch: DocumentBatch, hashes: np.ndarray, dim: int, base: int) -> tuple[Segment, Files]:
    """Write documents that are columns, with their vectors, as a segment; as ``write_segment`` does."""
    with writer.draft("rows") as (rows, draft, files):
        write_columns(draft, batch)
    with writer.draft("vectors") as (stored, draft, more):
        for begin in range(0, len(batch), VECTORS_TOGETHER):
            part = batch.vectors[begin : begin + VECTORS_TOGETHER]
            draft.write(as_stored(part, dim, batch.ids[begin]).tobytes())
    with writer.draft("marks") as (marks, draft, most):
        write_hashes(draft, hashes)
    return Segment(rows, stored, base, len(batch), marks), {**files, **more, **most}


def write_rejections(writer: Writer, rejections: Sequence[Rejected]) -> tuple[str, Files]:
    """Write rejected records as JSON lines; returns the file's name and its entry."""
    with writer.draft("rejected") as (name, draft, files):
        for item in rejections:
            draft.write(json_bytes(json.dumps(asdict(item), ensure_ascii=False)) + b"\n")
    return name, files


def completed(writer: Writer, manifest: Manifest) -> Manifest:
    """The manifest with what every segment of a finished index has and that of an older format lacks: its hashes."""
    if all(segment.hashes_file for segment in manifest.segments):
        return manifest
    snapshot, files, segments = Snapshot.of(writer, manifest), {}, []
    for number, segment in enumerate(manifest.segments):
        if not segment.hashes_file:
            with writer.draft("marks") as (name, draft, entries):
                write_hashes(draft, snapshot.hashes([number]))
            files.update(entries)
            segment = replace(segment, hashes_file=name)
        segments.append(segment)
    return manifest.with_files(segments=tuple(segments), files=files)
