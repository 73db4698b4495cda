"""The one small object every durable step goes through: a test can stop after each and drop what was not synced."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from searchapp import filesystem
from searchapp.errors import IndexStoreError, is_disk_full
from searchapp.unicode import find_surrogate


@dataclass(frozen=True)
class FileEntry:
    """What a manifest says of a file: its size in bytes and the checksum of its content."""

    size: int
    checksum: str


class ChecksumWriter:
    """A file being written: counts and hashes what goes through."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.blake2b(digest_size=16)
        self._size = 0

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes; returns how many."""
        self._file.write(data)
        self._hash.update(data)
        self._size += memoryview(data).nbytes
        return memoryview(data).nbytes

    @property
    def entry(self) -> FileEntry:
        """Size and checksum so far."""
        return FileEntry(self._size, self._hash.hexdigest())


class Disk:
    """Durable steps on a local file system.

    What ``create`` and ``sync_directory`` have returned from survives a power loss; ``link``, ``replace`` and
    ``remove`` do once their directory is synced.
    """

    @contextmanager
    def create(self, path: Path) -> Iterator[ChecksumWriter]:
        """Write a new file and sync it; on any failure the file is removed again."""
        try:
            with path.open("xb") as file:
                draft = ChecksumWriter(file)
                yield draft
                file.flush()
                self.sync(file)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def sync(self, file: BinaryIO) -> None:
        """Make what was written to a file durable."""
        os.fsync(file.fileno())

    def link(self, source: Path, target: Path) -> None:
        """Give a synced file its final name; FileExistsError if another writer was first."""
        filesystem.publish(source, target)

    def replace(self, source: Path, target: Path) -> None:
        """Put a synced file in the place of another."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Forget a file that nothing names any more."""
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        filesystem.sync_directory(path)


def checksum(path: Path) -> str:
    """The checksum ``ChecksumWriter`` would have given: blake2b of 16 bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@contextmanager
def reaching(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses (a full disk, no permission, an impossible path) into one clear line."""
    if find_surrogate(str(path)) is not None:
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise IndexStoreError(
            f"{shown}: the path of an index is not valid UTF-8; expected one that is: rename the folder"
        )
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if is_disk_full(error) or error.errno == errno.EFBIG:
            raise IndexStoreError(
                f"no space left for {path} ({reason}); what was committed is safe: "
                "free some space and run the same command again"
            ) from error
        raise IndexStoreError(
            f"{error.filename or path} cannot be used ({reason}); check the path and its permissions"
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses of a data file of an index that is open into one clear line."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        root = path.parent.parent
        raise IndexStoreError(
            f"{path} cannot be read ({reason}); open the index again where its folder was made anew, else mend it with "
            f"`searchapp verify {root} --repair`"
        ) from error
