"""All files below a folder. Each has an outcome (read, refused or skipped) and, where it is not read, the reason."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from searchapp.corpus.headings import MARKERS
from searchapp.errors import CorpusError

READ, REFUSED, SKIPPED = "read", "refused", "skipped"


@dataclass(frozen=True, slots=True)
class WalkedFile:
    """A file below a folder: its relative path (``/`` between names), size in bytes, time of change in ns.

    ``outcome`` is READ where there is a reader for it, else REFUSED or SKIPPED for ``reason``. A folder that cannot be
    listed counts as one refused file; its path ends in ``/``.
    """

    path: Path
    relative: str
    size: int = 0
    mtime_ns: int = 0
    outcome: str = READ
    reason: str = ""


def walk(folder: Path) -> Iterator[WalkedFile]:
    """Yield the files below a folder in the order of their sorted paths. No file is opened.

    Hidden files and folders are passed over and not counted. Links to folders are skipped: they can run in circles.
    Raises CorpusError where the folder itself cannot be read.
    """
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        if path == folder or (path.is_dir() and not path.is_symlink()):
            try:
                below = [child for child in path.iterdir() if not child.name.startswith(".")]
            except OSError as error:
                reason = f"folder cannot be read: {error.strerror}"
                if path == folder:
                    raise CorpusError(f"{path}: {reason}; allow reading or move it") from error
                yield WalkedFile(path, f"{path.relative_to(folder).as_posix()}/", outcome=REFUSED, reason=reason)
                continue
            waiting.extend(sorted(below, key=lambda child: child.name, reverse=True))
        else:
            yield _look_at(path, path.relative_to(folder).as_posix())


def _look_at(path: Path, relative: str) -> WalkedFile:
    ending = path.suffix.lower()
    try:
        found = path.stat()
    except OSError as error:
        if ending not in MARKERS:
            return WalkedFile(path, relative, outcome=SKIPPED, reason=_unread(ending))
        return WalkedFile(path, relative, outcome=REFUSED, reason=f"cannot be read: {error.strerror}")
    size, time = found.st_size, found.st_mtime_ns
    if stat.S_ISDIR(found.st_mode):
        return WalkedFile(path, relative, outcome=SKIPPED, reason="a link to a folder")
    if not stat.S_ISREG(found.st_mode):
        return WalkedFile(path, relative, outcome=SKIPPED, reason="no regular file")
    if ending not in MARKERS:
        return WalkedFile(path, relative, size, time, SKIPPED, _unread(ending))
    if not _is_utf8(relative):
        return WalkedFile(path, relative, size, time, REFUSED, "the file's name is not valid UTF-8: rename it")
    return WalkedFile(path, relative, size, time)


def _unread(ending: str) -> str:
    shown = ending.encode(errors="backslashreplace").decode()
    return f"no reader for {shown}" if ending else "no reader for names without an ending"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
