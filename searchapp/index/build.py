"""From sources to a finished index: read, reject, encode segment by segment, reduce, index.

A segment is committed as soon as its documents are encoded; a build that was killed goes on after the last one, and
what it then makes is what an uninterrupted build would have made. Nothing grows with the corpus but files, and
sixteen bytes a document to tell ids apart.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.corpus import Document, Rejected, Source, open_source
from searchapp.corpus.document import JOINER
from searchapp.encoder import Encoder
from searchapp.encoder.fingerprint import differing
from searchapp.errors import CorpusError, IndexStoreError
from searchapp.heap import trim_heap
from searchapp.index.ann.build_ann import build_ann
from searchapp.index.ann.request import AnnRequest, Targets
from searchapp.index.encoder_match import recorded_backend
from searchapp.index.lexical.analyzer import Analyzer
from searchapp.index.lexical.bm25 import add_lexical
from searchapp.index.storage.directory import Disk, FileEntry
from searchapp.index.storage.hashes import ID
from searchapp.index.storage.ids import IdTable
from searchapp.index.storage.manifest import Build, Manifest
from searchapp.index.storage.segment import (
    SEGMENT_CHARACTERS,
    SEGMENT_DOCUMENTS,
    encode,
    write_rejections,
    write_segment,
)
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import REJECTED, Writer
from searchapp.progress import Progress, Silent
from searchapp.provenance import package_versions

log = logging.getLogger(__name__)

PENDING_REJECTIONS = 20_000  # records, after which they are committed even without a full segment
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
    """The finished state, and what this run did for it: documents it encoded and whether it found the work done."""

    manifest: Manifest
    encoded: int
    resumed_at: int
    already_done: bool


@dataclass(frozen=True)
class BuildSettings:
    """How documents become an index.

    ``pca``, ``factory`` and ``targets`` are as in ``AnnRequest``. ``lexical`` counts the words for BM25 as
    ``analyzer`` cuts them (None: as they were cut before, or as English); without it a BM25 part that is there stays.
    ``overwrite`` starts again, whatever the directory holds; ``segment_size`` documents are encoded between two
    commits.
    """

    pca: int | str | None = None
    factory: str = "auto"
    targets: Targets = Targets()
    lexical: bool = True
    analyzer: Analyzer | None = None
    overwrite: bool = False
    segment_size: int = SEGMENT_DOCUMENTS

    @property
    def request(self) -> AnnRequest:
        """What is asked of the search index."""
        return AnnRequest(self.pca, self.factory, self.targets)


def build(
    sources: Sequence[str],
    path: Path,
    encoder: Encoder,
    settings: BuildSettings | None = None,
    *,
    progress: Progress | None = None,
    disk: Disk | None = None,
    **changes: Any,
) -> BuildSummary:
    """Build an index at ``path``, or go on with an interrupted build of the same sources and model.

    ``changes`` are fields of ``BuildSettings``, over those of ``settings``: ``build(sources, path, encoder, pca=128)``.
    A finished index is left as it is when nothing differs, and only reduced and indexed again when ``pca``, ``factory``
    or ``targets`` do. Raises CorpusError, ModelError or IndexStoreError; what was committed stays. Raises TypeError
    for a change that is no field.
    """
    settings = replace(settings or BuildSettings(), **changes)
    progress = progress or Silent()
    opened = [open_source(source) for source in sources]
    request = settings.request
    request.check(encoder.dim)
    with Writer.open(path, disk) as writer:
        plan = Build(
            tuple(
                {"name": absolute(source.name), "kind": source.kind, "identity": source.identity()} for source in opened
            ),
            overwrite=settings.overwrite,
        )
        if settings.overwrite and (
            writer.manifest is None or writer.manifest.state == "ready" or not writer.manifest.build.overwrite
        ):
            start = _fresh(encoder, plan)
        else:
            _take_damaged(writer)
            start = _going_on(writer, encoder, plan)
        resumed_at = start.rows
        done = start.state == "ready" and AnnRequest.of(start.build) == request
        if done and not _has_damaged_caches(writer):
            manifest = add_lexical(writer, settings.analyzer, stage=progress.stage) if settings.lexical else start
            return BuildSummary(manifest, 0, resumed_at, already_done=manifest == start)
        if start.state == "encoding":
            _BuildRun(writer, start, encoder, settings.segment_size, progress).encode(opened)
            trim_heap()
        writer.publish_rejections()
        if settings.lexical:
            add_lexical(writer, settings.analyzer, stage=progress.stage)
        manifest = build_ann(
            writer, request, stage=progress.stage, encode=encoder.encode_queries, device=encoder.device
        )
    spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in manifest.build.seconds.items())
    log.info("built %s: %d documents, %d rejected; %s", path, manifest.rows, manifest.build.rejected, spent)
    return BuildSummary(manifest, manifest.rows - resumed_at, resumed_at, already_done=False)


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


def _has_damaged_caches(writer: Writer) -> bool:
    """Whether a derived file of the state has changed since it was written; it is then made again."""
    if writer.manifest is None or not Snapshot.of(writer).check(writer.manifest.derived()):
        return False
    writer.keep_older = False  # the state before has the same files
    return True


def expect(progress: Progress, documents: int, fraction: float, rejected: int) -> None:
    """Say what the total will be, where ``documents`` are this share (0 to 1) of the sources."""
    if fraction > 0:
        progress.expect(max(documents, round(documents / fraction)), rejected=rejected)


def absolute(name: str) -> str:
    """A source's name that holds from any working directory."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def _fresh(encoder: Encoder, plan: Build) -> Manifest:
    described = {
        "reference": encoder.reference,
        "fingerprint": encoder.fingerprint,
        "settings": asdict(encoder.settings),
        "dtype": encoder.dtype,
        "backend": encoder.backend.name,
        "joiner": JOINER,
    }
    return Manifest(described, encoder.dim, plan, versions=package_versions(PACKAGES))


