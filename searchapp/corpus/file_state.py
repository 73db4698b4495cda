"""What a file was when its reading began, so that one which changes meanwhile is not taken half old and half new."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from searchapp.user_cache import SETTLED, now

CHANGED = "changed while it was read; add it again when it is at rest"


@dataclass(frozen=True, slots=True)
class FileState:
    """The SHA-256 of a file's content in hex, and what the system said of the file when it was taken.

    ``is_settled``: its last change was so long ago that another one would have given it another time.
    """

    sha256: str
    marks: tuple[int, ...]
    is_settled: bool

    @classmethod
    def of(cls, path: Path) -> FileState | None:
        """The state of a file; None where it cannot be read or is no regular file."""
        try:
            with open(path, "rb", opener=_open) as file:  # noqa: PTH123 - Path.open takes no opener
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    return None
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None
        settled = now() - max(found.st_mtime, found.st_ctime) >= SETTLED
        return cls(digest, _marks(found), settled)

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.marks[0]

    @property
    def mtime_ns(self) -> int:
        """Its time of change."""
        return self.marks[1]

    def holds(self, path: Path) -> bool:
        """Whether the file is what it was; it is read again only where its times do not tell."""
        try:
            if self.is_settled and _marks(path.stat()) == self.marks:
                return True
        except OSError:
            return False
        after = FileState.of(path)
        return after is not None and after.sha256 == self.sha256


@dataclass(slots=True)
class Seen:
    """What a file was when it was read, known once it is read to its end; None where that cannot be told."""

    state: FileState | None = None


def _marks(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _open(path: str, flags: int) -> int:
    """Open without waiting for somebody who writes, as a FIFO would."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
