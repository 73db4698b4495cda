"""What changes the documents or vectors of what a path holds, one index or a root of shards: add, delete and so on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from searchapp.corpus import Source
from searchapp.encoder import Encoder
from searchapp.errors import IndexStoreError
from searchapp.index import Added, AddSettings, Compacted, Deleted, Reembedded, ReembedSettings
from searchapp.index import add as add_to_index
from searchapp.index import compact as compact_index
from searchapp.index import delete as delete_from_index
from searchapp.index import reembed as reembed_index
from searchapp.index.storage.manifest_json import load
from searchapp.progress import Progress, Silent
from searchapp.shards.kind import is_root
from searchapp.shards.root import FOLDER, manifest_name, shard_of


def add(
    sources: Sequence[str | Source],
    path: Path,
    encoder: Encoder,
    settings: AddSettings | None = None,
    *,
    progress: Progress | None = None,
    **changes: Any,
) -> Added:
    """``searchapp.index.add``; in a root new documents go to the tail, which is searched exactly until ``compact``."""
    if not is_root(path):
        return add_to_index(sources, path, encoder, settings, progress=progress, **changes)
    from searchapp.shards.writer import RootWriter

    changes["fold"] = False
    return add_to_index(sources, path, encoder, settings, progress=progress, update=RootWriter.adding, **changes)


def delete(path: Path, ids: Iterable[str] = (), *, filter: str | None = None) -> Deleted:
    """``searchapp.index.delete``, in a root in all its shards at once."""
    if not is_root(path):
        return delete_from_index(path, ids, filter=filter)
    from searchapp.shards.writer import RootWriter

    return delete_from_index(path, ids, filter=filter, update=RootWriter.update)


def compact(path: Path, *, progress: Progress | None = None) -> Compacted:
    """``searchapp.index.compact``; in a root of each shard that has deleted documents, and of the tail.

    These get new names, and the tail is none any more: the next add begins another. All are published together.
    """
    if not is_root(path):
        return compact_index(path, progress=progress)
    from searchapp.shards.writer import RootWriter

    progress = progress or Silent()
    with RootWriter.update(path) as writer:
        before = writer.state
        size = sum(entry.size for entry in before.files.values())
        shards, notices, intake = [], [], writer.generation.intake
        for shard, part in zip(writer.generation.shards, writer.parts, strict=True):
            if not shard.rows or not (shard.tail or shard.deleted or part.unindexed_rows):
                shards.append(shard)
                continue
            progress.stage(f"compacting the shard {shard.name}")
            name = writer.copied(shard)
            done = compact_index(path / FOLDER / name, progress=progress)
            committed = load(path / FOLDER / name / manifest_name(done.manifest.number))
            shards.append(shard_of(name, committed))
            notices += [f"{name}: {text}" for text in done.notices]
            intake = name if intake == shard.name else intake
        segments = len(before.segments)
        if tuple(shards) == writer.generation.shards:
            return Compacted(before, 0, 0, segments, size, already_done=True)
        folded = before.unindexed_rows
        manifest = writer.publish(tuple(shards), intake, shared="")  # what was compacted was trained by itself
        return Compacted(manifest, before.rows - before.documents, folded, segments, size, tuple(notices))


def reembed(
    path: Path,
    encoder: Encoder,
    settings: ReembedSettings | None = None,
    *,
    to: Path | None = None,
    progress: Progress | None = None,
) -> Reembedded:
    """``searchapp.index.reembed``; a root only in place, all its shards at once."""
    if not is_root(path):
        return reembed_index(path, encoder, settings, to=to, progress=progress)
    from searchapp.shards.reembedding import reembed as reembed_root

    if to is not None and to.resolve() != path.resolve():
        raise IndexStoreError(
            f"--out {to}: {path} is made of shards, which are embedded anew in their place; leave --out out, or copy "
            "the folder first and reembed the copy"
        )
    return reembed_root(path, encoder, settings, progress=progress)
