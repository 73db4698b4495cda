"""The states of several shards as one state: one manifest over all their segments, one row number for each document.

Everything that goes by rows (documents, stored vectors, postings, filters, ids) then works on it as on one index, and
so do the statistics of BM25. Only the FAISS indexes stay apart: ``searchapp.shards.sharded`` asks each.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.lexical.bm25 import LexicalIndex
from searchapp.index.storage.directory import FileEntry
from searchapp.index.storage.ledger import Ledger, joined_ledgers
from searchapp.index.storage.manifest import Addition, Ann, Build, Lexical, Manifest, NamedSource, Segment, Tombstones
from searchapp.index.storage.snapshot import Snapshot
from searchapp.shards.root import FOLDER, Root, Shard, Statistics

UNNAMED = "combined"  # stands for the file of what lies in many


class CombinedSnapshot(Snapshot):
    """One state of some shards of a root, held as long as this object is there.

    Rows count on from shard to shard; ``starts`` int64 (shards + 1,) is where each begins.
    """

    def __init__(self, path: Path, root: Root, shards: Sequence[Shard], parts: Sequence[Snapshot]) -> None:
        manifest = combined(root, shards, [part.manifest for part in parts])
        notices = [f"{shard.name}: {text}" for shard, part in zip(shards, parts, strict=True) for text in part.notices]
        super().__init__(path, manifest, notices, data=path / FOLDER)
        self.intake = root.intake
        self.shards = tuple(shards)
        self.parts = tuple(parts)
        self.starts = np.cumsum([0, *(shard.rows for shard in shards)], dtype=np.int64)
        self._file: BinaryIO | None = None

    def watch(self, file: BinaryIO) -> None:
        """Take the open file of the root manifest, by which ``in_place`` tells."""
        self._file = file

    @property
    def in_place(self) -> bool:
        """Whether the root manifest lies where it was read, and is the same."""
        if self._file is None:
            return True
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), Path(self._file.name).stat())
        except OSError:
            return False

    def ledger(self) -> Ledger:
        """What was read of which file: what the shard says that has the sources of all, or every shard of its own."""
        if self.intake:
            return super().ledger()
        return joined_ledgers(part.ledger() for part in self.parts)

    @cached_property
    def deleted(self) -> np.ndarray:
        """Boolean mask over the rows: true where a row is deleted."""
        return np.concatenate([np.zeros(0, dtype=bool), *(part.deleted for part in self.parts)])


def combined(root: Root, shards: Sequence[Shard], manifests: Sequence[Manifest]) -> Manifest:
    """One manifest over the segments of some shards in order; the files of each are named ``SHARD/data/FILE``.

    Raises IndexStoreError for shards that do not go together.
    """
    pairs = list(zip(shards, manifests, strict=True))
    for shard, manifest in pairs:
        _require_fit(root, shard, manifest)
    rows = sum(shard.rows for shard in shards)
    segments, base = [], 0
    for shard, manifest in pairs:
        segments += [_placed(segment, shard.name, base) for segment in manifest.segments]
        base += manifest.rows
    deleted = sum(shard.deleted for shard in shards)
    known = {(shard.name, name): entry for shard, manifest in pairs for name, entry in manifest.files.items()}
    state = Manifest(
        encoder=root.encoder,
        dim=root.dim,
        build=_build(manifests),
        number=root.generation,
        state="ready",
        rows=rows,
        segments=tuple(segments),
        tombstones=Tombstones(UNNAMED, UNNAMED, deleted) if deleted else None,
        ann=_ann(manifests),
        lexical=_lexical(pairs),
        versions=manifests[0].versions if manifests else root.versions,
        files={UNNAMED: FileEntry(0, ""), **{below(shard, name): entry for (shard, name), entry in known.items()}},
    )
    return _with_sources(state, root, pairs)


def below(shard: str, name: str) -> str:
    """How a combined manifest names a file of a shard."""
    return f"{shard}/data/{name}"


def statistics(snapshot: Snapshot) -> Statistics:
    """The statistics of a state, for its root; no terms where it has no BM25 part."""
    manifest = snapshot.manifest
    if manifest.lexical is None or not manifest.rows:
        return Statistics(manifest.documents)
    return Statistics(manifest.documents, LexicalIndex(snapshot).terms)


def _require_fit(root: Root, shard: Shard, manifest: Manifest) -> None:
    deleted = manifest.rows - manifest.documents
    if (manifest.rows, deleted) != (shard.rows, shard.deleted):
        raise IndexStoreError(
            f"the shard {shard.name} holds {manifest.rows} rows, {deleted} deleted; the root says {shard.rows} and "
            f"{shard.deleted}"
        )
    same = manifest.encoder.get("fingerprint") == root.encoder.get("fingerprint")
    if manifest.dim != root.dim or not same:
        raise IndexStoreError(f"the shard {shard.name} was made by another encoder than the others; build it again")
    if manifest.state != "ready":
        raise IndexStoreError(f"the shard {shard.name} is {manifest.state}, not ready; build it again")


def _placed(segment: Segment, shard: str, base: int) -> Segment:
    return Segment(
        below(shard, segment.documents_file),
        below(shard, segment.vectors_file),
        base + segment.base,
        segment.count,
        below(shard, segment.hashes_file) if segment.hashes_file else "",
    )


def _ann(manifests: Sequence[Manifest]) -> Ann | None:
    """What stands for the FAISS indexes of all shards: as exact as the least, as deep as the deepest."""
    found = [manifest.ann for manifest in manifests if manifest.ann is not None]
    if not found:
        return None
    largest = max(found, key=lambda one: one.rows)
    measured = {**largest.measured, "recall": min(one.measured.get("recall", 1.0) for one in found)}
    return replace(
        largest,
        file=UNNAMED,
        rows=sum(one.rows for one in found),
        candidates=max(one.candidates for one in found),
        measured=measured if largest.measured else {},
        notes=tuple(dict.fromkeys(note for one in found for note in one.notes)),
    )


def _lexical(pairs: Iterable[tuple[Shard, Manifest]]) -> Lexical | None:
    """The BM25 part over all shards; None where no shard has one. Raises IndexStoreError where they differ."""
    held = [(shard, manifest.lexical) for shard, manifest in pairs if manifest.rows or manifest.lexical]
    found = [(shard, part) for shard, part in held if part is not None]
    if not found:
        return None
    first = found[0][1]
    for shard, part in held:
        if part is None or replace(part, files={}, fusion=None) != replace(first, files={}, fusion=None):
            raise IndexStoreError(
                f"the words of the shard {shard.name} are not counted as those of {found[0][0].name}; build them alike"
            )
    files = {
        below(shard.name, rows): below(shard.name, name) for shard, part in found for rows, name in part.files.items()
    }
    return replace(first, files=files)


def _build(manifests: Sequence[Manifest]) -> Build:
    """What the builds of all shards read and took together, with the settings of the first."""
    builds = [manifest.build for manifest in manifests]
    if not builds:
        return Build(())
    seconds: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for build in builds:
        seconds.update(build.seconds)
        reasons.update(build.reasons)
    sources = {tuple(sorted(source.items())): source for build in builds for source in build.sources}
    return replace(
        builds[0],
        sources=tuple(sources.values()),
        consumed=sum(build.consumed for build in builds),
        rejected=sum(build.rejected for build in builds),
        reasons=dict(reasons),
        tokens=sum(build.tokens for build in builds),
        seconds=dict(seconds),
        partial=None,
    )


def _with_sources(state: Manifest, root: Root, pairs: Sequence[tuple[Shard, Manifest]]) -> Manifest:
    """The state with sources, ledger, additions and rejections: those of the shard that has them for all, or each's."""
    if root.intake:
        pairs = [(shard, manifest) for shard, manifest in pairs if shard.name == root.intake]
    if not pairs:
        return state
    named: dict[str, NamedSource] = {}
    additions: list[Addition] = []
    for shard, manifest in pairs:
        named |= {source.label: source for source in manifest.sources}
        additions += [
            replace(one, rejections=tuple(below(shard.name, name) for name in one.rejections))
            for one in manifest.additions
        ]
    last = pairs[-1][1]
    return replace(
        state,
        build=last.build if root.intake else state.build,
        scheme=max(manifest.scheme for _, manifest in pairs),
        cut=last.cut,
        sources=tuple(named.values()),
        ledger=tuple(below(shard.name, name) for shard, manifest in pairs for name in manifest.ledger),
        rejections=tuple(below(shard.name, name) for shard, manifest in pairs for name in manifest.rejections),
        additions=tuple(additions),
    )
