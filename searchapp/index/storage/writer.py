"""The index directory: immutable files under ``data/`` and numbered manifests, put in place one after the other.

At every instant a reader finds the old state or the new one. A file is synced under a name of its own, then its
directory; the manifest that names it is synced under a temporary name and linked to its number, which fails if
another writer was first; then the directory again; then a copy of the manifest, which mends it should it be damaged.
Kept are the newest state, the one before it, the last one that was ready to be searched, and every state a reader
holds open; what none of these names is removed at the next commit.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from searchapp.errors import IndexStoreError
from searchapp.filesystem import LOCK_BESIDE, is_held, locked
from searchapp.index.storage.commits import CommitOnDisk, commits, copy_of, numbered
from searchapp.index.storage.directory import ChecksumWriter, Disk, FileEntry, reaching
from searchapp.index.storage.manifest import Manifest
from searchapp.index.storage.manifest_json import dump

REJECTED = "rejected.jsonl"
HISTORY = "history.jsonl"  # see ``searchapp.index.history``
DATA_NAME = re.compile(r"[a-z]+-[0-9a-f]{32}")
TEMPORARY_NAME = re.compile(r"tmp-[0-9a-f]{32}")


class Writer:
    """The one process that changes an index directory.

    ``manifest`` is the newest state, None in a directory that has none yet; ``commit`` moves it on. ``damaged`` is a
    newer state of which files are missing or cut. ``keep_older`` is false where files of the states before are damaged,
    so that none of these is kept.
    """

    def __init__(self, root: Path, manifest: Manifest | None, notices: list[str], disk: Disk) -> None:
        self.root = root
        self.manifest = manifest
        self.notices = notices  # what was found wrong on opening, for the user to read
        self.damaged: CommitOnDisk | None = None
        self.keep_older = True
        self._data = root / "data"
        self._disk = disk
        self._kept: dict[int, Manifest] = {}  # the states on disk that can be opened

    @classmethod
    @contextmanager
    def open(cls, root: Path, disk: Disk | None = None) -> Iterator[Writer]:
        """Open for writing, alone; a directory that does not exist yet is made, with no manifest in it.

        ``disk`` makes the durable steps; tests hand in one that fails, or forgets what was not synced.
        """
        disk = disk or Disk()
        with reaching(root):
            _require_free(root)
            if root.exists() and not root.is_dir():
                raise IndexStoreError(f"{root} is a file; expected a directory for the index")
            if root.is_dir() and not _is_ours(root):
                raise IndexStoreError(f"{root} has files in it but is no index; choose another --index directory")
            _make(root, disk)
            lock = (root / "LOCK").open("a+b")  # comes first: it marks the directory as ours
        with lock, _alone(lock, root):
            with reaching(root):
                (root / "data").mkdir(exist_ok=True)
                disk.sync_directory(root)
                found = [_restored(one, root, disk) for one in commits(root)]
            usable = {one.number: one.manifest for one in found if one.usable and one.manifest is not None}
            newest = max(usable, default=0)
            newer = [one for one in found if one.number >= newest]  # what is damaged of older states, nobody needs
            problems = [text for one in newer for text in one.problems]
            damaged = next((one for one in newer if one.manifest is not None and not one.usable), None)
            writer = cls(root, usable.get(newest), problems, disk)
            writer.damaged = damaged
            writer._kept = {**usable, **({damaged.number: damaged.manifest} if damaged and damaged.manifest else {})}
            if not problems:  # what cannot be read is not thrown away on opening
                with reaching(root):
                    writer._drop_states()
                    disk.sync_directory(root)
                    writer._sweep()
            try:
                yield writer
            finally:
                lock.truncate(0)

    @classmethod
    @contextmanager
    def update(cls, root: Path, disk: Disk | None = None) -> Iterator[Writer]:
        """Open a finished index for writing. Raises IndexStoreError where there is none, or it has to be mended."""
        with reaching(root):
            _require_free(root)
            if not root.is_dir() or not numbered(root):
                raise IndexStoreError(f"{root} is no index; make one with `searchapp build SOURCE... --index {root}`")
        with cls.open(root, disk) as writer:
            if writer.notices:
                raise IndexStoreError(
                    f"{root} is damaged: {writer.notices[0]}; mend it with `searchapp verify {root} --repair`"
                )
            if writer.manifest is None or writer.manifest.state != "ready":
                made_by = writer.manifest.made_by if writer.manifest else "searchapp build"
                raise IndexStoreError(f"{root} holds an unfinished build; finish it with the same `{made_by}` command")
            yield writer

    @property
    def state(self) -> Manifest:
        """The newest state. Raises IndexStoreError where the directory has none yet."""
        if self.manifest is None:
            raise IndexStoreError(f"{self.root} holds nothing yet; run `searchapp build`")
        return self.manifest

    @property
    def disk(self) -> Disk:
        """What makes the durable steps."""
        return self._disk

    @property
    def data(self) -> Path:
        """The folder of the data files."""
        return self._data

    @property
    def spill(self) -> Path:
        """A folder on the disk of the index for temporary files without a name."""
        return self._data

    @contextmanager
    def draft(self, kind: str) -> Iterator[tuple[str, ChecksumWriter, dict[str, FileEntry]]]:
        """Write one new data file; yields its name, the open draft, and a dict that gets its entry once synced."""
        name = f"{kind}-{uuid.uuid4().hex}"
        entries: dict[str, FileEntry] = {}
        with reaching(self._data), self._disk.create(self._data / name) as draft:
            yield name, draft, entries
        entries[name] = draft.entry

    def commit(self, manifest: Manifest) -> Manifest:
        """Publish the next state and return it with its number. Raises IndexStoreError when the disk is full."""
        with reaching(self.root):
            number = 1 + max([0, *self._kept, *(number for number, _ in numbered(self.root))])
            manifest = replace(manifest, number=number)
            temporary = self.root / f"tmp-{uuid.uuid4().hex}"
            self._disk.sync_directory(self._data)
            with self._disk.create(temporary) as draft:
                draft.write(dump(manifest))
            self._disk.link(temporary, self.root / f"manifest-{number:010d}.json")
            self._disk.remove(temporary)
            self._disk.sync_directory(self.root)
            self.manifest = manifest
            if self.damaged is not None:  # what was committed takes its place
                self._kept.pop(self.damaged.number, None)
                self.damaged = None
            self._kept[number] = manifest
            self._drop_states()
            with self._disk.create(temporary) as draft:
                draft.write(dump(manifest))
            self._disk.replace(temporary, copy_of(self.root / f"manifest-{number:010d}.json"))
            self._disk.sync_directory(self.root)
            self._sweep()
        return manifest

    def publish_rejections(self) -> None:
        """Put the rejections of the state together as ``rejected.jsonl``, for people to read."""
        target = self.root / REJECTED
        names = self.manifest.rejected_files() if self.manifest else ()
        with reaching(target):
            if not names:
                self._disk.remove(target)
                return
            temporary = self.root / f"tmp-{uuid.uuid4().hex}"
            with self._disk.create(temporary) as draft:
                for name in names:
                    draft.write(self.path(name).read_bytes())
            self._disk.replace(temporary, target)
            self._disk.sync_directory(self.root)

    def path(self, name: str) -> Path:
        """Where a data file lies."""
        return self._data / name

    def _drop_states(self) -> None:
        """Remove the manifests of states that are neither new nor held. To be synced before their files go too."""
        current = self.manifest.number if self.manifest else 0
        older = sorted((number for number in self._kept if number < current), reverse=True)
        keep = {current}
        if self.keep_older:
            keep |= {*older[:1], *[number for number in older if self._kept[number].state == "ready"][:1]}
        for number, path in numbered(self.root):
            if number not in keep and (number not in self._kept or not _is_held(path)):
                self._disk.remove(copy_of(path))
                self._disk.remove(path)
                self._kept.pop(number, None)

    def _sweep(self) -> None:
        """Remove the data files that no remaining state names, and what a stopped writer left."""
        named = {name for manifest in self._kept.values() for name in manifest.files}
        for path in self._data.iterdir():
            if path.name not in named and DATA_NAME.fullmatch(path.name) and path.is_file():
                self._disk.remove(path)
        for path in self.root.iterdir():
            if TEMPORARY_NAME.fullmatch(path.name):
                self._disk.remove(path)


Update = Callable[
    [Path, Disk | None], AbstractContextManager[Writer]
]  # opens an index for writing, as ``Writer.update``


def _restored(found: CommitOnDisk, root: Path, disk: Disk) -> CommitOnDisk:
    """Put a manifest that is damaged or missing in its place again, from its copy."""
    if not found.notice:
        return found
    temporary, path = root / f"tmp-{uuid.uuid4().hex}", found.path.with_suffix(".json")
    with disk.create(temporary) as draft:
        draft.write(copy_of(path).read_bytes())
    disk.replace(temporary, path)
    disk.sync_directory(root)
    return replace(found, path=path, notice="")


def _is_held(path: Path) -> bool:
    """Whether a reader has this state open, by its manifest or by the copy of it."""
    return any(is_held(place) for place in (path, copy_of(path)))


def _is_ours(root: Path) -> bool:
    """Whether a directory is an index, the beginning of one, or empty: nothing in it is anybody else's."""
    if numbered(root):
        return True
    for path in root.iterdir():
        if path.name == "data" and path.is_dir():
            if not all(DATA_NAME.fullmatch(item.name) for item in path.iterdir()):
                return False
        elif path.name not in ("LOCK", "LOCK" + LOCK_BESIDE, REJECTED, HISTORY) and not TEMPORARY_NAME.fullmatch(
            path.name
        ):
            return False
    return True


