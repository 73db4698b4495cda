"""A place that also takes and gives whole files of any size: where a build keeps what its chunks and shards came to."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from searchapp.errors import IndexStoreError
from searchapp.index.storage.directory import Disk, FileEntry, checksum, reaching
from searchapp.shards.place import LocalPlace, Place

WORK = "build/work"


class Store(Place, Protocol):
    """A ``Place`` with files that need not fit into memory, and a folder to work in."""

    @property
    def disk(self) -> Disk:
        """What makes durable steps in the folder to work in."""
        ...

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def upload(self, path: Path, name: str) -> None:
        """Put a file of this machine, which is synced, under a name that nothing has. Raises FileExistsError."""
        ...

    def download(self, name: str, path: Path) -> None:
        """Put a file at a path of this machine that nothing has, durably once its folder is synced."""
        ...

    def work(self) -> Path:
        """A folder of this machine for files on the way."""
        ...


class LocalStore(LocalPlace):
    """A ``Store`` that is a folder of this machine: files are linked, or copied where the system cannot link them."""

    def __init__(self, root: str | Path, disk: Disk | None = None, scratch: Path | None = None) -> None:
        super().__init__(root, disk)
        self._scratch = scratch

    @property
    def disk(self) -> Disk:
        """What makes durable steps."""
        return self._disk

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.root)

    def upload(self, path: Path, name: str) -> None:
        """Link a file under a name."""
        target = self.path(name)
        with reaching(self.root):
            self._make(target.parent)
            self._link(path, target)
            self._disk.sync_directory(target.parent)

    def download(self, name: str, path: Path) -> None:
        """Link a file at a path."""
        with reaching(self.root):
            self._link(self.path(name), path)

    def work(self) -> Path:
        """The folder that was given, else one below the root, so that files can be linked."""
        return self._scratch or self.root / WORK

    def _link(self, source: Path, target: Path) -> None:
        try:
            self._disk.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
            copy = target.with_name(f"tmp-{uuid.uuid4().hex}")
            with self._disk.create(copy) as draft, source.open("rb") as file:
                while data := file.read(1 << 20):
                    draft.write(data)
            self._disk.link(copy, target)
            self._disk.remove(copy)


@contextmanager
def working(store: Store, name: str) -> Iterator[Path]:
    """A new folder for a task, which is gone when the task ends."""
    folder = store.work() / f"{name[:60]}-{uuid.uuid4().hex}"
    with reaching(folder):
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fetch(store: Store, name: str, path: Path, entry: FileEntry) -> None:
    """Download a file and compare its size and checksum. Raises IndexStoreError where they differ, or it is gone."""
    try:
        store.download(name, path)
    except FileNotFoundError:
        raise IndexStoreError(f"{store.name} lacks {name}; it is damaged: build again with --overwrite") from None
    if path.stat().st_size != entry.size or checksum(path) != entry.checksum:
        path.unlink()
        raise IndexStoreError(f"{store.name}: {name} does not match its checksum; build again with --overwrite")


def put_or_same(store: Place, name: str, data: bytes) -> bool:
    """Write a file that may be there already; false where it was."""
    try:
        store.put_new(name, data)
    except FileExistsError:
        return False
    return True
