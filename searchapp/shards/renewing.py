"""Other search indexes, or words counted otherwise, for what a path holds: one index, or a root of shards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from searchapp.index import Analyzer, Writer
from searchapp.index import reindex as reindex_index
from searchapp.index.ann.builder import Stage
from searchapp.index.ann.request import Targets
from searchapp.index.lexical.bm25 import add_lexical, remove_lexical
from searchapp.index.storage.manifest import Lexical, Manifest
from searchapp.index.storage.manifest_json import load
from searchapp.shards.kind import is_root
from searchapp.shards.root import FOLDER, manifest_name, shard_of
from searchapp.shards.writer import RootWriter


def reindex(
    path: Path,
    *,
    pca: int | str | None = None,
    factory: str | None = None,
    targets: Targets | None = None,
    device: str = "cpu",
    stage: Stage | None = None,
) -> Manifest:
    """``searchapp.index.reindex``; in a root trained once for all shards but the tail, and published together."""
    if not is_root(path):
        return reindex_index(path, pca=pca, factory=factory, targets=targets, device=device, stage=stage)
    from searchapp.shards.remaking import Next, asked, forget, remake

    with RootWriter.update(path) as writer:
        root = writer.generation
        request = asked(root).changed(pca, factory, targets)
        request.check(root.dim, sum(one.documents for one in root.shards if not one.tail) or None)
        pairs = list(zip(root.shards, writer.parts, strict=True))
        made = [Next(shard, part.bare()) for shard, part in pairs]
        manifest = remake(writer, made, request, probes=_probes(writer), device=device, stage=stage)
        forget(path)
        return manifest


def count_words(
    path: Path,
    analyzer: Analyzer,
    *,
    k1: float | None = None,
    b: float | None = None,
) -> tuple[Manifest, bool]:
    """Count the words of an index, or of all shards of a root alike; the new state, and whether anything changed.

    See ``searchapp.index.lexical.bm25.add_lexical``.
    """

    def count(writer: Writer) -> Manifest:
        return add_lexical(writer, analyzer, k1=k1, b=b, renew=True)

    return _words(path, count)


def remove_words(path: Path) -> None:
    """Remove the BM25 part of an index, or of all shards of a root. Raises IndexStoreError where there is none."""
    _words(path, remove_lexical)


def _words(path: Path, change: Callable[[Writer], Manifest]) -> tuple[Manifest, bool]:
    if not is_root(path):
        with Writer.update(path) as writer:
            before = writer.state
            after = change(writer)
            return after, after != before
    with RootWriter.update(path) as root:
        if not root.state.rows or (change is remove_lexical and root.state.lexical is None):
            change(root)  # says what is the matter
        made, intake, part = [], root.generation.intake, None
        full = [one for one in root.generation.shards if one.rows]
        empty = [one for one in root.generation.shards if not one.rows]
        renewed = {}
        for shard in [*full, *empty]:
            name = root.copied(shard)
            with Writer.update(path / FOLDER / name) as writer:
                before = writer.state
                after = change(writer) if shard.rows else _as(writer, part)
            part = after.lexical
            if after == before:
                shutil.rmtree(path / FOLDER / name)
                renewed[shard.name] = shard
                continue
            committed = load(path / FOLDER / name / manifest_name(after.number))
            renewed[shard.name] = shard_of(name, committed, tail=shard.tail)
            intake = name if intake == shard.name else intake
        made = [renewed[shard.name] for shard in root.generation.shards]
        if tuple(made) == root.generation.shards:
            return root.state, False
        return root.publish(tuple(made), intake), True


def _as(writer: Writer, like: Lexical | None) -> Manifest:
    """Say of a shard without documents that its words are counted as those of the others."""
    part = None if like is None else replace(like, files={}, fusion=None)
    before = writer.state
    if before.lexical == part:
        return before
    return writer.commit(before.with_files(lexical=part))


def _probes(writer: RootWriter) -> np.ndarray | None:
    """The queries that the shards are measured with, fp16 (n, dim); None where there are none, or they are damaged."""
    for shard, part in zip(writer.generation.shards, writer.parts, strict=True):
        if part.probes is not None and not writer.snapshot.check([f"{shard.name}/data/{part.probes}"]):
            flat = np.fromfile(writer.root / shard.folder / "data" / part.probes, dtype="<f2")
            return flat.reshape(-1, part.dim)
    return None
