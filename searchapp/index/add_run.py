"""One run of an add: sorts the records of its sources, encodes what is new, and commits all of it as the next state."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from searchapp.corpus import Document, Rejected, Source
from searchapp.corpus.batch import DocumentBatch
from searchapp.encoder import Encoder
from searchapp.errors import IndexStoreError
from searchapp.index.added import Added, AddSettings
from searchapp.index.given import has_given_vectors
from searchapp.index.intake.changes import Changes
from searchapp.index.intake.files import (
    PENDING_REJECTIONS,
    SCHEME,
    FileReader,
    cutter_of,
    expect,
    kind_of_reason,
)
from searchapp.index.intake.known import KnownDocuments
from searchapp.index.intake.names import absolute, recorded
from searchapp.index.intake.scripts import ScriptWarning
from searchapp.index.intake.sound import SoundVectors
from searchapp.index.lexical.bm25 import ensure_postings
from searchapp.index.storage.deletions import write_tombstones
from searchapp.index.storage.hashes import ID, METADATA, TEXT, hash_batch, hash_document
from searchapp.index.storage.ids import have_equal
from searchapp.index.storage.ledger import write_ledger
from searchapp.index.storage.manifest import Addition, Manifest, NamedSource, Segment, Staged
from searchapp.index.storage.segment import (
    SEGMENT_CHARACTERS,
    Files,
    as_stored,
    completed,
    encode,
    write_batch,
    write_rejections,
    write_segment,
)  # fmt: skip
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from searchapp.progress import Progress

log = logging.getLogger("searchapp.index.add")  # the command, which is what people filter lines by

COMMITTED_TOGETHER = 100_000  # documents that came as columns, between two commits: they are written in half a second


class AddRun:
    """One run of an add over a writer."""

    def __init__(
        self, writer: Writer, start: Manifest, encoder: Encoder, settings: AddSettings, progress: Progress
    ) -> None:
        self._writer, self._encoder, self._progress, self._settings = writer, encoder, progress, settings
        self._manifest = start if settings.dry_run else completed(writer, start)
        self._snapshot = Snapshot.of(writer, self._manifest)
        self._has_given = has_given_vectors(start)
        self._renews = start.scheme != SCHEME and settings.sync
        self._keeps_ledger = start.scheme == SCHEME or self._renews
        self._sound = SoundVectors(self._snapshot)
        self._gone = self._snapshot.deleted
        self._index = KnownDocuments(self._snapshot, ~self._gone)
        self._segments = start.staged.segments if start.staged else ()
        self._staged = KnownDocuments(self._staged_snapshot(), np.ones(_count(self._segments), dtype=bool))
        self._pending: dict[str, tuple[Document, int | None]] = {}  # by id, with the row that has its vector
        self._replaced = np.zeros(start.rows, dtype=bool)
        self._changes = Changes(
            self._snapshot,
            self._index,
            cutter_of(encoder, self._manifest, settings.passwords),
            sync=settings.sync,
            prune=settings.prune,
            retry_refused=settings.retry_refused,
        )
        self._read_characters = 0
        self._rejections: list[Rejected] = []
        self._rejected: tuple[str, ...] = ()  # files of them
        self._files: Files = {}  # written and not yet committed
        self._reasons: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._tokens = self._encoded = self._resumed = 0
        self._uncommitted = 0  # documents of batches that were written and not staged
        self._seen: set[str] = set()  # ids that a dry run would have written
        self._scripts = ScriptWarning(log)

    def _staged_snapshot(self) -> Snapshot:
        """What this add has written and not yet made a part of the index."""
        return self._snapshot.at(
            replace(self._manifest, segments=self._segments, rows=_count(self._segments), tombstones=None)
        )

    def add(self, sources: Sequence[Source], missing: Sequence[NamedSource]) -> Added:
        """Read all of the sources, encode what is new, and commit it as the next state."""
        began = time.perf_counter()
        self._progress.stage("encoding", unit="doc")
        names = tuple(absolute(source.name) for source in sources)
        characters = 0
        for fraction, item, reader in self._changes.read(sources) if self._keeps_ledger else _streams(sources):
            characters += self._take(item, reader)
            full = len(self._pending) >= self._settings.segment_size or characters >= SEGMENT_CHARACTERS
            if full or self._uncommitted >= COMMITTED_TOGETHER or len(self._rejections) >= PENDING_REJECTIONS:
                expect(self._progress, self._counts.total() + self._changes.unchanged, fraction, self._reasons.total())
                self._write()
                if not self._settings.dry_run:
                    staged = Staged(names, self._segments, self._rejected)
                    self._manifest = self._writer.commit(self._manifest.with_files(staged=staged, files=self._files))
                self._files, self._uncommitted, characters = {}, 0, 0
        expect(self._progress, self._counts.total() + self._changes.unchanged, 1.0, self._reasons.total())
        self._changes.drop(missing)
        if self._renews:
            self._changes.removed |= ~(self._gone | self._index.met)
            self._require_much_text()
        self._changes.spare_shared()
        if not self._renews:
            self._changes.require_few_removed(
                [source.label for source in sources] + [source.label for source in missing]
            )
        removed = int((self._changes.removed & ~self._gone).sum())
        if removed and self._settings.sync and not self._settings.dry_run:
            noun = "document" if removed == 1 else "documents"
            self._progress.stage(f"removing {removed:,} {noun} that the sources do not have any more")
        self._write()
        manifest = self._manifest if self._settings.dry_run else self._finish(sources, names)
        return Added(
            manifest, self._counts["added"], self._counts["changed"], self._unchanged,
            rejected=self._reasons.total(), encoded=self._encoded, resumed=self._resumed,
            reasons=dict(self._reasons), tokens=self._tokens, seconds=time.perf_counter() - began,
            notices=self._sound.notices(self._writer.root), removed=removed, files=self._changes.counts,
            missing=tuple(self._changes.missing),
        )  # fmt: skip

    @property
    def _unchanged(self) -> int:
        """Documents that are as they were, in files that were read and in those that were not."""
        return self._counts["unchanged"] + self._changes.unchanged

    def _require_much_text(self) -> None:
        """Refuse new ids where the sources have less than half of the text: passages are cut anew, and not compared."""
        if self._settings.prune:
            return
        had = 0
        for number, segment in enumerate(self._manifest.segments):
            kept = ~self._gone[segment.base : segment.base + segment.count]
            had += sum(len(document.text) for document in self._snapshot.documents.documents(number, kept))
        if self._read_characters * 2 < had:
            raise IndexStoreError(
                f"the sources have {self._read_characters:,} characters of text, {self._writer.root} has {had:,}: more "
                "than half would go; none was removed: give --prune if that is meant"
            )

    def _take_batch(self, batch: DocumentBatch, reader: FileReader | None) -> None:
        """Write documents that are columns, none of which is here, as a segment; others are taken one by one."""
        hashes = hash_batch(batch)
        is_new = not self._index.may_have(hashes[ID])
        is_new = is_new and self._seen.isdisjoint(batch.ids) and self._pending.keys().isdisjoint(batch.ids)
        is_staged = self._staged.may_have(hashes[ID])
        rows = self._staged_rows(batch, hashes) if is_new and is_staged else None
        columns = is_new and reader is not None and not self._settings.dry_run and not have_equal(hashes[ID])
        if reader is None or not columns or is_staged and rows is None:
            for document in batch.documents():
                self._take(document, reader)
            return
        reader.accept_all(hashes[ID])
        if self._settings.sync:
            self._changes.new_texts.update(hashes[TEXT].tolist())
        self._counts["added"] += len(batch)
        self._progress.advance(len(batch), tokens=0)
        if rows is not None:
            self._staged.met[rows] = True
            self._resumed += len(batch)
            return
        self._write()
        segment, files = write_batch(self._writer, batch, hashes, self._manifest.dim, _count(self._segments))
        self._wrote(segment, files)
        self._encoded += len(batch)
        self._uncommitted += len(batch)

    def _staged_rows(self, batch: DocumentBatch, hashes: np.ndarray) -> np.ndarray | None:
        """The staged rows that have the documents of a batch, with its vectors; None where one is not there so."""
        rows = self._staged.equal_rows(hashes)
        if rows is None:
            return None
        stored = self._staged.snapshot.vectors.stored(rows)
        given = as_stored(batch.vectors, self._manifest.dim, batch.ids[0])
        return rows if (stored == given).all() else None

    def _wrote(self, segment: Segment, files: Files) -> None:
        self._segments = (*self._segments, segment)
        self._staged.append(self._staged_snapshot())
        self._files.update(files)

    def _take(self, item: Document | Rejected | DocumentBatch, reader: FileReader | None) -> int:
        """Sort one record, or many; returns how many characters wait for the encoder because of it."""
        if isinstance(item, DocumentBatch):
            self._take_batch(item, reader)
            return 0
        if isinstance(item, Document) and self._lacks_vector(item):
            item = Rejected(*item.place, reason="no vector: those of this index come with its documents", id=item.id)
        if isinstance(item, Rejected):
            self._reject(item, reader)
            return 0
        hashes = hash_document(item)
        row, staged = self._index.find(item.id), self._staged.find(item.id)
        met = row is not None and self._index.met[row] or staged is not None and self._staged.met[staged]
        if met or item.id in self._pending or item.id in self._seen:
            reason = "duplicate id: an earlier record of these sources has it"
            self._reject(Rejected(*item.place, reason=reason, id=item.id), reader)
            return 0
        if reader is not None:
            reader.accept(hashes[ID])
            self._read_characters += len(item.text)
            self._changes.new_texts.add(hashes[TEXT])
        if row is not None:
            self._index.met[row] = True
            self._changes.removed[row] = False
            if self._index.has(row, hashes, TEXT, METADATA) and self._has_vector(self._snapshot, row, item):
                self._counts["unchanged"] += 1
                return 0
            self._replaced[row] = True
        self._counts["added" if row is None else "changed"] += 1
        is_here = staged is not None and self._staged.has(staged, hashes, TEXT, METADATA)
        if staged is not None and is_here and self._has_vector(self._staged.snapshot, staged, item):
            self._staged.met[staged] = True
            self._resumed += 1
            return 0
        vector = None
        if item.vector is None:
            vector = row if row is not None and self._index.has(row, hashes, TEXT) and self._sound.has(row) else None
            if vector is None and not self._has_given:
                vector = self._index.same_text(item, hashes[TEXT], self._sound.has)
        self._pending[item.id] = (item, vector)
        return len(item.text) if vector is None else 0

    def _lacks_vector(self, item: Document) -> bool:
        """Whether no model could embed a document that came without a vector and whose text is not there already."""
        if not self._has_given or item.vector is not None:
            return False
        row = self._index.find(item.id)
        return row is None or not self._index.has(row, hash_document(item), TEXT)

    def _has_vector(self, snapshot: Snapshot, row: int, item: Document) -> bool:
        """Whether the stored vector of a row is the one that came with a document; yes where none came."""
        if item.vector is None:
            return True
        given = as_stored([item.vector], self._manifest.dim, item.id)
        return bool((snapshot.vectors.stored(np.array([row])) == given).all())

    def _reject(self, item: Rejected, reader: FileReader | None) -> None:
        if reader is not None:
            reader.reject(item)
        self._reasons[kind_of_reason(item.reason)] += 1
        self._rejections.append(item)

    def _write(self) -> None:
        """Encode and write what waits, without committing it; in a dry run count it."""
        if self._settings.dry_run:
            self._encoded += sum(row is None for _, row in self._pending.values())
            self._seen |= self._pending.keys()
            self._pending, self._rejections = {}, []
            return
        if self._pending:
            documents = [document for document, _ in self._pending.values()]
            known = np.array([-1 if row is None else row for _, row in self._pending.values()])
            vectors = np.empty((len(documents), self._manifest.dim), dtype="<f2")
            vectors[known >= 0] = self._snapshot.vectors.stored(known[known >= 0])
            new = [document for document, row in zip(documents, known, strict=True) if row < 0]
            self._scripts.look(self._encoder, new)
            vectors[known < 0], tokens = encode(self._encoder, new, self._progress)
            self._wrote(*write_segment(self._writer, documents, vectors, _count(self._segments)))
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
        segments, rows = list(before.segments), before.rows
        gone = [self._gone | self._replaced | self._changes.removed]
        for segment in self._segments:
            used = self._staged.met[segment.base : segment.base + segment.count]
            if used.any():
                segments.append(replace(segment, base=rows))
                gone.append(~used)
                rows += segment.count
        record = Addition(
            tuple({"name": name, "kind": source.kind} for name, source in zip(names, sources, strict=True)),
            self._counts["added"], self._counts["changed"], self._unchanged, self._reasons.total(),
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
        before = self._with_ledger(before, sources)
        others = tuple(addition for addition in before.additions if tuple(addition.names) != names)
        listed = (*rejections, *(name for addition in others for name in addition.rejections), *self._rejected)
        same = listed == tuple(before.rejected_files()) and before.sources == self._manifest.sources
        if not self._files and same and rows == before.rows and not before.staged:
            return self._writer.manifest or before  # nothing is new
        after = before.with_files(
            rows=rows, segments=tuple(segments), tombstones=tombstones, staged=None, build=build,
            rejections=rejections, additions=(*others, record), files=self._files,
        )  # fmt: skip
        return self._writer.commit(ensure_postings(self._writer, after))

    def _with_ledger(self, manifest: Manifest, sources: Sequence[Source]) -> Manifest:
        """The manifest with what the ledger says now, in files that are written and not committed."""
        if not self._keeps_ledger:
            return manifest
        if self._renews:
            manifest = replace(manifest, scheme=SCHEME, cut=self._changes.cutter.rule.to_json())
        manifest = replace(manifest, sources=recorded(sources, manifest.sources))
        if not self._changes.update_ledger() and not self._renews:
            return manifest
        with self._writer.draft("files") as (name, draft, files):
            write_ledger(draft, self._changes.ledger)
        self._files.update(files)
        return replace(manifest, ledger=(name,))


def _streams(sources: Sequence[Source]) -> Iterator[tuple[float, Document | Rejected, FileReader | None]]:
    """Yield the records of sources as indexes of the first scheme have them: text cut by characters, no ledger."""
    for number, source in enumerate(sources):
        for record in source.records():
            yield (number + record.progress) / len(sources), record.item, None


def _count(segments: Sequence[Segment]) -> int:
    return sum(segment.count for segment in segments)
