"""The index directory: immutable files under ``data/`` and numbered manifests, put in place one after the other.

At every instant a reader finds the old state or the new one. A file is synced under a name of its own, then its
directory; the manifest that names it is synced under a temporary name and linked to its number, which fails if
another writer was first; then the directory again. What no manifest names is removed at the next commit.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from searchapp.errors import IndexStoreError
from searchapp.index.durable import Disk, Draft, FileEntry, checksum, space_for
from searchapp.index.manifest import Manifest, Torn

KEPT = 2  # manifests that stay: the newest and the one before


class Store:
    """One index directory. ``manifest`` is the state this object sees; only a writer moves it on."""

    def __init__(self, root: Path, manifest: Manifest | None, notices: list[str], disk: Disk) -> None:
        self.root = root
        self.data = root / "data"
        self.manifest = manifest
        self.notices = notices  # what was found wrong on opening, for the user to read
        self._disk = disk
        self._lock: BinaryIO | None = None

    @classmethod
    def open(cls, root: Path, disk: Disk | None = None) -> Store:
        """Open for reading: the newest manifest whose checksum and file sizes hold. Raises IndexStoreError."""
        if not root.is_dir():
            raise IndexStoreError(
                f"{root} does not exist; expected an index directory: make one with `searchapp build`"
            )
        if not _manifests(root):
            raise IndexStoreError(
                f"{root} is not an index (it has no manifest-*.json); make one with `searchapp build --index {root}`"
            )
        manifest, problems = _newest(root)
        if manifest is None:
            raise IndexStoreError(f"{root} cannot be opened: {problems[0]}; {_mend(root)}")
        return cls(root, manifest, problems, disk or Disk())

    @classmethod
    @contextmanager
    def write(cls, root: Path, disk: Disk | None = None) -> Iterator[Store]:
        """Open for writing, alone; a directory that does not exist yet is made, with no manifest in it."""
        if root.exists() and not root.is_dir():
            raise IndexStoreError(f"{root} is a file; expected a directory for the index")
        if root.is_dir() and any(root.iterdir()) and not _is_ours(root):
            raise IndexStoreError(f"{root} has files in it but is no index; choose another --index directory")
        disk = disk or Disk()
        with space_for(root):
            root.mkdir(parents=True, exist_ok=True)
        with (root / "LOCK").open("a+b") as lock:  # comes first: it marks the directory as ours
            _take(lock, root)
            with space_for(root):
                (root / "data").mkdir(exist_ok=True)
                disk.sync_directory(root)
                disk.sync_directory(root.parent)
            manifest, problems = _newest(root)
            store = cls(root, manifest, problems, disk)
            store._lock = lock
            if manifest is not None or not _manifests(root):  # what cannot be read is not thrown away on opening
                store._sweep()
            yield store

    @contextmanager
    def draft(self, kind: str) -> Iterator[tuple[str, Draft, dict[str, FileEntry]]]:
        """Write one new data file; yields its name, the open draft, and a dict that gets its entry once synced."""
        name = f"{kind}-{uuid.uuid4().hex}"
        entries: dict[str, FileEntry] = {}
        with space_for(self.data), self._disk.create(self.data / name) as draft:
            yield name, draft, entries
        entries[name] = draft.entry

    def commit(self, manifest: Manifest) -> Manifest:
        """Publish the next state and return it with its number. Raises IndexStoreError when the disk is full."""
        if self._lock is None:
            raise IndexStoreError(f"{self.root} is open for reading only")
        number = (self.manifest.number if self.manifest else 0) + 1
        manifest = replace(manifest, number=number)
        target = self.root / f"manifest-{number:010d}.json"
        temporary = self.root / f"tmp-{uuid.uuid4().hex}"
        with space_for(self.root):
            self._disk.sync_directory(self.data)
            if target.exists():  # one that _newest passed over as damaged; its number is free
                self._disk.remove(target)
            with self._disk.create(temporary) as draft:
                draft.write(manifest.dump())
            self._disk.link(temporary, target)
            self._disk.remove(temporary)
            self._disk.sync_directory(self.root)
        self.manifest = manifest
        self._sweep()
        return manifest

    def path(self, name: str) -> Path:
        """Where a data file lies."""
        return self.data / name

    def check(self, progress: Callable[[str], None] | None = None) -> list[str]:
        """Read every file of the state and compare it with its checksum; return one line for each problem."""
        problems = list(self.notices)
        for name, entry in (self.manifest.files if self.manifest else {}).items():
            if problem := _problem(self.data / name, entry):
                problems.append(problem)
            elif checksum(self.data / name) != entry.checksum:
                problems.append(
                    f"data/{name} does not match its checksum (its bytes have changed since it was written)"
                )
            if progress is not None:
                progress(name)
        return problems

    def _sweep(self) -> None:
        """Remove manifests older than the two newest, and files that neither of these names."""
        numbers = _manifests(self.root)
        for _, path in numbers[:-KEPT]:
            self._disk.remove(path)
        keep: set[str] = set(self.manifest.files) if self.manifest else set()
        for _, path in numbers[-KEPT:]:
            try:
                keep |= set(Manifest.load(path).files)
            except (Torn, OSError, ValueError, KeyError, TypeError):
                continue
        for path in self.data.iterdir():
            if path.name not in keep:
                self._disk.remove(path)
        for path in self.root.glob("tmp-*"):
            self._disk.remove(path)


def _manifests(root: Path) -> list[tuple[int, Path]]:
    """All manifests by number, oldest first."""
    found = [(path.stem.removeprefix("manifest-"), path) for path in root.glob("manifest-*.json")]
    return sorted((int(digits), path) for digits, path in found if digits.isdigit())


def _newest(root: Path) -> tuple[Manifest | None, list[str]]:
    """Return the newest usable manifest and what was wrong with the ones passed over."""
    problems: list[str] = []
    for _, path in reversed(_manifests(root)):
        try:
            manifest = Manifest.load(path)
        except Torn as error:
            problems.append(str(error))
            continue
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"{path} cannot be read ({error})")
            continue
        wrong = [
            problem for name, entry in manifest.files.items() if (problem := _problem(root / "data" / name, entry))
        ]
        if not wrong:
            return manifest, problems
        problems += [f"{path.name}: {problem}" for problem in wrong]
    return None, problems


def _problem(path: Path, entry: FileEntry) -> str | None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return f"data/{path.name} is missing"
    return None if size == entry.size else f"data/{path.name} has {size} bytes, expected {entry.size}"


def _is_ours(root: Path) -> bool:
    return bool(_manifests(root)) or (root / "LOCK").exists()


def _mend(root: Path) -> str:
    return f"restore the file, or build the index again: searchapp build … --index {root} --overwrite"


def _take(lock: BinaryIO, root: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read(32).decode("ascii", "replace").strip() or "unknown"
        raise IndexStoreError(f"{root} is being written by process {holder}; wait for it, or stop it") from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n".encode("ascii"))
    lock.flush()
