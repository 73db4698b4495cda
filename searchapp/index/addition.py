"""Adding to an index: new documents, and new versions of those it has; the rest is not encoded again.

All of an add is seen at once, when it has finished. What it encodes meanwhile is committed as *staged*, segment by
segment, beside a state that does not change. An add that was killed takes nothing from that but the vectors: run again,
it compares its sources with the index as if for the first time, and finds the documents it had encoded among the staged
ones. So it may be run again with other sources, or after a delete, and is right all the same.

The ledger says which files have not changed; these are not opened. A text file that changed leaves no passage of its
former text. What is gone from a source stays, and is named; ``sync`` removes it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.corpus import Document, Rejected, Source
from searchapp.corpus.batch import DocumentBatch
from searchapp.corpus.selection import Selection
from searchapp.corpus.source import find_source, open_source
from searchapp.encoder import Encoder
from searchapp.errors import CorpusError, IndexStoreError
from searchapp.index.encoder_match import ANOTHER_MODEL, recorded_backend, require_match
from searchapp.index.exchange import require_same_maker
from searchapp.index.extend import extend_index
from searchapp.index.given import has_given_vectors
from searchapp.index.intake.changes import NAMED, Changes, nothing_there
from searchapp.index.intake.files import (
    PENDING_REJECTIONS,
    SCHEME,
    FileCounts,
    FileReader,
    cutter_of,
    expect,
    kind_of_reason,
)
from searchapp.index.intake.known import KnownDocuments
from searchapp.index.intake.names import absolute, named, recorded
from searchapp.index.lexical.bm25 import ensure_postings
from searchapp.index.storage.deletions import write_tombstones
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.hashes import ID, METADATA, TEXT, hash_batch, hash_document
from searchapp.index.storage.ids import have_equal
from searchapp.index.storage.ledger import write_ledger
from searchapp.index.storage.manifest import Addition, Manifest, NamedSource, Segment, Staged
from searchapp.index.storage.segment import (
    SEGMENT_CHARACTERS,
    SEGMENT_DOCUMENTS,
    Files,
    as_stored,
    completed,
    encode,
    write_batch,
    write_rejections,
    write_segment,
)  # fmt: skip
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Update, Writer
from searchapp.progress import Progress, Silent

log = logging.getLogger("searchapp.index.add")  # the command, which is what people filter lines by


@dataclass(frozen=True)
class Added:
    """The new state, and what became of the records: of those added or changed, ``encoded`` needed the model.

    ``removed`` documents are gone with their files or texts. ``files`` counts the files of the sources; ``missing`` are
    those that the index still has and the sources have no more. After a dry run the state is the old one.
    """

    manifest: Manifest = field(repr=False)
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
    removed: int = 0
    files: FileCounts = field(default_factory=FileCounts)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class AddSettings:
    """How sources are taken into an index.

    ``sync`` also removes what is gone from them; without ``prune`` it refuses to where that is more than half of what
    the index has of them, or a source is not there at all. ``dry_run`` changes nothing. ``names`` are what the sources
    are called in ids, none or one for each. ``segment_size`` documents are encoded between two commits. Without
    ``fold`` they are not moved into the trained index, however many they are: the next add with it, or a compact, does.
    ``selection`` says which files of folders are read.
    """

    sync: bool = False
    prune: bool = False
    dry_run: bool = False
    names: tuple[str, ...] = ()
    segment_size: int = SEGMENT_DOCUMENTS
    fold: bool = True
    selection: Selection = Selection()


def add(
    sources: Sequence[str | Source],
    path: Path,
    encoder: Encoder,
    settings: AddSettings | None = None,
    *,
    progress: Progress | None = None,
    disk: Disk | None = None,
    update: Update = Writer.update,
    **changes: Any,
) -> Added:
    """Add the documents of sources to a finished index; one whose id it has takes the place of that document.

    ``changes`` are fields of ``AddSettings``, over those of ``settings``; ``update`` opens what is written. The
    documents are found at once: by exact comparison beside the trained index, into which they are folded when they have
    become many. Raises CorpusError, ModelError for an encoder that the index was not made by, or IndexStoreError.
    """
    settings = replace(settings or AddSettings(), **changes)
    progress = progress or Silent()
    with update(path, disk) as writer:
        manifest = writer.state
        require_match(manifest, path, encoder)
        if (made := manifest.encoder["dtype"]) != encoder.dtype:
            raise IndexStoreError(
                f"{path} was made in {made}, this encoder is in {encoder.dtype}; give --dtype {made}; "
                f"{ANOTHER_MODEL.format(root=path)}"
            )
        if (made := recorded_backend(manifest)) != encoder.backend.name:
            raise IndexStoreError(
                f"{path} was made by the backend {made}; load the encoder with backend={made!r}; "
                f"{ANOTHER_MODEL.format(root=path)}"
            )
        opened, missing = _opened(sources, path, manifest, settings)
        require_same_maker(opened, encoder)
        summary = _AddRun(writer, manifest, encoder, settings, progress).add(opened, missing)
        counts = summary.added, summary.changed, summary.unchanged, summary.rejected
        log.info("%s: %d added, %d changed, %d unchanged, %d rejected, in %.1f s", path, *counts, summary.seconds)
        if settings.dry_run:
            return summary
        writer.publish_rejections()
        folded = extend_index(writer, progress.stage) if settings.fold else None
        if folded is not None:
            notices = (*summary.notices, *folded.notices)
            return replace(summary, manifest=folded.manifest, folded=True, notices=notices)
    return summary


def _opened(
    sources: Sequence[str | Source], path: Path, manifest: Manifest, settings: AddSettings
) -> tuple[list[Source], list[NamedSource]]:
    """The sources under their names, and those that are to be emptied because they are not there.

    Raises CorpusError or IndexStoreError where one is not there, or does not go with the others or with the index.
    """
    found: list[Source] = []
    labels: list[str] = []
    missing: list[NamedSource] = []
    by_path = {source.path: source for source in manifest.sources}
    for number, name in enumerate(sources):
        if isinstance(name, Source):
            found.append(name)
            labels += settings.names[number : number + 1]
            continue
        known = by_path.get(str(Path(name).resolve()))
        try:
            found.append(
                _of_first_scheme(name, path) if manifest.scheme != SCHEME else _found(name, settings.selection)
            )
            labels += settings.names[number : number + 1]
        except CorpusError as error:
            if not settings.sync or known is None:
                raise
            if not settings.prune:
                raise nothing_there(error, path, known.label) from error
            missing.append(known)
    if manifest.scheme == SCHEME:
        whole = len(settings.names) == len(sources)
        return named(found, labels if whole else settings.names, manifest.sources), missing
    if settings.names and not settings.sync:
        raise IndexStoreError(f"{path} has ids of the first scheme, without names of sources; leave --name out")
    if settings.sync:
        before = [*manifest.build.sources, *(source for item in manifest.additions for source in item.sources)]
        lacking = dict.fromkeys(source["name"] for source in before)
        for source in found:
            lacking.pop(absolute(source.name), None)
        if lacking and not settings.prune:
            raise IndexStoreError(
                f"{path} has ids of the first scheme; --sync gives it new ones, and needs all of its sources for that: "
                f"add {', '.join(list(lacking)[:NAMED])}; where they are gone for good, --prune removes what it has of "
                "them"
            )
        return named(found, settings.names), []
    return found, []


def _of_first_scheme(name: str, path: Path) -> Source:
    """A source for an index of the first scheme. Raises CorpusError for a document, which such an index cannot have."""
    source = open_source(name)
    if source.is_document:
        raise CorpusError(f"{name}: {path} has ids of the first scheme, which a document cannot have; build it anew")
    return source


def _found(name: str, selection: Selection) -> Source:
    """A source, its first record read where that shows whether it can be read at all; no text is opened."""
    source = find_source(name, selection=selection)
    return source if source.kind == "folder" else open_source(name, selection=selection)


class _AddRun:
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
        self._bases = np.array([segment.base for segment in start.segments], dtype=np.int64)
        self._damage: dict[int, str | None] = {}  # of the vectors of a segment, once one of them was to be copied
        self._gone = self._snapshot.deleted
        self._index = KnownDocuments(self._snapshot, ~self._gone)
        self._segments = start.staged.segments if start.staged else ()
        self._staged = KnownDocuments(self._staged_snapshot(), np.ones(_count(self._segments), dtype=bool))
        self._pending: dict[str, tuple[Document, int | None]] = {}  # by id, with the row that has its vector
        self._replaced = np.zeros(start.rows, dtype=bool)
        self._changes = Changes(
            self._snapshot, self._index, cutter_of(encoder, self._manifest), sync=settings.sync, prune=settings.prune
        )
        self._read_characters = 0
        self._rejections: list[Rejected] = []
        self._rejected: tuple[str, ...] = ()  # files of them
        self._files: Files = {}  # written and not yet committed
        self._reasons: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._tokens = self._encoded = self._resumed = 0
        self._seen: set[str] = set()  # ids that a dry run would have written

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
            if full or len(self._rejections) >= PENDING_REJECTIONS:
                expect(self._progress, self._counts.total() + self._changes.unchanged, fraction, self._reasons.total())
                self._write()
                if not self._settings.dry_run:
                    staged = Staged(names, self._segments, self._rejected)
                    self._manifest = self._writer.commit(self._manifest.with_files(staged=staged, files=self._files))
                self._files, characters = {}, 0
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
            notices=self._notices(), removed=removed, files=self._changes.counts,
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
        fresh = not (self._index.may_have(hashes[ID]) or self._staged.may_have(hashes[ID]))
        fresh = fresh and self._seen.isdisjoint(batch.ids) and self._pending.keys().isdisjoint(batch.ids)
        if not fresh or reader is None or self._settings.dry_run or have_equal(hashes[ID]):
            for document in batch.documents():
                self._take(document, reader)
            return
        self._write()
        reader.accept_all(hashes[ID])
        if self._settings.sync:
            self._changes.new_texts.update(hashes[TEXT].tolist())
        self._counts["added"] += len(batch)
        segment, files = write_batch(self._writer, batch, hashes, self._manifest.dim, _count(self._segments))
        self._wrote(segment, files)
        self._encoded += len(batch)
        self._progress.advance(len(batch), tokens=0)

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
        if item.vector is None and staged is not None and self._staged.has(staged, hashes, TEXT, METADATA):
            self._staged.met[staged] = True
            self._resumed += 1
            return 0
        vector = None
        if item.vector is None:
            vector = row if row is not None and self._index.has(row, hashes, TEXT) and self._sound(row) else None
            if vector is None and not self._has_given:
                vector = self._index.same_text(item, hashes[TEXT], self._sound)
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
