"""All files below a folder. Each has an outcome (read, refused or skipped) and, where it is not read, the reason."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from searchapp.corpus.formats.table import NEEDS, Format
from searchapp.corpus.selection import ARCHIVED, IGNORED, LEFT_OUT, Ignores, Selection
from searchapp.errors import CorpusError

READ, REFUSED, SKIPPED = "read", "refused", "skipped"
PACKED = "an archive, which --archives reads"


@dataclass(frozen=True, slots=True)
class WalkedFile:
    """A file below a folder: its relative path (``/`` between names), size in bytes, time of change in ns.

    ``outcome`` is READ where there is a reader for it, for its ``format``; else REFUSED or SKIPPED for ``reason``. A
    folder that cannot be listed counts as one refused file, one that is ignored as one skipped; their paths end in
    ``/``.
    """

    path: Path
    relative: str
    size: int = 0
    mtime_ns: int = 0
    outcome: str = READ
    reason: str = ""
    format: Format | None = None


def walk(folder: Path, selection: Selection | None = None) -> Iterator[WalkedFile]:
    """Yield the files below a folder in the order of their sorted paths. No file is opened but ignore files.

    Hidden files and folders are passed over and not counted. Links to folders are skipped: they can run in circles.
    Raises CorpusError where the folder itself cannot be read.
    """
    selection = selection or Selection()
    ignores = Ignores(folder) if selection.ignores else None
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        relative = path.relative_to(folder).as_posix()
        is_folder = path == folder or (path.is_dir() and not path.is_symlink())
        left_out = "" if path == folder else _left_out(path, relative, is_folder, selection, ignores)
        if is_folder and left_out:
            yield WalkedFile(path, f"{relative}/", outcome=SKIPPED, reason=left_out)
        elif is_folder:
            try:
                below = [child for child in path.iterdir() if not child.name.startswith(".")]
            except OSError as error:
                reason = f"folder cannot be read: {error.strerror}"
                if path == folder:
                    raise CorpusError(f"{path}: {reason}; allow reading or move it") from error
                yield WalkedFile(path, f"{relative}/", outcome=REFUSED, reason=reason)
                continue
            waiting.extend(sorted(below, key=lambda child: child.name, reverse=True))
        else:
            yield _look_at(path, relative, selection, left_out)


def _left_out(path: Path, relative: str, is_folder: bool, selection: Selection, ignores: Ignores | None) -> str:
    """Why a file or folder is not wanted; "" where it is."""
    if selection.excludes(relative) or (not is_folder and not selection.includes(relative)):
        return LEFT_OUT
    return IGNORED if ignores is not None and ignores.ignores(path, is_folder) else ""


def _look_at(path: Path, relative: str, selection: Selection, left_out: str) -> WalkedFile:
    format = selection.format(relative)
    try:
        found = path.stat()
    except OSError as error:
        if format is None or left_out:
            return WalkedFile(path, relative, outcome=SKIPPED, reason=left_out or unread(path.name.lower()))
        return WalkedFile(path, relative, outcome=REFUSED, reason=f"cannot be read: {error.strerror}")
    size, time = found.st_size, found.st_mtime_ns
    if stat.S_ISDIR(found.st_mode):
        return WalkedFile(path, relative, outcome=SKIPPED, reason="a link to a folder")
    if not stat.S_ISREG(found.st_mode):
        return WalkedFile(path, relative, outcome=SKIPPED, reason="no regular file")
    if format is None or left_out:
        return WalkedFile(path, relative, size, time, SKIPPED, left_out or unread(path.name.lower()))
    if not _is_utf8(relative):
        return WalkedFile(path, relative, size, time, REFUSED, "the file's name is not valid UTF-8: rename it")
    if not format.is_installed:
        return WalkedFile(path, relative, size, time, SKIPPED, f"{format.label} {NEEDS}{format.command}`")
    return WalkedFile(path, relative, size, time, format=format)


def unread(name: str) -> str:
    """Why nothing reads a file of a name in small letters."""
    if name.endswith(ARCHIVED):
        return PACKED
    shown = PurePosixPath(name).suffix.encode(errors="backslashreplace").decode()
    return f"no reader for {shown}" if shown else "no reader for names without an ending"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