def _require_free(root: Path) -> None:
    """Raise IndexStoreError for a root of shards, and for a shard that a root manifest names."""
    if next(root.glob("root-*.json"), None) is not None:
        raise IndexStoreError(
            f"{root} is made of shards, and this command changes one index; how a root is changed: "
            "docs/how-to/shards.md"
        )
    over = root.absolute().parent.parent
    if root.absolute().parent.name != "shards" or not (found := sorted(over.glob("root-*.json"))):
        return
    if any(f'"{root.name}"'.encode() in path.read_bytes() for path in found):
        raise IndexStoreError(
            f"{root} is a shard of {over}, which names the state that it is in; change that: `searchapp add {over} …`"
        )


def _make(root: Path, disk: Disk) -> None:
    """Make a directory and its parents, each name durable."""
    missing = [place for place in (root, *root.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        disk.sync_directory(place.parent)


@contextmanager
def _alone(lock: BinaryIO, root: Path) -> Iterator[None]:
    """Be the one writer of the index, named in the open file LOCK. Raises IndexStoreError where there is another."""
    with ExitStack() as held:
        with reaching(root):
            if not held.enter_context(locked(lock, root / "LOCK")):
                lock.seek(0)
                holder = lock.read(32).decode("ascii", "replace").strip() or "unknown"
                raise IndexStoreError(f"{root} is being written by process {holder}; wait for it, or stop it")
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n".encode("ascii"))
            lock.flush()
        yield
