"""Adding to an index: new documents, and new versions of those whose id it has; the rest is not encoded again.

All of an add is seen at once, when it has finished. What it encodes meanwhile is committed as *staged*, segment by
segment, beside a state that does not change. An add that was killed takes nothing from that but the vectors: run again,
it compares its sources with the index as if for the first time, and finds the documents it had encoded among the staged
ones. So it may be run again with other sources, or after a delete, and is right all the same.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from searchapp.corpus import Document, Rejected, Source, open_source
from searchapp.encoder import Encoder
from searchapp.errors import IndexStoreError
from searchapp.index.build import PENDING_REJECTIONS, absolute, expect, kind_of_reason, records
from searchapp.index.encoder_match import recorded_backend, require_match
from searchapp.index.extend import extend_index
from searchapp.index.lexical.bm25 import ensure_postings
from searchapp.index.storage.deletions import write_tombstones
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.hashes import ID, METADATA, TEXT, hash_document
from searchapp.index.storage.ids import IdTable
from searchapp.index.storage.manifest import Addition, Manifest, Segment, Staged
from searchapp.index.storage.segment import (
    SEGMENT_CHARACTERS,
    SEGMENT_DOCUMENTS,
    Files,
    completed,
    encode,
    write_rejections,
    write_segment,
)  # fmt: skip
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from searchapp.progress import Progress, Silent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Added:
    """The new state, and what became of the records: of those added or changed, ``encoded`` needed the model."""

    manifest: Manifest
    added: int
    changed: int
    unchanged: int
    rejected: int
    encoded: int
    resumed: int  # had been encoded by an add that did not finish
    reasons: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    seconds: float = 0.0
    folded: bool = False
    notices: tuple[str, ...] = ()


def add(
    sources: Sequence[str],
    path: Path,
    encoder: Encoder,
    *,
    segment_size: int = SEGMENT_DOCUMENTS,
    progress: Progress | None = None,
    disk: Disk | None = None,
) -> Added:
    """Add the documents of sources to a finished index; one whose id it has takes the place of that document.

    They are found at once: by exact comparison beside the trained index, into which they are folded when they have
    become many. Raises CorpusError, ModelError for an encoder that the index was not made by, or IndexStoreError.
    """
    progress = progress or Silent()
    opened = [open_source(source) for source in sources]
    with Writer.update(path, disk) as writer:
        manifest = writer.state
        require_match(manifest, path, encoder)
        if (made := manifest.encoder["dtype"]) != encoder.dtype:
            raise IndexStoreError(f"{path} was made in {made}, this encoder is in {encoder.dtype}; give --dtype {made}")
        if (made := recorded_backend(manifest)) != encoder.backend.name:
            raise IndexStoreError(f"{path} was made by the backend {made}; load the encoder with backend={made!r}")
        summary = _AddRun(writer, manifest, encoder, segment_size, progress).add(opened)
        writer.publish_rejections()
        counts = summary.added, summary.changed, summary.unchanged, summary.rejected
        log.info("%s: %d added, %d changed, %d unchanged, %d rejected, in %.1f s", path, *counts, summary.seconds)
        folded = extend_index(writer, progress.stage)
        if folded is not None:
            notices = (*summary.notices, *folded.notices)
            return replace(summary, manifest=folded.manifest, folded=True, notices=notices)
    return summary


class _Known:
    """Documents that are stored already: which row has an id, whether it is the same document, whether it was met."""

    def __init__(self, snapshot: Snapshot, kept: np.ndarray) -> None:
        self._rows = snapshot.documents
        self._hashes = snapshot.hashes()
        self._ids = IdTable(lambda row: self._rows.read(row).id)
        rows = np.flatnonzero(kept)
        self._ids.extend(self._hashes[ID][rows], rows)
        self.met = np.zeros(len(kept), dtype=bool)

    def find(self, identifier: str) -> int | None:
        return self._ids.find(identifier)

    def has(self, row: int | None, hashes: tuple[int, int, int], *parts: int) -> bool:
        """Whether these parts of a document are those of a row."""
        return row is not None and all(int(self._hashes[part][row]) == hashes[part] for part in parts)

    def append(self, snapshot: Snapshot) -> None:
        """Take in the last segment of a snapshot, every document of which has been met."""
        self._rows = snapshot.documents
        hashes = snapshot.hashes([len(snapshot.segments) - 1])
        self._ids.extend(hashes[ID], len(self.met) + np.arange(hashes.shape[1]))
        self._hashes = np.concatenate([self._hashes, hashes], axis=1)
        self.met = np.concatenate([self.met, np.ones(hashes.shape[1], dtype=bool)])


class _AddRun:
    """One run of an add over a writer."""

    def __init__(self, writer: Writer, start: Manifest, encoder: Encoder, size: int, progress: Progress) -> None:
        self._writer, self._encoder, self._progress, self._size = writer, encoder, progress, size
        self._manifest = completed(writer, start)
        self._snapshot = Snapshot.of(writer, self._manifest)
        self._bases = np.array([segment.base for segment in start.segments], dtype=np.int64)
        self._damage: dict[int, str | None] = {}  # of the vectors of a segment, once one of them was to be copied
        self._gone = self._snapshot.deleted
        self._index = _Known(self._snapshot, ~self._gone)
        self._segments = start.staged.segments if start.staged else ()
        self._staged = _Known(self._staged_snapshot(), np.ones(_count(self._segments), dtype=bool))
        self._pending: dict[str, tuple[Document, int | None]] = {}  # by id, with the row that has its vector
        self._replaced = np.zeros(start.rows, dtype=bool)
        self._rejections: list[Rejected] = []
        self._rejected: tuple[str, ...] = ()  # files of them
        self._files: Files = {}  # written and not yet committed
        self._reasons: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._tokens = self._encoded = self._resumed = 0

    def _staged_snapshot(self) -> Snapshot:
        """What this add has written and not yet made a part of the index."""
        return self._snapshot.at(
            replace(self._manifest, segments=self._segments, rows=_count(self._segments), tombstones=None)
        )

    def add(self, sources: Sequence[Source]) -> Added:
        """Read all of the sources, encode what is new, and commit it as the next state."""
        began = time.perf_counter()
        self._progress.stage("encoding", unit="doc")
        names = tuple(absolute(source.name) for source in sources)
        characters = 0
        for _, fraction, item in records(sources, skip=0):
            characters += self._take(item)
            full = len(self._pending) >= self._size or characters >= SEGMENT_CHARACTERS
            if full or len(self._rejections) >= PENDING_REJECTIONS:
                expect(self._progress, self._counts.total(), fraction, self._reasons.total())
                self._write()
                staged = Staged(names, self._segments, self._rejected)
                self._manifest = self._writer.commit(self._manifest.with_files(staged=staged, files=self._files))
                self._files, characters = {}, 0
        expect(self._progress, self._counts.total(), 1.0, self._reasons.total())
        self._write()
        manifest = self._finish(sources, names)
        return Added(
            manifest, self._counts["added"], self._counts["changed"], self._counts["unchanged"],
            rejected=self._reasons.total(), encoded=self._encoded, resumed=self._resumed,
            reasons=dict(self._reasons), tokens=self._tokens, seconds=time.perf_counter() - began,
            notices=self._notices(),
        )  # fmt: skip

    def _take(self, item: Document | Rejected) -> int:
        """Sort one record; returns how many characters wait for the encoder because of it."""
        if isinstance(item, Rejected):
            self._reject(item)
            return 0
        hashes = hash_document(item)
        row, staged = self._index.find(item.id), self._staged.find(item.id)
        met = row is not None and self._index.met[row] or staged is not None and self._staged.met[staged]
        if met or item.id in self._pending:
            reason = "duplicate id: an earlier record of these sources has it"
            self._reject(Rejected(*item.place, reason=reason, id=item.id))
            return 0
        if row is not None:
            self._index.met[row] = True
            if self._index.has(row, hashes, TEXT, METADATA):
                self._counts["unchanged"] += 1
                return 0
            self._replaced[row] = True
        self._counts["added" if row is None else "changed"] += 1
        if staged is not None and self._staged.has(staged, hashes, TEXT, METADATA):
            self._staged.met[staged] = True
            self._resumed += 1
            return 0
        vector = row if row is not None and self._index.has(row, hashes, TEXT) and self._sound(row) else None
        self._pending[item.id] = (item, vector)
        return len(item.text) if vector is None else 0

    def _sound(self, row: int) -> bool:
        """Whether the file of a row's vector is as it was written: a copy would give damage a checksum that holds."""
        number = int(np.searchsorted(self._bases, row, side="right")) - 1
        if number not in self._damage:
            name = self._manifest.segments[number].vectors_file
            self._damage[number] = self._snapshot.check([name]).get(name)
        return self._damage[number] is None

    def _notices(self) -> tuple[str, ...]:
        """What was found wrong with stored vectors; their text was encoded again where they were to be copied."""
        root = self._writer.root
        return tuple(
            f"{problem}; no vector was copied from it, the others in it are mended by "
            f"`searchapp verify {root} --repair`"
            for problem in self._damage.values()
            if problem is not None
        )

    def _reject(self, item: Rejected) -> None:
        self._reasons[kind_of_reason(item.reason)] += 1
        self._rejections.append(item)

    def _write(self) -> None:
        """Encode and write what waits, without committing it."""
        if self._pending:
            documents = [document for document, _ in self._pending.values()]
            known = np.array([-1 if row is None else row for _, row in self._pending.values()])
            vectors = np.empty((len(documents), self._manifest.dim), dtype="<f2")
            vectors[known >= 0] = self._snapshot.vectors.stored(known[known >= 0])
            new = [document for document, row in zip(documents, known, strict=True) if row < 0]
            vectors[known < 0], tokens = encode(self._encoder, new, self._progress)
            segment, files = write_segment(self._writer, documents, vectors, _count(self._segments))
            self._segments = (*self._segments, segment)
            self._staged.append(self._staged_snapshot())
            self._files.update(files)
            self._tokens += tokens
            self._encoded += len(new)
            self._pending = {}
        if self._rejections:
            name, files = write_rejections(self._writer, self._rejections)
            self._rejected = (*self._rejected, name)
            self._files.update(files)
            self._rejections = []

    def _finish(self, sources: Sequence[Source], names: tuple[str, ...]) -> Manifest:
        """Make the staged documents that these sources have a part of the state, in the place of those replaced."""
        before = self._manifest
        segments, gone, rows = list(before.segments), [self._gone | self._replaced], before.rows
        for segment in self._segments:
            used = self._staged.met[segment.base : segment.base + segment.count]
            if used.any():
                segments.append(replace(segment, base=rows))
                gone.append(~used)
                rows += segment.count
        record = Addition(
            tuple({"name": name, "kind": source.kind} for name, source in zip(names, sources, strict=True)),
            self._counts["added"], self._counts["changed"], self._counts["unchanged"], self._reasons.total(),
            dict(self._reasons), self._rejected,
        )  # fmt: skip
        mask = np.concatenate(gone)
        tombstones = before.tombstones
        if mask.sum() != (tombstones.count if tombstones else 0):
            tombstones, files = write_tombstones(self._writer, mask)
            self._files.update(files)
        build, rejections = before.build, before.rejections
        if list(names) == [source["name"] for source in build.sources]:  # what it rejected has been read again
            build, rejections = replace(build, rejected=0, reasons={}), ()
        others = tuple(addition for addition in before.additions if tuple(addition.names) != names)
        listed = (*rejections, *(name for addition in others for name in addition.rejections), *self._rejected)
        if not self._files and listed == tuple(before.rejected_files()) and rows == before.rows and not before.staged:
            return self._writer.manifest or before  # nothing is new
        after = before.with_files(
            rows=rows, segments=tuple(segments), tombstones=tombstones, staged=None, build=build,
            rejections=rejections, additions=(*others, record), files=self._files,
        )  # fmt: skip
        return self._writer.commit(ensure_postings(self._writer, after))


def _count(segments: Sequence[Segment]) -> int:
    return sum(segment.count for segment in segments)
