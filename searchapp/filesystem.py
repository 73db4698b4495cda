"""What differs between file systems and operating systems: locks, links that must not replace, synced folders, limits.

Windows has no ``flock`` and no ``resource``; FAT, exFAT and some network file systems have no hard links. Each function
here does the same by another way where its first way is missing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

LOCK_BESIDE = ".held"  # ending of the file that filelock locks where there is no flock; it may delete it
NO_LINKS = {errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def locked(file: BinaryIO, path: Path) -> Iterator[bool]:
    """Hold the exclusive lock of an open file, whose path is ``path``; yields False where another process holds it.

    The lock goes when the file is closed or the process ends, however it ends. Without ``flock`` it is filelock's, on a
    file beside ``path``: on Windows with the same promise, elsewhere it is broken when the process it names is gone.
    """
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True  # let go of when the file is closed
        return
    import filelock

    lock = filelock.FileLock(path.with_name(path.name + LOCK_BESIDE), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def hold(file: BinaryIO) -> None:
    """Mark an open file as read by this process for as long as it is open; ``is_held`` sees it from any process."""
    if fcntl is not None:  # elsewhere, on Windows, an open file is held by being open
        fcntl.flock(file, fcntl.LOCK_SH)


def is_held(path: Path) -> bool:
    """Whether a process holds the file. A file that cannot be opened counts as not held."""
    try:
        if fcntl is None:
            path.rename(path)  # Windows refuses it for a file that is open
        else:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        return fcntl is None or isinstance(error, BlockingIOError)
    except OSError:
        return False
    return False


def publish(source: Path, target: Path) -> None:
    """Give a file another name that nobody has. Raises FileExistsError where ``target`` is there.

    By a hard link, after which ``source`` is still there. On a file system without links by renaming, after which it is
    not; then two processes must not publish the same name at the same moment, which the writer's lock sees to.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno not in NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        source.rename(target)


def sync_directory(path: Path) -> None:
    """Make the names in a folder durable. Windows cannot open a folder, and its file systems journal the names."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_at(file: BinaryIO, into: memoryview, offset: int) -> int:
    """Read bytes from an offset of an unbuffered file into ``into``; returns how many."""
    if hasattr(os, "preadv"):
        return os.preadv(file.fileno(), [into], offset)
    file.seek(offset)
    return file.readinto(into) or 0  # type: ignore[attr-defined]


def allow_open_files(count: int) -> None:
    """Raise this process's limit of open files to ``count``, or as near to it as the system lets it."""
    if resource is None:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
