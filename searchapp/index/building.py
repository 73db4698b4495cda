"""From sources to a finished index: read, reject, encode segment by segment, reduce, index.

A segment is committed as soon as its documents are encoded, with what the ledger says of the files that are done; a
build that was killed goes on after them, and what it then makes is what an uninterrupted build would have made. Nothing
grows with the corpus but files, and sixteen bytes a document to tell ids apart.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.corpus import Document, Rejected, Source, open_source
from searchapp.corpus.batch import DocumentBatch
from searchapp.corpus.selection import Selection
from searchapp.corpus.source import MEMORY
from searchapp.corpus.source_file import SourceFile
from searchapp.corpus.walk import READ, SKIPPED
from searchapp.encoder import Encoder
from searchapp.encoder.fingerprint import differing
from searchapp.errors import CorpusError, IndexStoreError
from searchapp.heap import trim_heap
from searchapp.index.ann.build_ann import build_ann
from searchapp.index.ann.request import AnnRequest, Targets
from searchapp.index.encoder_match import ANOTHER_MODEL, described, recorded_backend
from searchapp.index.exchange import require_same_maker
from searchapp.index.given import GIVEN
from searchapp.index.intake.files import (
    PENDING_REJECTIONS,
    SCHEME,
    FileCounts,
    FileReader,
    cutter_of,
    expect,
    kind_of_reason,
    sampled_reach,
    skipped_entry,
)
from searchapp.index.intake.names import absolute, named, recorded
from searchapp.index.intake.scripts import broken_scripts
from searchapp.index.intake.spent import Spent
from searchapp.index.lexical.analyzer import Analyzer
from searchapp.index.lexical.bm25 import add_lexical
from searchapp.index.storage.directory import Disk, FileEntry
from searchapp.index.storage.hashes import ID, hash_batch
from searchapp.index.storage.ids import IdTable, digest, have_equal
from searchapp.index.storage.ledger import LedgerEntry, write_ledger
from searchapp.index.storage.manifest import Build, Manifest, Partial
from searchapp.index.storage.segment import (
    SEGMENT_CHARACTERS,
    SEGMENT_DOCUMENTS,
    encode,
    write_batch,
    write_rejections,
    write_segment,
)
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import REJECTED, Writer
from searchapp.progress import Progress, Silent
from searchapp.provenance import package_versions

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


@dataclass(frozen=True)
class BuildSummary:
    """The finished state, and what this run did for it: documents it encoded and whether it found the work done.

    ``files`` is what became of the files of its sources, in all runs of the build.
    """

    manifest: Manifest
    encoded: int
    resumed_at: int
    already_done: bool
    files: FileCounts = field(default_factory=FileCounts)


@dataclass(frozen=True)
class BuildSettings:
    """How documents become an index.

    ``pca``, ``factory`` and ``targets`` are as in ``AnnRequest``. ``lexical`` counts the words for BM25 as
    ``analyzer`` cuts them (None: as they were cut before, or as English); without it a BM25 part that is there stays.
    ``overwrite`` starts again, whatever the directory holds; ``segment_size`` documents are encoded between two
    commits. ``names`` are what the sources are called in ids, none or one for each. ``selection`` says which files of
    folders are read.
    """

    pca: int | str | None = None
    factory: str = "auto"
    targets: Targets = Targets()
    lexical: bool = True
    analyzer: Analyzer | None = None
    overwrite: bool = False
    segment_size: int = SEGMENT_DOCUMENTS
    names: tuple[str, ...] = ()
    selection: Selection = Selection()

    @property
    def request(self) -> AnnRequest:
        """What is asked of the search index."""
        return AnnRequest(self.pca, self.factory, self.targets)


def build(
    sources: Sequence[str | Source],
    path: Path,
    encoder: Encoder,
    settings: BuildSettings | None = None,
    *,
    progress: Progress | None = None,
    disk: Disk | None = None,
    **changes: Any,
) -> BuildSummary:
    """Build an index at ``path``, or go on with an interrupted build of the same sources and model.

    ``sources`` are paths, or sources that were opened, such as those of ``searchapp.corpus.memory``.
    ``changes`` are fields of ``BuildSettings``, over those of ``settings``: ``build(sources, path, encoder, pca=128)``.
    A finished index is left as it is when nothing differs, and only reduced and indexed again when ``pca``, ``factory``
    or ``targets`` do. Raises CorpusError, ModelError or IndexStoreError; what was committed stays. Raises TypeError
    for a change that is no field.
    """
    settings = replace(settings or BuildSettings(), **changes)
    progress = progress or Silent()
    opened = [
        source if isinstance(source, Source) else open_source(source, selection=settings.selection)
        for source in sources
    ]
    opened = named(opened, settings.names)
    request = settings.request
    request.check(encoder.dim)
    require_same_maker(opened, encoder)
    with Writer.open(path, disk) as writer:
        plan = Build(described_sources(opened), overwrite=settings.overwrite)
        if settings.overwrite and (
            writer.manifest is None or writer.manifest.state == "ready" or not writer.manifest.build.overwrite
        ):
            start = _fresh(encoder, plan, opened)
        else:
            _take_damaged(writer)
            _refuse_reembedding(writer)
            start = _going_on(writer, encoder, plan, opened)
        resumed_at = start.rows
        done = start.state == "ready" and AnnRequest.of(start.build) == request
        if done and not _has_damaged_caches(writer):
            manifest = add_lexical(writer, settings.analyzer, stage=progress.stage) if settings.lexical else start
            files = _counts(Snapshot.of(writer, manifest))
            return BuildSummary(manifest, 0, resumed_at, already_done=manifest == start, files=files)
        if start.state == "encoding":
            _BuildRun(writer, start, encoder, settings.segment_size, progress).encode(opened)
            trim_heap()
        writer.publish_rejections()
        if settings.lexical:
            add_lexical(writer, settings.analyzer, stage=progress.stage)
        encode_queries = None if encoder.backend.name == GIVEN else encoder.encode_queries
        manifest = build_ann(writer, request, stage=progress.stage, encode=encode_queries, device=encoder.device)
        files = _counts(Snapshot.of(writer, manifest))
    spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in manifest.build.seconds.items())
    log.info("built %s: %d documents, %d rejected; %s", path, manifest.rows, manifest.build.rejected, spent)
    return BuildSummary(manifest, manifest.rows - resumed_at, resumed_at, already_done=False, files=files)


def encode_sources(
    writer: Writer,
    sources: Sequence[Source],
    encoder: Encoder,
    settings: BuildSettings,
    *,
    progress: Progress | None = None,
) -> Manifest:
    """Encode sources into an empty directory and count their words, as ``build`` does; without an index over them.

    Unlike a build it may come to no document. Raises as ``build`` does.
    """
    progress = progress or Silent()
    start = _fresh(encoder, Build(described_sources(sources)), sources)
    _BuildRun(writer, start, encoder, settings.segment_size, progress, may_be_empty=True).encode(sources)
    if settings.lexical and writer.state.rows:
        add_lexical(writer, settings.analyzer, stage=progress.stage)
    return writer.state


def described_sources(sources: Sequence[Source]) -> tuple[dict[str, str], ...]:
    """What a manifest records of the sources of a build."""
    return tuple(
        {"name": absolute(source.name), "kind": source.kind, "identity": source.identity(), "label": source.label}
        for source in sources
    )


def _take_damaged(writer: Writer) -> None:
    """Go on from a state that lost nothing but derived files, as if these had not been made yet.

    Raises IndexStoreError where more is lost: to go on from the state before would drop what came after it.
    """
    if writer.damaged is None or writer.damaged.manifest is None:
        return
    manifest, lost = writer.damaged.manifest, writer.damaged.missing
    if not set(lost) <= set(manifest.derived()):
        raise IndexStoreError(
            f"{writer.root} is damaged: {writer.damaged.problems[0]}; mend it with `searchapp verify {writer.root} "
            "--repair`, or start again with --overwrite"
        )
    writer.manifest = manifest.bare(*lost)


def _refuse_reembedding(writer: Writer) -> None:
    """Raise IndexStoreError where a reembed into this directory has not finished: its documents come from an index."""
    begun = writer.manifest
    if begun is not None and begun.reembedding is not None and begun.state != "ready":
        raise IndexStoreError(
            f"{writer.root} holds an unfinished reembed of {begun.reembedding.origin}; finish it with the same "
            "`searchapp reembed` command, or give --overwrite to build in its place"
        )


def _has_damaged_caches(writer: Writer) -> bool:
    """Whether a derived file of the state has changed since it was written; it is then made again."""
    if writer.manifest is None or not Snapshot.of(writer).check(writer.manifest.derived()):
        return False
    writer.keep_older = False  # the state before has the same files
    return True


def _counts(snapshot: Snapshot) -> FileCounts:
    counts = FileCounts()
    for entry in snapshot.ledger():
        counts.count(entry.outcome, entry.reason, notes=entry.notes)
    return counts


def _fresh(encoder: Encoder, plan: Build, sources: Sequence[Source]) -> Manifest:
    return Manifest(
        described(encoder), encoder.dim, plan, versions=package_versions(PACKAGES), scheme=SCHEME,
        cut=cutter_of(encoder).rule.to_json(), sources=recorded(sources),
    )  # fmt: skip


def _going_on(writer: Writer, encoder: Encoder, plan: Build, sources: Sequence[Source]) -> Manifest:
    """The state to go on from: the committed one if it was made from the same sources by the same encoder."""
    manifest = writer.manifest
    if manifest is None:
        if writer.notices:
            raise IndexStoreError(
                f"{writer.root} is damaged: {writer.notices[0]}; "
                f"mend it with `searchapp verify {writer.root} --repair`, or start again with --overwrite"
            )
        return _fresh(encoder, plan, sources)
    if manifest.rows == 0:  # a corpus without a usable document: nothing to go on with, nothing to lose
        return _fresh(encoder, plan, sources)
    unfinished = "an unfinished build" if manifest.state != "ready" else "an index"
    ways = "use another --index, or --overwrite to start again"
    other = f"{ANOTHER_MODEL.format(root=writer.root)}; or {ways}" if manifest.state == "ready" else ways
    if manifest.state == "encoding" and manifest.scheme != SCHEME:
        raise IndexStoreError(
            f"{writer.root} holds a build that an older searchapp began, with other ids; finish it with that one, or "
            "give --overwrite to start again"
        )
    if parts := differing(manifest.encoder["fingerprint"], encoder.fingerprint):
        raise IndexStoreError(
            f"{writer.root} holds {unfinished} made by {manifest.encoder['reference']['model']}, "
            f"whose {', '.join(parts)} differ from {encoder.reference['model']}'s; {other}"
        )
    if (made := manifest.encoder["dtype"]) != encoder.dtype:
        raise IndexStoreError(
            f"{writer.root} holds {unfinished} made in {made}, this run is in {encoder.dtype}; "
            f"give --dtype {made}, or {other}"
        )
    if (made := recorded_backend(manifest)) != encoder.backend.name:
        raise IndexStoreError(
            f"{writer.root} holds {unfinished} made by the backend {made}, this run is by {encoder.backend.name}; "
            f"give --backend {made}, or {other}"
        )
    before = [source["name"] for source in manifest.build.sources]
    if before != [source["name"] for source in plan.sources]:
        raise IndexStoreError(f"{writer.root} holds {unfinished} of other sources ({', '.join(before)}); {ways}")
    pairs = list(zip(manifest.build.sources, plan.sources, strict=True))
    if renamed := [(old, new) for old, new in pairs if old.get("label", new["label"]) != new["label"]]:
        old, new = renamed[0]
        raise IndexStoreError(
            f"{writer.root} holds {unfinished} in which {new['name']} is named {old['label']!r}, not {new['label']!r}; "
            f"give --name {old['label']}, or {ways}"
        )
    changed = [new["name"] for old, new in pairs if old["identity"] != new["identity"] or old["kind"] != new["kind"]]
    if changed:
        if manifest.state == "ready":
            ways = f"{_adding(writer.root, changed[0])} takes in what changed; or {ways}"
        raise IndexStoreError(f"{changed[0]} has changed since {writer.root} was begun; {ways}")
    return manifest


def _partial(reader: FileReader, less: int = 0) -> Partial:
    """How far a file was read, but for its last records."""
    return Partial(reader.source.label, reader.file.path, reader.records - less, reader.rejected, reader.reason)


def _adding(root: Path, source: str) -> str:
    return "`Index.add`" if source.startswith(f"{MEMORY}:") else f"`searchapp add {root} {source}`"


class _BuildRun:
    """One run of the encoding stage over a writer."""

    def __init__(
        self,
        writer: Writer,
        start: Manifest,
        encoder: Encoder,
        size: int,
        progress: Progress,
        *,
        may_be_empty: bool = False,
    ) -> None:
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

    def encode(self, sources: Sequence[Source]) -> None:
        """Encode what is left of the sources and commit the state ``encoded``."""
        self._progress.stage("encoding", unit="doc", done=self._manifest.rows)
        self._remember_ids()
        self._spent.begin()
        for source in sources:
            log.info("reading %s", source.name)
        cutter = cutter_of(self._encoder, self._manifest)
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

    def _warn_of_scripts(self) -> None:
        """Say, at the first documents, whether the model's vocabulary lacks their scripts."""
        if self._manifest.rows == 0:
            found = broken_scripts(self._encoder, [f"{one.title} {one.text}" for one in self._pending])
            if found.warning:
                log.warning("%s", found.warning)

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
            self._warn_of_scripts()
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
