"""Where the files of a root lie: a folder on this machine, or an object store behind the same five verbs.

Names are relative, with ``/`` between their parts, as ``shards/s0000/manifest-0000000001.json``.
"""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Protocol

from searchapp.errors import IndexStoreError
from searchapp.index.storage.directory import Disk, reaching

BEGUN = "remade"  # the folder below a root of what a change of all its shards has made, until it is published
NAME_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class Place(Protocol):
    """Files by name. What is written is whole or not there, and stays as it is until it is deleted."""

    def put_new(self, name: str, data: bytes) -> None:
        """Write a file that is not there yet, durably. Raises FileExistsError where it is: of two writers one wins."""

    def get(self, name: str) -> bytes:
        """A whole file. Raises FileNotFoundError."""

    def range(self, name: str, begin: int, end: int) -> bytes:
        """The bytes of a file from ``begin`` to before ``end``, fewer at its end. Raises FileNotFoundError."""

    def list(self, folder: str = "") -> list[str]:
        """The names, whole ones, of the files that lie in a folder, not below it, ascending; none without the folder.

        A file that was put before the call is among them.
        """

    def delete(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""


def checked_name(name: str) -> str:
    """A name that leads to no other place. Raises IndexStoreError for any other."""
    if not name or not all(NAME_PART.fullmatch(part) for part in name.split("/")):
        raise IndexStoreError(
            f"{name!r} is no name of a file in an index; expected parts of letters, digits, '.', '_' and '-', with '/' "
            "between them"
        )
    return name


class LocalPlace:
    """A ``Place`` that is a folder of this machine; ``disk`` makes the durable steps."""

    def __init__(self, root: str | Path, disk: Disk | None = None) -> None:
        self.root = Path(root)
        self._disk = disk or Disk()

    def path(self, name: str) -> Path:
        """Where a file lies."""
        return self.root / checked_name(name)

    def put_new(self, name: str, data: bytes) -> None:
        """Write a file that is not there yet: synced under a name of its own, linked, its folder synced."""
        path = self.path(name)
        temporary, is_taken = path.with_name(f"tmp-{uuid.uuid4().hex}"), False
        with reaching(self.root):
            self._make(path.parent)
            try:
                with self._disk.create(temporary) as draft:
                    draft.write(data)
                self._disk.link(temporary, path)
            except FileExistsError:
                is_taken = True
            finally:
                self._disk.remove(temporary)
            self._disk.sync_directory(path.parent)
        if is_taken:
            raise FileExistsError(f"{path} exists")

    def get(self, name: str) -> bytes:
        """A whole file."""
        return self.path(name).read_bytes()

    def range(self, name: str, begin: int, end: int) -> bytes:
        """Some bytes of a file."""
        with self.path(name).open("rb") as file:
            file.seek(begin)
            return file.read(max(0, end - begin))

    def list(self, folder: str = "") -> list[str]:
        """The names of the files in a folder, but for those that are being written."""
        inside = self.root / checked_name(folder) if folder else self.root
        before = f"{folder}/" if folder else ""
        try:
            return sorted(
                before + path.name
                for path in inside.iterdir()
                if NAME_PART.fullmatch(path.name) and not path.name.startswith("tmp-") and path.is_file()
            )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def delete(self, name: str) -> None:
        """Remove a file, and make that durable."""
        path = self.path(name)
        self._disk.remove(path)
        if path.parent.is_dir():
            self._disk.sync_directory(path.parent)

    def _make(self, folder: Path) -> None:
        for place in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
            place.mkdir(exist_ok=True)
            self._disk.sync_directory(place.parent)
