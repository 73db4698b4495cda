"""From sources to a finished index: read, reject, encode segment by segment, reduce, index.

A segment is committed as soon as its documents are encoded, with what the ledger says of the files that are done; a
build that was killed goes on after them, and what it then makes is what an uninterrupted build would have made. Nothing
grows with the corpus but files, and sixteen bytes a document to tell ids apart.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from searchapp.corpus import Source, open_source
from searchapp.corpus.selection import Selection
from searchapp.corpus.source import MEMORY
from searchapp.encoder import Encoder
from searchapp.encoder.fingerprint import differing
from searchapp.errors import IndexStoreError
from searchapp.heap import trim_heap
from searchapp.index.ann.build_ann import build_ann
from searchapp.index.ann.request import AnnRequest, Targets
from searchapp.index.build_run import BuildRun
from searchapp.index.encoder_match import ANOTHER_MODEL, described, recorded_backend
from searchapp.index.exchange import require_same_maker
from searchapp.index.given import GIVEN
from searchapp.index.intake.files import (
    SCHEME,
    FileCounts,
    cutter_of,
)
from searchapp.index.intake.names import absolute, named, recorded
from searchapp.index.lexical.analyzer import Analyzer
from searchapp.index.lexical.bm25 import add_lexical
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.manifest import Build, Manifest
from searchapp.index.storage.segment import (
    SEGMENT_DOCUMENTS,
)
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
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
    folders are read; ``passwords`` are tried where a file asks for one, and are not kept.
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
    passwords: tuple[str, ...] = field(default=(), repr=False)

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
            BuildRun(writer, start, encoder, settings.segment_size, progress, passwords=settings.passwords).encode(
                opened
            )
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
    BuildRun(
        writer, start, encoder, settings.segment_size, progress, passwords=settings.passwords, may_be_empty=True
    ).encode(sources)
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
    before = [absolute(source["name"]) for source in manifest.build.sources]
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
    _require_same_reading(manifest, sources, f"{writer.root} holds {unfinished}", ways)
    return manifest


def _require_same_reading(manifest: Manifest, sources: Sequence[Source], held: str, ways: str) -> None:
    """Raise IndexStoreError where the same files are to be read in another way, which their identity does not say."""
    known = {one.label: Selection.from_json(one.selection).reading for one in manifest.sources}
    for source in sources:
        before, now = known.get(source.label, source.selection.reading), source.selection.reading
        if before != now:
            said = [one.options() or "no option that says how it is read" for one in (before, now)]
            raise IndexStoreError(
                f"{held} of {source.name} made with {said[0]}, this run has {said[1]}; give the same, or {ways}"
            )


def _adding(root: Path, source: str) -> str:
    return "`Index.add`" if source.startswith(f"{MEMORY}:") else f"`searchapp add {root} {source}`"
