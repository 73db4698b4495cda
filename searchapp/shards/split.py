"""Makes a root of shards from the documents and stored vectors of one index; nothing is encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index import Snapshot, Writer
from searchapp.index.ann.build_ann import build_ann
from searchapp.index.ann.request import AnnRequest
from searchapp.index.lexical.bm25 import ensure_postings
from searchapp.index.storage.deletions import write_tombstones
from searchapp.index.storage.documents import write_batches
from searchapp.index.storage.hashes import write_hashes
from searchapp.index.storage.ledger import write_ledger
from searchapp.index.storage.manifest import Manifest, Segment
from searchapp.index.storage.segment import Files
from searchapp.provenance import package_versions
from searchapp.shards.combined import CombinedSnapshot, statistics
from searchapp.shards.place import LocalPlace
from searchapp.shards.root import FOLDER, Root, Shard, Statistics, based, commit_root, shard_of


def split(source: Path, target: Path, shards: int | Sequence[int]) -> Root:
    """Make a root at ``target`` of the newest state of an index, in so many shards, or cut at these rows.

    Rows, deleted ones included, keep their order; a cut that stands twice makes an empty shard. Each shard gets a
    search index as the source was asked to have. Raises IndexStoreError.
    """
    snapshot = Snapshot.open(source, ready=True)
    rows = snapshot.manifest.rows
    if isinstance(shards, int) and shards < 1:
        raise IndexStoreError(f"{shards} shards were asked for; expected at least 1")
    inner = np.linspace(0, rows, shards + 1).astype(np.int64)[1:-1].tolist() if isinstance(shards, int) else shards
    cuts = [0, *inner, rows]
    if sorted(cuts) != cuts:
        raise IndexStoreError(f"the cuts {inner} are not in order within {rows} rows")
    if target.exists() and any(target.iterdir()):
        raise IndexStoreError(f"{target} has files in it; choose another directory for the root")
    made = []
    for number, (begin, end) in enumerate(pairwise(cuts)):
        name = f"s{number:04d}"
        with Writer.open(target / FOLDER / name) as writer:
            made.append(shard_of(name, _part(snapshot, writer, begin, end, has_sources=number == 0)))
    return publish(target, tuple(made), snapshot.manifest, intake=made[0].name)


def publish(target: Path, shards: tuple[Shard, ...], like: Manifest, *, intake: str = "", shared: str = "") -> Root:
    """Commit the first generation over shards that are written, with the encoder of ``like``.

    ``intake`` and ``shared`` are as in ``Root``.
    """
    settings = {"pca": like.build.pca, "factory": like.build.factory, "targets": like.build.targets}
    versions = package_versions(("searchapp", "faiss-cpu", "faiss-gpu", "numpy"))
    root = Root(
        like.encoder, like.dim, based(shards), Statistics(0), 1, shared, intake, settings=settings, versions=versions
    )
    parts = [Snapshot.open(target / shard.folder, ready=True) for shard in root.shards]
    root = replace(root, statistics=statistics(CombinedSnapshot(target, root, root.shards, parts)))
    return commit_root(LocalPlace(target), root)


def _part(snapshot: Snapshot, writer: Writer, begin: int, end: int, *, has_sources: bool) -> Manifest:
    """Write some rows of a state as an index of their own, one of them with what is known of the sources."""
    before = snapshot.manifest
    segments, files = [], {}
    for number, segment in enumerate(before.segments):
        low, high = max(begin, segment.base), min(end, segment.base + segment.count)
        if low < high:
            made, more = _segment(snapshot, writer, number, low - segment.base, high - segment.base)
            segments.append(replace(made, base=low - begin))
            files.update(more)
    lexical = None if before.lexical is None else replace(before.lexical, files={})
    state = Manifest(
        before.encoder, before.dim, replace(before.build, seconds={}), rows=end - begin, segments=tuple(segments),
        lexical=lexical, versions=before.versions, scheme=before.scheme, cut=before.cut, files=files,
    )  # fmt: skip
    if has_sources:
        state = _with_sources(snapshot, writer, state)
    gone = snapshot.deleted[begin:end]
    if gone.any():
        tombstones, more = write_tombstones(writer, gone)
        state = state.with_files(tombstones=tombstones, files=more)
    state = ensure_postings(writer, state)
    if not state.documents:
        return writer.commit(replace(state, state="ready"))
    return build_ann(writer, AnnRequest.of(before.build), manifest=state)


def _with_sources(snapshot: Snapshot, writer: Writer, state: Manifest) -> Manifest:
    """The state with the sources and the ledger of the whole index; lists of rejected records stay behind."""
    before, files = snapshot.manifest, Files()
    ledger: tuple[str, ...] = ()
    if before.ledger:
        with writer.draft("files") as (name, draft, files):
            write_ledger(draft, snapshot.ledger())
        ledger = (name,)
    additions = tuple(replace(one, rejections=()) for one in before.additions)
    return state.with_files(sources=before.sources, additions=additions, ledger=ledger, files=files)


def _segment(snapshot: Snapshot, writer: Writer, number: int, low: int, high: int) -> tuple[Segment, Files]:
    """Some rows of a segment as one of another index."""
    segment = snapshot.segments[number]
    kept = np.zeros(segment.count, dtype=bool)
    kept[low:high] = True
    with writer.draft("rows") as (rows, draft, files):
        write_batches(draft, [snapshot.documents.kept(number, kept)])
    with writer.draft("vectors") as (stored, draft, more):
        draft.write(snapshot.vectors.raw(number, kept))
    with writer.draft("marks") as (marks, draft, most):
        write_hashes(draft, snapshot.hashes([number])[:, kept])
    return Segment(rows, stored, 0, high - low, marks), {**files, **more, **most}
