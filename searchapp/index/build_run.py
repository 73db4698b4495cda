"""One run of the encoding stage of a build: reads sources, and commits their documents segment by segment."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from searchapp.corpus import Document, Rejected, Source
from searchapp.corpus.batch import DocumentBatch
from searchapp.corpus.source_file import SourceFile
from searchapp.corpus.walk import READ, SKIPPED
from searchapp.encoder import Encoder
from searchapp.errors import CorpusError, IndexStoreError
from searchapp.index.intake.files import (
    PENDING_REJECTIONS,
    FileReader,
    cutter_of,
    expect,
    kind_of_reason,
    sampled_reach,
    skipped_entry,
)
from searchapp.index.intake.scripts import ScriptWarning
from searchapp.index.intake.spent import Spent
from searchapp.index.storage.directory import FileEntry
from searchapp.index.storage.hashes import ID, hash_batch
from searchapp.index.storage.ids import IdTable, digest, have_equal
from searchapp.index.storage.ledger import LedgerEntry, write_ledger
from searchapp.index.storage.manifest import Manifest, Partial
from searchapp.index.storage.segment import (
    SEGMENT_CHARACTERS,
    encode,
    write_batch,
    write_rejections,
    write_segment,
)
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import REJECTED, Writer
from searchapp.progress import Progress

log = logging.getLogger("searchapp.index.build")  # the command, which is what people filter lines by

PACKAGES = (
    "searchapp",
    "torch",
    "transformers",
    "tokenizers",
    "faiss-cpu",
    "faiss-gpu",
    "pyarrow",
    "numpy",
    "bm25s",
    "PyStemmer",
)


def _partial(reader: FileReader, less: int = 0) -> Partial:
    """How far a file was read, but for its last records."""
    return Partial(reader.source.label, reader.file.path, reader.records - less, reader.rejected, reader.reason)


class BuildRun:
    """One run of the encoding stage over a writer."""

    def __init__(
        self,
        writer: Writer,
        start: Manifest,
        encoder: Encoder,
        size: int,
        progress: Progress,
        *,
        passwords: Sequence[str] = (),
        may_be_empty: bool = False,
    ) -> None:
        self._passwords = tuple(passwords)
        self._may_be_empty = may_be_empty
        self._writer, self._encoder, self._progress = writer, encoder, progress
        self._manifest = start
        self._size = start.build.segment_size or size
        self._pending: list[Document] = []
        self._snapshot = Snapshot.of(writer, start)
        self._ids = IdTable(self._id_of)
        self._reasons = Counter(start.build.reasons)
        self._spent = Spent(start.build.seconds)
        self._rejections: list[Rejected] = []
        self._uncut: list[bool] = []  # of the pending documents: whether the encoder may not read them whole
        self._fits = True  # whether it reads a passage whole
        self._ledger = self._snapshot.ledger()
        self._entries: list[LedgerEntry] = []  # of files that are done and not yet committed
        self._parts = start.ledger
        self._consumed = start.build.consumed
        self._characters = 0
        self._scripts = ScriptWarning(log)

    def encode(self, sources: Sequence[Source]) -> None:
        """Encode what is left of the sources and commit the state ``encoded``."""
        self._progress.stage("encoding", unit="doc", done=self._manifest.rows)
        self._remember_ids()
        self._spent.begin()
        for source in sources:
            log.info("reading %s", source.name)
        cutter = cutter_of(self._encoder, self._manifest, self._passwords)
        self._fits = (cutter.rule.tokens or 0) <= self._encoder.document_reach
        files = [(source, file) for source in sources for file in source.files(cutter)]
        total, before = max(1, sum(file.size for _, file in files)), 0
        left = []
        for source, file in files:
            if (entry := self._ledger.find(source.label, file.path)) is None:
                left.append(file)
            elif entry.outcome == READ and entry.reader != file.reader:
                was, here = (reader.rpartition(" ")[0] for reader in (entry.reader, file.reader))
                raise IndexStoreError(
                    f"{self._writer.root} holds an unfinished build in which {file.file} was read by {was}; here is "
                    f"{here}, which may read other passages; install what it was begun with, or give --overwrite to "
                    "start again"
                )
        cutter.readers.expect(file.request for file in left if file.request is not None)
        for number, (source, file) in enumerate(files):
            if self._ledger.find(source.label, file.path) is None:
                share = (before / total, file.size / total) if total > 1 else (number / len(files), 1 / len(files))
                self._read(source, file, share)
            before += file.size
        cutter.readers.close()
        self._tell(1.0)
        empty = not self._pending and not self._manifest.rows and not self._may_be_empty
        self._commit(None, state="encoding" if empty else "encoded")
        if empty:
            self._writer.publish_rejections()
            raise CorpusError(self._nothing(sources))

    def _read(self, source: Source, file: SourceFile, share: tuple[float, float]) -> None:
        """Take in one file; ``share`` is how much of all stands before it, and how much it is."""
        if file.outcome == SKIPPED:
            if not file.path.endswith("/"):  # a folder that is ignored is no file
                self._entries.append(skipped_entry(source, file))
            return
        reader = FileReader(source, file)
        partial = self._manifest.build.partial
        if partial is not None and (partial.source, partial.path) == (source.label, file.path):
            done = sum(len(entry.ids) for entry in self._ledger)  # the documents behind these are this file's
            reader.go_on(partial, self._snapshot.hashes()[ID][done:])
        for found, fraction in reader.read():
            if isinstance(found, DocumentBatch):
                self._take_batch(found, reader)
                self._tell(share[0] + share[1] * fraction)
                continue
            self._take(found, reader)
            full = len(self._pending) >= self._size or self._characters >= SEGMENT_CHARACTERS
            if full or len(self._rejections) >= PENDING_REJECTIONS:
                self._tell(share[0] + share[1] * fraction)
                self._commit(_partial(reader))
        self._entries.append(reader.entry())

    def _take(self, found: Document | Rejected, reader: FileReader) -> None:
        """Take in one record."""
        self._consumed += 1
        item = self._checked(found)
        if isinstance(item, Rejected):
            reader.reject(item)
            self._reasons[kind_of_reason(item.reason)] += 1
            self._rejections.append(item)
        else:
            reader.accept(digest(item.id))
            self._ids.add(item.id, self._manifest.rows + len(self._pending))
            self._pending.append(item)
            self._uncut.append(not (reader.file.is_cut and self._fits))
            self._characters += len(item.text)

    def _take_batch(self, batch: DocumentBatch, reader: FileReader) -> None:
        """Write documents that are columns as a segment; one by one where an id may be taken."""
        hashes = hash_batch(batch)
        if self._ids.may_have(hashes[ID]) or have_equal(hashes[ID]):
            for document in batch.documents():
                self._take(document, reader)
            self._commit(_partial(reader))
            return
        if self._pending or self._rejections:
            self._commit(_partial(reader, len(batch)))
        self._ids.extend(hashes[ID], self._manifest.rows + np.arange(len(batch)))
        self._consumed += len(batch)
        reader.accept_all(hashes[ID])
        self._commit(_partial(reader), batch=(batch, hashes))
        self._progress.advance(len(batch), tokens=0)

    def _tell(self, fraction: float) -> None:
        expect(self._progress, self._manifest.rows + len(self._pending), fraction, self._reasons.total())

    def _nothing(self, sources: Sequence[Source]) -> str:
        names = ", ".join(source.name for source in sources)
        if not self._reasons:
            return f"{names} holds no documents; expected at least one"
        reason, count = self._reasons.most_common(1)[0]
        worst = f"all {self._reasons.total()} rejected, {count} of them for: {reason}"
        return f"{names} holds no usable document: {worst}; see {self._writer.root / REJECTED}"

    def _remember_ids(self) -> None:
        self._ids.extend(self._snapshot.hashes()[ID], np.arange(self._manifest.rows))

    def _id_of(self, row: int) -> str:
        waiting = row - self._manifest.rows
        return self._pending[waiting].id if waiting >= 0 else self._snapshot.documents.read(row).id

    def _checked(self, item: Document | Rejected) -> Document | Rejected:
        if isinstance(item, Rejected) or (row := self._ids.find(item.id)) is None:
            return item
        return Rejected(*item.place, reason=f"duplicate id: document {row + 1} of this index has it", id=item.id)

    def _commit(
        self, partial: Partial | None, state: str = "encoding", *, batch: tuple[DocumentBatch, np.ndarray] | None = None
    ) -> None:
        """Encode the pending documents into a segment and publish it with how far the sources were read.

        With a ``batch`` and its hashes, for which nothing may be pending, that is the segment.
        """
        manifest, segments, rejections, tokens = self._manifest, self._manifest.segments, self._manifest.rejections, 0
        files: dict[str, FileEntry] = {}
        reach = manifest.build.reach + sampled_reach(self._encoder, self._pending, self._uncut)
        if self._pending:
            self._scripts.look(self._encoder, self._pending)
            with self._spent.encoding():
                vectors, tokens = encode(self._encoder, self._pending, self._progress)
            segment, files = write_segment(self._writer, self._pending, vectors, manifest.rows)
            segments = (*segments, segment)
        if batch is not None:
            segment, files = write_batch(self._writer, *batch, manifest.dim, manifest.rows)
            segments = (*segments, segment)
        if self._rejections:
            name, more = write_rejections(self._writer, self._rejections)
            files.update(more)
            rejections = (*rejections, name)
        if self._entries:
            for entry in self._entries:
                self._ledger.put(entry)
            whole = state != "encoding"  # the parts are joined at the end
            with self._writer.draft("files") as (name, draft, more):
                write_ledger(draft, self._ledger if whole else self._entries)
            files.update(more)
            self._parts = (name,) if whole else (*self._parts, name)
        build = replace(
            manifest.build,
            consumed=self._consumed,
            partial=partial,
            reach=reach,
            rejected=self._reasons.total(),
            reasons=dict(self._reasons),
            tokens=manifest.build.tokens + tokens,
            seconds={**manifest.build.seconds, **self._spent.seconds()},
            segment_size=self._size,
        )
        changed = manifest.with_files(
            state=state,
            rows=manifest.rows + len(self._pending if batch is None else batch[0]),
            segments=segments,
            rejections=rejections,
            build=build,
            ledger=self._parts,
            files=files,
        )
        self._manifest = self._writer.commit(changed)
        log.debug("committed %d documents after %d records", self._manifest.rows, self._consumed)
        self._snapshot = Snapshot.of(self._writer)
        self._pending, self._rejections, self._uncut, self._entries, self._characters = [], [], [], [], 0
