"""Folders that are followed: which of their files changed, as soon as they rest.

The operating system tells of changes (inotify, FSEvents, ReadDirectoryChangesW, by the library watchfiles). Where it
cannot, as on network disks and where its watches have run out, the folders are looked through every few seconds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from searchapp.corpus.selection import Ignores
from searchapp.corpus.source import Source
from searchapp.errors import CorpusError, reason_of

log = logging.getLogger(__name__)

REST = 400  # milliseconds without a change after which changes are handed out
MOST = 5_000  # milliseconds after which they are in any case
LOOK = 2_000  # milliseconds between two looks where the system tells nothing
TIMEOUT = 5_000  # milliseconds without a change after which an empty list is handed out
# File systems on which another machine's changes are not told of, as /proc/self/mounts names them.
SILENT = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "afs",
    "ceph",
    "fuse.sshfs",
    "fuse.rclone",
    "vboxsf",
    "virtiofs",
    "drvfs",
)
MOUNTS = Path("/proc/self/mounts")
WATCHES = "fs.inotify.max_user_watches"


class Watcher:
    """Watches the folders of sources from its making on, until ``stop`` is set.

    ``beside`` is a folder whose changes do not count, such as that of the index. Raises CorpusError for a source that
    is no folder, or without the library.
    """

    def __init__(self, sources: Sequence[Source], beside: Path, stop: threading.Event) -> None:
        if find_spec("watchfiles") is None:
            raise CorpusError("following a folder needs `pip install 'searchapp[watch]'`")
        self._folders: list[tuple[Path, Source]] = []
        for source in sources:
            if source.kind != "folder" or source.place is None:
                raise CorpusError(f"{source.name} is no folder; only folders can be followed, add it without --watch")
            self._folders.append((source.place.resolve(), source))
        self._beside, self._stop = beside.resolve(), stop
        silent = next((found for folder, _ in self._folders if (found := silent_disk(folder))), "")
        if silent:
            log.warning("the system does not tell of changes on %s: looking every %d s", silent, LOOK // 1000)
        self._notify = self._begun(polling=bool(silent))

    def changes(self) -> Iterator[list[str]]:
        """Yield the names of files that changed, as messages name them; [] after a while without a change."""
        while True:
            found = self._notify.watch(MOST, REST, TIMEOUT, self._stop)
            if found == "stop":
                return
            if found == "signal":
                raise KeyboardInterrupt
            paths = [] if found == "timeout" else [Path(path) for _, path in found]
            yield sorted({name for path in paths if (name := self._wanted(path)) is not None})

    def _begun(self, *, polling: bool) -> Any:
        """What the system tells, from now on."""
        from watchfiles._rust_notify import RustNotify

        folders = [str(folder) for folder, _ in self._folders]
        try:
            return RustNotify(folders, False, polling, LOOK, True, True)
        except (OSError, RuntimeError) as error:
            if polling:
                raise CorpusError(f"the folders cannot be followed: {reason_of(error)}") from error
            hint = f"`sysctl {WATCHES}=524288` allows more; " if is_out_of_watches(error) else ""
            log.warning(
                "the system does not tell of changes (%s); %slooking every %d s instead", reason_of(error), hint,
                LOOK // 1000,
            )  # fmt: skip
            return self._begun(polling=True)

    def _wanted(self, path: Path) -> str | None:
        """The name of a file in messages, if a change of it can change an index; None else."""
        if path == self._beside or self._beside in path.parents:
            return None
        for folder, source in self._folders:
            if folder not in path.parents:
                continue
            relative = path.relative_to(folder).as_posix()
            selection = source.selection
            if any(part.startswith(".") for part in relative.split("/")):
                return None if not relative.endswith("ignore") else f"{source.name}/{relative}"
            is_folder = path.is_dir()
            above = [one for one in reversed(path.parents) if folder in one.parents]
            if any(selection.excludes(one.relative_to(folder).as_posix()) for one in (*above, path)):
                return None
            if selection.ignores and _is_ignored(path, above, Ignores(folder), is_folder):
                return None
            unread = not is_folder and selection.format(relative) is None
            if unread and path.exists():  # what is gone may have been a folder
                return None
            return str(Path(source.name) / relative)
        return None


def _is_ignored(path: Path, above: Sequence[Path], ignores: Ignores, is_folder: bool) -> bool:
    """Whether ignore files leave out a file or one of the folders it is in."""
    return any(ignores.ignores(one, True) for one in above) or ignores.ignores(path, is_folder)


def silent_disk(folder: Path) -> str:
    """The kind of file system that a folder is on, where it does not tell of all changes; "" where it does."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best = ("", "")
    for line in lines:
        words = line.split(" ")
        if len(words) < 3:
            continue
        place = words[1].replace("\\040", " ")
        if (folder == Path(place) or Path(place) in folder.parents) and len(place) >= len(best[0]):
            best = (place, words[2])
    return best[1] if best[1] in SILENT else ""


def is_out_of_watches(error: BaseException) -> bool:
    """Whether the system has no more watches for this user."""
    text = str(error).lower()
    return "watch limit" in text or "no space left" in text or "too many open files" in text
