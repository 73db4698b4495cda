"""Removes from a root what no generation needs any more, and no reader holds."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from searchapp.errors import IndexStoreError
from searchapp.filesystem import is_held
from searchapp.index.storage.commits import copy_of, numbered
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.manifest_json import load
from searchapp.shards.place import LocalPlace
from searchapp.shards.root import FOLDER, Root, generations, load_root, root_name

log = logging.getLogger(__name__)

KEPT = 8  # generations whose root manifests are kept
ORPHANED = 86_400.0  # seconds after which what no generation names is taken for left by a writer that was stopped
_TEMPORARY = re.compile(r"(?:tmp|files)-")  # what a writer keeps beside the shards while it works


def collect(place: LocalPlace, disk: Disk, kept: int = KEPT, own: Collection[str] = ()) -> None:
    """Remove all but the newest ``kept`` generations, and the states, files and shards that these do not name.

    A state that a reader holds stays, and so do the shards of a build that is not published yet, and ``own`` files.
    What no state names may be in the making by a writer that has lost its lease: it stays for ``ORPHANED`` seconds. A
    generation that is kept and cannot be read counts as one that names everything. Raises OSError.
    """
    there = generations(place)
    former = []
    for number in there[kept:]:
        with suppress(IndexStoreError):  # a damaged one is of no use any more
            former.append(load_root(place, number, where=str(place.root)))
    for number in there[kept:]:
        place.delete(root_name(number))
    try:
        roots = [load_root(place, number, where=str(place.root)) for number in there[:kept]]
    except IndexStoreError as error:
        log.warning("nothing that is not needed any more is removed: %s", error)
        return
    named, published = _named(roots), _named(former)
    found, old = list((place.root / FOLDER).iterdir()), time.time() - ORPHANED
    others = {path.name for path in found if path.name not in named and path.is_dir()}
    others -= _in_making(place, others, [root.settings.get("plan") for root in roots[:1]])
    for path in found:
        name = path.name
        if name in named or name in others:
            _clean(path, named.get(name, set()), published.get(name, set()), disk)
        elif _TEMPORARY.match(name) and name not in own:
            with suppress(FileNotFoundError):
                if path.is_file() and path.stat().st_mtime < old:
                    disk.remove(path)


def _in_making(place: LocalPlace, names: set[str], published: Collection[object]) -> set[str]:
    """Which of these shards a build has made that is not published yet; all where its plan cannot be read.

    ``published`` is the digest of the plan that the newest generation came from.
    """
    from searchapp.shards.assemble import DONE
    from searchapp.shards.plan import FILE, load_plan

    if not names or FILE not in place.list("build"):
        return set()
    try:
        digest = load_plan(place).digest
    except (IndexStoreError, ValueError, KeyError, TypeError) as error:
        log.warning("the shards that no generation names stay: %s", error)
        return names
    if digest in published:
        return set()
    recorded = {name.rpartition("/")[2].removesuffix(".json") for name in place.list(DONE)}
    planned = re.compile(rf"{digest[:8]}-[0-9]{{5,}}")
    return {name for name in names if name in recorded or planned.fullmatch(name)}


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