def _going_on(writer: Writer, encoder: Encoder, plan: Build) -> Manifest:
    """The state to go on from: the committed one if it was made from the same sources by the same encoder."""
    manifest = writer.manifest
    if manifest is None:
        if writer.notices:
            raise IndexStoreError(
                f"{writer.root} is damaged: {writer.notices[0]}; "
                f"mend it with `searchapp verify {writer.root} --repair`, or start again with --overwrite"
            )
        return _fresh(encoder, plan)
    if manifest.rows == 0:  # a corpus without a usable document: nothing to go on with, nothing to lose
        return _fresh(encoder, plan)
    unfinished = "an unfinished build" if manifest.state != "ready" else "an index"
    ways = "use another --index, or --overwrite to start again"
    if parts := differing(manifest.encoder["fingerprint"], encoder.fingerprint):
        raise IndexStoreError(
            f"{writer.root} holds {unfinished} made by {manifest.encoder['reference']['model']}, "
            f"whose {', '.join(parts)} differ from {encoder.reference['model']}'s; {ways}"
        )
    if (made := manifest.encoder["dtype"]) != encoder.dtype:
        raise IndexStoreError(
            f"{writer.root} holds {unfinished} made in {made}, this run is in {encoder.dtype}; "
            f"give --dtype {made}, or {ways}"
        )
    if (made := recorded_backend(manifest)) != encoder.backend.name:
        raise IndexStoreError(
            f"{writer.root} holds {unfinished} made by the backend {made}, this run is by {encoder.backend.name}; "
            f"give --backend {made}, or {ways}"
        )
    before = [source["name"] for source in manifest.build.sources]
    if before != [source["name"] for source in plan.sources]:
        raise IndexStoreError(f"{writer.root} holds {unfinished} of other sources ({', '.join(before)}); {ways}")
    changed = [new["name"] for old, new in zip(manifest.build.sources, plan.sources, strict=True) if old != new]
    if changed:
        if manifest.state == "ready":
            ways = f"`searchapp add {writer.root} {changed[0]}` takes in what changed; or {ways}"
        raise IndexStoreError(f"{changed[0]} has changed since {writer.root} was begun; {ways}")
    return manifest


