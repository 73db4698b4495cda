"""The files of one state of an index, opened for reading: what a search, a check or a merge sees from begin to end.

A snapshot never changes. A writer that moves on leaves the files of every snapshot that is held: readers hold a shared
lock on their manifest, and a writer removes no state whose manifest is locked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.filesystem import hold
from searchapp.index.storage.commits import commits, copy_of, damage, missing_files, numbered
from searchapp.index.storage.deletions import read_deleted
from searchapp.index.storage.directory import reaching
from searchapp.index.storage.documents import DocumentStore
from searchapp.index.storage.hashes import read_hashes
from searchapp.index.storage.ledger import Ledger, read_ledger
from searchapp.index.storage.manifest import Manifest, Segment
from searchapp.index.storage.manifest_json import load
from searchapp.index.storage.vectors import Vectors
from searchapp.index.storage.writer import Writer

ATTEMPTS = 10  # to open a state that a writer removes under a reader's hands


class Snapshot:
    """One state of the index directory ``root``; ``manifest`` names its files, which are opened when first asked for.

    ``notices`` are what was found wrong on opening, for the user to read. Its files lie in ``data``, by default the
    folder of that name. Safe to share between threads.
    """

    def __init__(
        self,
        root: Path,
        manifest: Manifest,
        notices: Sequence[str] = (),
        held: BinaryIO | None = None,
        data: Path | None = None,
    ) -> None:
        self.root = root
        self.manifest = manifest
        self.notices = list(notices)
        self._held = held  # the manifest, locked so that no writer removes the state
        self._data = root / "data" if data is None else data

    @classmethod
    def of(cls, writer: Writer, manifest: Manifest | None = None) -> Snapshot:
        """What a writer sees: its newest state, or ``manifest``, which it is about to commit.

        Raises IndexStoreError where the directory has no state yet.
        """
        return Snapshot(writer.root, manifest or writer.state, data=writer.data)

    def at(self, manifest: Manifest) -> Snapshot:
        """Another state of the same directory, kept from being removed as long as this one."""
        return Snapshot(self.root, manifest, self.notices, self._held, self._data)

    @property
    def in_place(self) -> bool:
        """Whether its directory still has the manifest that is held, rather than none or another one of its name."""
        if self._held is None:
            return True
        now = os.fstat(self._held.fileno())
        try:
            return os.path.samestat(now, Path(self._held.name).stat())
        except OSError:
            return False

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments, in the order of their rows."""
        return self.manifest.segments

    @cached_property
    def documents(self) -> DocumentStore:
        """Ids, titles, texts and metadata by row."""
        return DocumentStore(self._data, self.manifest.segments)

    @cached_property
    def vectors(self) -> Vectors:
        """The stored vectors by row."""
        return self.open_vectors()

    def open_vectors(self, *, mapped: bool = True, alive: np.ndarray | None = None) -> Vectors:
        """The stored vectors, read rather than mapped if wanted, and without the rows that ``alive`` masks out."""
        return Vectors(self._data, self.manifest.segments, self.manifest.dim, mapped=mapped, alive=alive)

    @cached_property
    def deleted(self) -> np.ndarray:
        """Boolean mask over the rows: true where a row is deleted. Raises IndexStoreError for a damaged file."""
        if self.manifest.tombstones is None:
            return np.zeros(self.manifest.rows, dtype=bool)
        return read_deleted(self._data, self.manifest.tombstones, self.manifest.rows)

    @cached_property
    def alive(self) -> np.ndarray | None:
        """Boolean mask over the rows: false where a row is deleted; None where none is."""
        return None if self.manifest.tombstones is None else ~self.deleted

    def hashes(self, numbers: Sequence[int] | None = None) -> np.ndarray:
        """Content hashes of the rows, uint64 (3, rows), of all segments or of those of these numbers."""
        return read_hashes(self._data, self.documents, range(len(self.segments)) if numbers is None else numbers)

    def ledger(self) -> Ledger:
        """What was read of which file. Raises IndexStoreError for a damaged file."""
        if damaged := self.check(self.manifest.ledger):  # a wrong entry would have passages removed
            raise IndexStoreError(
                f"{self.root} is damaged: {next(iter(damaged.values()))}; "
                f"mend it with `searchapp verify {self.root} --repair`"
            )
        return read_ledger(self._data, self.manifest.ledger)

    def path(self, name: str) -> Path:
        """Where a data file lies."""
        return self._data / name

    def check(self, names: Iterable[str] | None = None) -> dict[str, str]:
        """Read files of the state (default: all) and compare their checksums; the problem of each damaged one."""
        entries = self.manifest.files
        found = {name: damage(self._data / name, entries[name]) for name in (entries if names is None else names)}
        return {name: problem for name, problem in found.items() if problem}

    @classmethod
    def open(cls, root: Path, *, ready: bool = False) -> Snapshot:
        """Open for reading: the newest state whose checksum and file sizes hold. Raises IndexStoreError.

        With ``ready`` the newest state that can be searched, even if a newer build has begun; where there is none, the
        newest as it is.
        """
        with reaching(root):
            if not root.exists():
                raise IndexStoreError(
                    f"{root} does not exist; expected an index directory: make one with `searchapp build`"
                )
            if not root.is_dir():
                raise IndexStoreError(f"{root} is a file; expected an index directory, as `searchapp build` makes it")
            for _ in range(ATTEMPTS):
                snapshot = cls._open(root, ready)
                if snapshot is not None:
                    return snapshot
        raise IndexStoreError(f"{root} changes too fast to be opened; try again")

    @classmethod
    def numbered(cls, root: Path, number: int, expected: bytes) -> Snapshot | None:
        """The state of a number, held, whose manifest has these bytes' SHA-256; None where it is not there any more.

        Raises IndexStoreError where it is damaged, or its files are missing or cut.
        """
        path = root / f"manifest-{number:010d}.json"
        with reaching(root):
            for place in (path, copy_of(path)):
                try:
                    held = place.open("rb")
                except FileNotFoundError:
                    continue
                hold(held)
                if os.fstat(held.fileno()).st_nlink and hashlib.sha256(held.read()).digest() == expected:
                    break
                held.close()
            else:
                if path.exists():
                    raise IndexStoreError(
                        f"{path} is not the manifest that was published; mend it: `searchapp verify … --repair`"
                    )
                return None
        try:
            manifest = load(place)
        except FileNotFoundError:
            return None
        if wrong := missing_files(root, manifest):
            raise IndexStoreError(f"{root} cannot be opened: {wrong[0]}; mend it with `searchapp verify … --repair`")
        return cls(root, manifest, (), held)

    @classmethod
    def _open(cls, root: Path, ready: bool) -> Snapshot | None:
        """One attempt to open and hold a state; None when a writer removed it meanwhile."""
        chosen, begun, problems = None, None, []
        for found in commits(root):
            problems += [*found.problems, *([found.notice] if found.notice else [])]
            if found.usable and found.manifest is not None:
                begun = begun or found
                if not ready or found.manifest.state == "ready":
                    chosen = found
                    break
        if begun is None and not problems and numbered(root):
            return None  # a writer removed all that were listed before they could be read; there are newer ones
        if begun is None:
            raise IndexStoreError(_unusable(root, problems))
        if chosen is None:
            chosen = begun
        elif chosen is not begun and begun.manifest is not None:
            problems.append(f"an unfinished build of {begun.manifest.rows:,} documents is not shown yet")
        if chosen.manifest is None:
            return None
        try:
            held = chosen.path.open("rb")
            hold(held)
        except FileNotFoundError:
            return None
        if os.fstat(held.fileno()).st_nlink == 0:
            held.close()
            return None
        return cls(root, chosen.manifest, problems, held)


def _unusable(root: Path, problems: list[str]) -> str:
    if not problems and next(root.glob("root-*.json"), None) is not None:
        return (
            f"{root} is made of shards, each an index below {root / 'shards'}, and this command takes one index; "
            "what a root can be asked and how it is changed: docs/how-to/shards.md"
        )
    if not problems:
        return f"{root} is not an index (it has no manifest-*.json); make one with `searchapp build --index {root}`"
    return (
        f"{root} cannot be opened: {problems[0]}; mend it with `searchapp verify {root} --repair`, "
        f"or build it again: searchapp build … --index {root} --overwrite"
    )
