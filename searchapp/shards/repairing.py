"""Mending what a path holds: one index, or the shards of a root, each by what mends an index.

A shard's files never change, so that a mended one is another, under a new name, with links to what was sound. All that
were mended are published as one generation. A manifest that is damaged is put in place again from its copy.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from searchapp.errors import IndexStoreError, SearchAppError
from searchapp.index import Repaired
from searchapp.index import repair as repair_index
from searchapp.index.repairs import Load
from searchapp.index.storage.commits import copy_of
from searchapp.index.storage.directory import Disk, reaching
from searchapp.index.storage.manifest_json import load
from searchapp.progress import Progress, Silent
from searchapp.shards.kind import is_root
from searchapp.shards.lease import Lease, leased
from searchapp.shards.place import LocalPlace
from searchapp.shards.root import FOLDER, Root, Shard, based, load_root, manifest_name, shard_of
from searchapp.shards.writer import RootWriter, linked, new_name, snapshot_of


def repair(path: Path, load: Load, sources: Sequence[str] = (), *, progress: Progress | None = None) -> Repaired:
    """``searchapp.index.repair``; of a root each shard that its newest generation names.

    Raises IndexStoreError, having published nothing, where a shard cannot be mended.
    """
    if not is_root(path):
        return repair_index(path, load, sources, progress=progress)
    progress, disk = progress or Silent(), Disk()
    place = LocalPlace(path, disk)
    done = Repaired()
    with leased(place, str(path)) as lease:
        root = load_root(place, where=str(path))
        shards, names = [], {"": ""}
        for shard in root.shards:
            progress.stage(f"examining the shard {shard.name}")
            mended = _mended(path, shard, load, sources, progress, done)
            shards.append(mended)
            names[shard.name] = mended.name
        if tuple(shards) == root.shards:
            return done
        _publish(path, replace(root, shards=based(tuple(shards)), intake=names[root.intake]), lease, disk)
        return done


def _publish(path: Path, root: Root, lease: Lease, disk: Disk) -> None:
    with RootWriter.over(path, root, snapshot_of(path, root), lease, disk) as writer:
        writer.publish(root.shards, root.intake, shared="")  # what was made again was trained by itself


def _mended(
    path: Path, shard: Shard, load_encoder: Load, sources: Sequence[str], progress: Progress, done: Repaired
) -> Shard:
    """The shard as it is where nothing of it is damaged, else another that is sound. ``done`` gets what was mended."""
    name = new_name(shard.name)
    folder, manifest = path / FOLDER / name, _sound_manifest(path, shard, done)
    try:
        with reaching(folder):
            (folder / "data").mkdir(parents=True)
            (folder / manifest_name(shard.manifest)).write_bytes(manifest)
            for file in load(folder / manifest_name(shard.manifest)).files:
                if (there := path / shard.folder / "data" / file).exists():
                    linked(there, folder / "data" / file, Disk())
        found = repair_index(folder, load_encoder, sources, progress=progress)
        if not found.mended:
            shutil.rmtree(folder)
            return shard
        committed = load(sorted(folder.glob("manifest-*.json"))[-1])
    except SearchAppError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if not isinstance(error, IndexStoreError):
            raise
        said = str(error).replace(f"{folder} --repair", f"{path} --repair").replace(str(folder), f"shard {shard.name}")
        raise IndexStoreError(said) from error
    done.mended += [f"{shard.name}: {text}" for text in found.mended]
    done.encoded += found.encoded
    return shard_of(name, committed, tail=shard.tail)


def _sound_manifest(path: Path, shard: Shard, done: Repaired) -> bytes:
    """The manifest that the root names, which is put in its place again from its copy where it has to be."""
    file = path / shard.file
    for place in (file, copy_of(file)):
        try:
            data = place.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(data).hexdigest() != shard.sha256:
            continue
        if place != file:
            draft = file.with_name("tmp-mended")
            draft.write_bytes(data)
            draft.replace(file)
            done.mended.append(f"{shard.name}: manifest {shard.manifest} put in place from its copy")
        return data
    raise IndexStoreError(
        f"manifest {shard.manifest} of the shard {shard.name} is lost, and there is no copy of it; put one back, or "
        f"build {path} again with --overwrite"
    )