class _BuildRun:
    """One run of the encoding stage over a writer."""

    def __init__(self, writer: Writer, start: Manifest, encoder: Encoder, size: int, progress: Progress) -> None:
        self._writer, self._encoder, self._progress = writer, encoder, progress
        self._manifest = start
        self._size = start.build.segment_size or size
        self._pending: list[Document] = []
        self._snapshot = Snapshot.of(writer, start)
        self._ids = IdTable(self._id_of)
        self._reasons = Counter(start.build.reasons)
        self._seconds = start.build.seconds.get("encode", 0.0)
        self._rejections: list[Rejected] = []

    def encode(self, sources: Sequence[Source]) -> None:
        """Encode what is left of the sources and commit the state ``encoded``."""
        self._progress.stage("encoding", unit="doc", done=self._manifest.rows)
        self._remember_ids()
        began = time.perf_counter() - self._seconds
        done = self._manifest.build.consumed
        consumed, characters = done, 0
        for consumed, fraction, found in records(sources, skip=done):
            item = self._checked(found)
            if isinstance(item, Rejected):
                self._reasons[kind_of_reason(item.reason)] += 1
                self._rejections.append(item)
            else:
                self._ids.add(item.id, self._manifest.rows + len(self._pending))
                self._pending.append(item)
                characters += len(item.text)
            full = len(self._pending) >= self._size or characters >= SEGMENT_CHARACTERS
            if full or len(self._rejections) >= PENDING_REJECTIONS:
                self._tell(fraction)
                self._commit(consumed, began)
                characters = 0
        self._tell(1.0)
        empty = not self._pending and not self._manifest.rows
        self._commit(consumed, began, state="encoding" if empty else "encoded")
        if empty:
            self._writer.publish_rejections()
            raise CorpusError(self._nothing(sources))

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

    def _commit(self, consumed: int, began: float, state: str = "encoding") -> None:
        """Encode the pending documents into a segment and publish it with how far the sources were read."""
        manifest, segments, rejections, tokens = self._manifest, self._manifest.segments, self._manifest.rejections, 0
        files: dict[str, FileEntry] = {}
        if self._pending:
            vectors, tokens = encode(self._encoder, self._pending, self._progress)
            segment, files = write_segment(self._writer, self._pending, vectors, manifest.rows)
            segments = (*segments, segment)
        if self._rejections:
            name, more = write_rejections(self._writer, self._rejections)
            files.update(more)
            rejections = (*rejections, name)
        build = replace(
            manifest.build,
            consumed=consumed,
            rejected=self._reasons.total(),
            reasons=dict(self._reasons),
            tokens=manifest.build.tokens + tokens,
            seconds={**manifest.build.seconds, "encode": time.perf_counter() - began},
            segment_size=self._size,
        )
        changed = manifest.with_files(
            state=state,
            rows=manifest.rows + len(self._pending),
            segments=segments,
            rejections=rejections,
            build=build,
            files=files,
        )
        self._manifest = self._writer.commit(changed)
        log.debug("committed %d documents after %d records", self._manifest.rows, consumed)
        self._snapshot = Snapshot.of(self._writer)
        self._pending, self._rejections = [], []


def records(sources: Sequence[Source], skip: int) -> Iterator[tuple[int, float, Document | Rejected]]:
    """Yield (records read so far, share of all sources, item) after the first ``skip`` records."""
    read = 0
    for number, source in enumerate(sources):
        log.info("reading %s (%s)", source.name, source.kind)
        for record in source.records():
            read += 1
            if read > skip:
                yield read, (number + record.progress) / len(sources), record.item


# What numbers must not be left out of, and colons and brackets not end: names in backticks, characters, bytes, UTF-8.
_KEPT = r"`[^`]*`|U\+[0-9A-F]+|0x[0-9a-f]+|\w+(?:-[0-9]+)+"


def kind_of_reason(reason: str) -> str:
    """The part of a reason that many records share: what stands before a colon or bracket, numbers left out."""
    shared = re.match(rf"(?:{_KEPT}|[^:(])*", reason)
    counted = re.sub(rf"({_KEPT})|(?<!\w)[0-9][0-9,.]*", lambda found: found[1] or "N", shared[0] if shared else reason)
    return counted.strip()
