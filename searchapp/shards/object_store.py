"""A store behind a URL, such as ``s3://bucket/indexes/wiki``, through fsspec; credentials come from the environment.

A commit is a file that is put only if it is not there. A store that overwrites in its place is refused when it is
opened: with it two writers would both believe to have won.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from searchapp.corpus.urls import shown_url, without_secrets
from searchapp.errors import IndexStoreError, reason_of
from searchapp.index.storage.directory import Disk
from searchapp.shards.place import NAME_PART, checked_name

PROBE = "build/probe"
BLOCK = 8 << 20
TRIES = 8
PAUSE = 0.05  # seconds before the second try; twice as long before each that follows


class RemoteStore:
    """A ``Store`` in an object store. ``files`` is an fsspec file system, ``root`` a path in it."""

    def __init__(self, files: Any, root: str, url: str, scratch: Path | None = None) -> None:
        self._files, self._root, self._url = files, root.rstrip("/"), url
        self._scratch = scratch
        self._disk = Disk()

    @classmethod
    def open(cls, url: str, scratch: Path | None = None) -> RemoteStore:
        """Open a URL. Raises IndexStoreError where fsspec or the store is not there, or cannot refuse a second put."""
        try:
            import fsspec
        except ImportError as error:
            raise IndexStoreError(
                f"{shown_url(url)} needs fsspec; install it with `pip install 'searchapp[remote]'`"
            ) from error
        try:
            files, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except TypeError:
            files, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise IndexStoreError(
                f"{shown_url(url)} cannot be opened ({without_secrets(url, reason_of(error))}); it may need "
                "pip install 'searchapp[remote,s3]'"
            ) from error
        store = cls(files, root, url, scratch)
        store.probe()
        return store

    @property
    def disk(self) -> Disk:
        """What makes durable steps in the folder to work in."""
        return self._disk

    @property
    def name(self) -> str:
        """The URL, without what is secret."""
        return shown_url(self._url)

    def probe(self) -> None:
        """Put a file twice. Raises IndexStoreError unless the second time is refused."""
        name = f"{PROBE}-{uuid.uuid4().hex}"
        refused = False
        try:
            self._files.pipe_file(self._path(name), b"1", mode="create")
            try:
                self._files.pipe_file(self._path(name), b"2", mode="create")
            except FileExistsError:
                refused = self._files.cat_file(self._path(name)) == b"1"
        except (OSError, ValueError, TypeError, NotImplementedError) as error:
            raise IndexStoreError(
                f"{self.name} cannot be written ({without_secrets(self._url, reason_of(error))}); check the URL, the "
                "credentials in the environment, and that the bucket exists"
            ) from error
        finally:
            with contextlib.suppress(Exception):
                self._files.rm_file(self._path(name))
        if not refused:
            raise IndexStoreError(
                f"{self.name} overwrites a file that is there (it knows no put-if-absent), so that two writers could "
                "both win; use a store that does, or a folder of this machine"
            )

    def put_new(self, name: str, data: bytes) -> None:
        """Write a file that is not there yet."""
        self._tried(lambda: self._files.pipe_file(self._path(name), data, mode="create"), name, data)

    def get(self, name: str) -> bytes:
        """A whole file."""
        return bytes(self._tried(lambda: self._files.cat_file(self._path(name)), name))

    def range(self, name: str, begin: int, end: int) -> bytes:
        """Some bytes of a file."""
        if end <= begin:
            return b""
        return bytes(self._tried(lambda: self._files.cat_file(self._path(name), start=begin, end=end), name))

    def list(self, folder: str = "") -> list[str]:
        """The names of the files in a folder."""
        inside = self._path(folder) if folder else self._root
        with contextlib.suppress(AttributeError, NotImplementedError):
            self._files.invalidate_cache(inside)
        try:
            found = self._tried(lambda: self._files.ls(inside, detail=True), folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        before = f"{folder}/" if folder else ""
        names = [entry["name"].rstrip("/").rpartition("/")[2] for entry in found if entry["type"] == "file"]
        return sorted(before + name for name in names if NAME_PART.fullmatch(name))

    def delete(self, name: str) -> None:
        """Remove a file."""
        with contextlib.suppress(FileNotFoundError):
            self._tried(lambda: self._files.rm_file(self._path(name)), name)

    def upload(self, path: Path, name: str) -> None:
        """Put a file of this machine under a name that nothing has.

        Names of data files are drawn at random, so that no two writers have the same; larger ones go in parts.
        """
        if path.stat().st_size <= BLOCK:
            self.put_new(name, path.read_bytes())
            return
        if self._tried(lambda: self._files.exists(self._path(name)), name):
            raise FileExistsError(f"{self.name}/{name} exists")
        self._tried(lambda: self._files.put_file(str(path), self._path(name)), name)
        size = int(self._tried(lambda: self._files.info(self._path(name)), name)["size"])
        if size != path.stat().st_size:
            self.delete(name)
            raise IndexStoreError(f"{self.name}/{name} has {size} bytes of {path.stat().st_size}; run it again")

    def download(self, name: str, path: Path) -> None:
        """Put a file at a path of this machine, part by part."""
        size = int(self._tried(lambda: self._files.info(self._path(name)), name)["size"])
        with self._disk.create(path) as draft:
            for begin in range(0, size, BLOCK):
                draft.write(self.range(name, begin, min(size, begin + BLOCK)))

    def work(self) -> Path:
        """The folder that was given, else one of the system for temporary files."""
        return self._scratch or Path(tempfile.gettempdir()) / "searchapp-build"

    def _path(self, name: str) -> str:
        return f"{self._root}/{checked_name(name)}"

    def _tried(self, call: Any, name: str, data: bytes | None = None) -> Any:
        """The outcome of a call, tried again where the store is out of order for a moment.

        A put that was refused the second time may be our own of the first time: then its content is ours.
        """
        for trial in range(TRIES):
            try:
                return call()
            except FileExistsError:
                if trial and data is not None and self.get(name) == data:
                    return None
                raise
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                raise
            except (OSError, TimeoutError) as error:
                if trial == TRIES - 1:
                    raise IndexStoreError(
                        f"{self.name} does not answer for {name or 'a listing'} "
                        f"({without_secrets(self._url, reason_of(error))}); try it later"
                    ) from error
                time.sleep(PAUSE * 2**trial)
        return None
