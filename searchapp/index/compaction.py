"""Compacting: rewrite segments without deleted rows, merge small ones, and make reduction and FAISS index again.

It is one commit: an interrupted one leaves the state before it. No document is encoded; vectors are copied as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.drift import drifted
from searchapp.index.extend import rebuilt
from searchapp.index.lexical.bm25 import ensure_postings
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.documents import write_batches, write_documents
from searchapp.index.storage.hashes import write_hashes
from searchapp.index.storage.manifest import Manifest, Segment
from searchapp.index.storage.segment import SEGMENT_DOCUMENTS, Files, completed
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from searchapp.progress import Progress, Silent

MERGED_BYTES = 64_000_000  # of documents that are held in memory to be put together


@dataclass(frozen=True)
class Compacted:
    """The new state, the rows that went, those that were folded in, the segments before, and what there is to say."""

    manifest: Manifest = field(repr=False)
    removed: int
    folded: int
    segments: int
    bytes: int
    notices: tuple[str, ...] = ()
    already_done: bool = False


def compact(
    path: Path, *, segment_size: int = SEGMENT_DOCUMENTS, progress: Progress | None = None, disk: Disk | None = None
) -> Compacted:
    """Remove what was deleted, fold in what was added, train again; an index with nothing of these stays as it is.

    Raises IndexStoreError where there is no finished index, or its documents or vectors are damaged.
    """
    progress = progress or Silent()
    with Writer.update(path, disk) as writer:
        before = writer.state
        size = sum(entry.size for entry in before.files.values())
        gone = Snapshot.of(writer).deleted
        groups = _groups(before, gone, segment_size)
        tidy = len(groups) == len(before.segments)
        if tidy and not gone.any() and not before.unindexed_rows and not drifted(before.drift):
            return Compacted(before, 0, 0, len(before.segments), size, already_done=True)
        _require_sound(Snapshot.of(writer))
        progress.stage(f"writing {before.documents:,} documents without the {int(gone.sum()):,} that are gone")
        start = completed(writer, before)
        segments, files = _written(writer, start, groups, gone)
        merged = start.with_files(
            rows=sum(segment.count for segment in segments), segments=tuple(segments), tombstones=None, files=files
        )
        merged = ensure_postings(writer, merged)
        done = rebuilt(writer, merged, progress.stage)
        return Compacted(
            done.manifest, int(gone.sum()), before.unindexed_rows, len(before.segments), size, done.notices
        )


def _require_sound(snapshot: Snapshot) -> None:
    """Raise IndexStoreError where a segment's file has changed: a copy would give its damage a checksum that holds."""
    if damaged := snapshot.check(name for segment in snapshot.segments for name in segment.names()):
        problem = next(iter(damaged.values()))
        raise IndexStoreError(
            f"{snapshot.root} is damaged: {problem}; mend it with `searchapp verify {snapshot.root} --repair`"
        )


def _groups(manifest: Manifest, gone: np.ndarray, size: int) -> list[list[int]]:
    """Numbers of neighbouring segments to put together: at most ``size`` rows that are there, and not too large."""
    groups: list[list[int]] = []
    rows = size_of = 0
    for number, segment in enumerate(manifest.segments):
        kept = segment.count - int(gone[segment.base : segment.base + segment.count].sum())
        stored = manifest.files[segment.documents_file].size
        if groups and rows + kept <= size and size_of + stored <= MERGED_BYTES:
            groups[-1].append(number)
            rows, size_of = rows + kept, size_of + stored
        else:
            groups.append([number])
            rows, size_of = kept, stored
    return groups


def _written(
    writer: Writer, manifest: Manifest, groups: list[list[int]], gone: np.ndarray
) -> tuple[list[Segment], Files]:
    """Write each group as one segment; a segment of its own without a row that is gone stays as it is."""
    snapshot = Snapshot.of(writer, manifest)
    files: Files = {}
    written: list[Segment] = []
    base = 0
    for group in groups:
        parts = [manifest.segments[number] for number in group]
        kept = [~gone[part.base : part.base + part.count] for part in parts]
        count = sum(int(mask.sum()) for mask in kept)
        if not count:
            continue
        if len(parts) == 1 and kept[0].all():
            written.append(replace(parts[0], base=base))
        else:
            segment, more = _merge(writer, snapshot, group, kept)
            written.append(replace(segment, base=base))
            files.update(more)
        base += count
    return written, files


def _merge(writer: Writer, snapshot: Snapshot, group: list[int], kept: list[np.ndarray]) -> tuple[Segment, Files]:
    rows, vectors = snapshot.documents, snapshot.vectors
    batches = [rows.kept(number, mask) for number, mask in zip(group, kept, strict=True)]
    with writer.draft("rows") as (name, draft, files):
        if all(batch.schema == batches[0].schema for batch in batches):
            write_batches(draft, batches)
        else:  # the columns of metadata differ
            documents = [rows.documents(number, mask) for number, mask in zip(group, kept, strict=True)]
            write_documents(draft, [document for part in documents for document in part])
    with writer.draft("vectors") as (stored, draft, more):
        for number, mask in zip(group, kept, strict=True):
            draft.write(vectors.raw(number, mask))
    hashes = snapshot.hashes(group)
    with writer.draft("marks") as (marked, draft, most):
        write_hashes(draft, hashes[:, np.concatenate(kept)])
    return Segment(name, stored, 0, sum(batch.num_rows for batch in batches), marked), {**files, **more, **most}
