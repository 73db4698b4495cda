"""Removes from a root what no generation needs any more, and no reader holds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from searchapp.errors import IndexStoreError
from searchapp.filesystem import is_held
from searchapp.index.storage.commits import copy_of, numbered
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.manifest_json import load
from searchapp.shards.place import LocalPlace
from searchapp.shards.root import FOLDER, Root, generations, load_root, root_name

KEPT = 8  # generations whose root manifests are kept
ORPHANED = 86_400.0  # seconds after which what no generation names is taken for left by a writer that was stopped


def collect(place: LocalPlace, disk: Disk, kept: int = KEPT) -> None:
    """Remove all but the newest ``kept`` generations, and the states, files and shards that these do not name.

    A state that a reader holds stays. What no state names may be in the making by a writer that has lost its lease: it
    stays for ``ORPHANED`` seconds.
    """
    there = generations(place)
    roots = [load_root(place, number, where=str(place.root)) for number in there[:kept]]
    former = []
    for number in there[kept:]:
        with suppress(IndexStoreError):  # a damaged one is of no use any more
            former.append(load_root(place, number, where=str(place.root)))
    for number in there[kept:]:
        place.delete(root_name(number))
    named, published = _named(roots), _named(former)
    for folder in (place.root / FOLDER).iterdir():
        if folder.is_dir():
            name = folder.name
            _clean(folder, named.get(name, set()), published.get(name, set()), disk)


def _named(roots: Iterable[Root]) -> dict[str, set[int]]:
    """The numbers of the manifests that generations name, by shard."""
    named: dict[str, set[int]] = {}
    for root in roots:
        for shard in root.shards:
            named.setdefault(shard.name, set()).add(shard.manifest)
    return named


def _clean(folder: Path, wanted: set[int], published: set[int], disk: Disk) -> None:
    """Remove the states of a shard that are neither wanted nor held, with the files that only these name.

    A state that was ``published`` is not in the making, however new it is.
    """
    states = numbered(folder)
    old = time.time() - ORPHANED
    if not wanted and not states and folder.stat().st_mtime < old:
        shutil.rmtree(folder, ignore_errors=True)
        return
    gone: set[str] = set()
    stays: set[str] = set()
    newest = max(wanted, default=0)
    for number, path in states:
        with suppress(OSError, ValueError, KeyError, TypeError):
            files = set(load(path).files)
            fresh = number > newest and number not in published and path.stat().st_mtime >= old  # may be published yet
            if number in wanted or fresh or is_held(path) or is_held(copy_of(path)):
                stays |= files
            else:
                gone |= files
                disk.remove(copy_of(path))
                disk.remove(path)
    disk.sync_directory(folder)
    for name in gone - stays:
        disk.remove(folder / "data" / name)
    left = 0
    for path in (folder / "data").iterdir():
        if path.name not in stays and path.stat().st_mtime < old:
            disk.remove(path)
        else:
            left += 1
    if not wanted and not stays and not left:  # else an add that goes on has them
        shutil.rmtree(folder, ignore_errors=True)
