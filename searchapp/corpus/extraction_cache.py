"""What was read of documents, kept between builds: a file with the same content is not read again.

One file an entry, named by a hash of all that decides what a reader makes of a file. What is in it is checked before it
is used; an entry that is damaged is read anew, and the cache is never the reason why something fails. When it outgrows
its limit, what was not used for longest goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from searchapp.corpus.formats.reading import Limits
from searchapp.corpus.formats.table import FORMATS
from searchapp.corpus.reading_process import Request
from searchapp.user_cache import cache_folder

log = logging.getLogger(__name__)

NAME = "extractions"  # the folder, in that of all caches
LIMIT = 1 << 30  # bytes
SPARE = 0.9  # share of the limit that stays in use after old entries were dropped
# Formats of which reading takes longer than it takes to look up what was read. HTML, mail and code are read faster.
KEPT = frozenset(("pdf", "word", "odf", "slides", "sheet", "epub", "archive", "warc", "slack", "notion", "rtf"))
_HEAD = b"searchapp extraction 1\n"
_DIGEST = 32  # bytes of the SHA-256 of all before it, at the end of an entry
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class CacheSize:
    """How many entries there are, and their bytes."""

    entries: int
    bytes: int


class ExtractionCache:
    """The lines of ``block_lines`` by key, in a folder that is made when the first entry is kept."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder, self.limit = folder, limit
        self._size: int | None = None  # bytes in use, once they were counted

    @classmethod
    def default(cls) -> ExtractionCache | None:
        """That of the user; None for one without a home."""
        try:
            return cls(cache_folder() / NAME)
        except OSError:
            return None

    @staticmethod
    def key(request: Request, sha256: str) -> str | None:
        """The key of what a request would be answered, for a file of this content; None where it is not kept."""
        if request.format not in KEPT or request.passwords:
            return None
        # An archive is named in what is read of it; of others the ending may say which reader is taken.
        name = request.path.name if request.format == "archive" else request.path.suffix.lower()
        parts = (sha256, request.format, name, _readers())
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def find(self, key: str) -> Iterator[bytes] | None:
        """The lines under a key, each with its end; None where there are none, or they are damaged."""
        path = self._path(key)
        try:
            file = path.open("rb")
        except OSError:
            return None
        if not _is_whole(file):
            file.close()
            log.warning("%s is damaged; its document is read again", path)
            self._drop(path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # it was used
        return _lines(file)

    @contextlib.contextmanager
    def keeping(self, key: str | None) -> Iterator[Draft]:
        """Yield what takes the lines of an entry; they are kept if ``is_complete`` was set. None: nothing is kept."""
        draft = Draft(None)
        place = None
        if key is not None:
            place = self._path(key)
            try:
                place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                path = place.with_name(f".{place.name}.{uuid.uuid4().hex}.tmp")
                draft = Draft(os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"))
            except OSError as error:
                log.debug("%s cannot be written: %s", place, error)
                place = None
        try:
            yield draft
        finally:
            if place is not None:
                self._finish(draft, path, place)

    def _finish(self, draft: Draft, path: Path, place: Path) -> None:
        """Let an entry appear under its name, or vanish."""
        try:
            if draft.close() and draft.is_complete:
                size = path.stat().st_size
                path.replace(place)
                self._shrink(size)
        except OSError as error:
            log.debug("%s cannot be written: %s", place, error)
        finally:
            with contextlib.suppress(OSError):
                path.unlink()

    def size(self) -> CacheSize:
        """How much is kept."""
        sizes = [size for _, size, _ in self._entries()]
        return CacheSize(len(sizes), sum(sizes))

    def clear(self) -> None:
        """Forget everything."""
        for _, _, path in self._entries():
            self._drop(path)
        self._size = None

    def _shrink(self, more: int) -> None:
        """Count what was added; past the limit, drop what was not used for longest."""
        if self._size is None:
            self._size = self.size().bytes
        else:
            self._size += more
        if self._size <= self.limit:
            return
        entries = sorted(self._entries())
        self._size = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if self._size <= SPARE * self.limit:
                return
            self._drop(path)
            self._size -= size

    def _entries(self) -> Iterator[tuple[int, int, Path]]:
        """When each entry was used last, its bytes, its path."""
        for path in self.folder.glob("??/*"):
            try:
                found = path.stat()
            except OSError:
                continue
            yield found.st_mtime_ns, found.st_size, path

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    @staticmethod
    def _drop(path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink()


class Draft:
    """Takes the lines of an entry that is not complete; a disk that is full ends it, in silence."""

    def __init__(self, file: IO[bytes] | None) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._packer = zlib.compressobj(1)
        self.is_complete = False
        self._write(_HEAD)

    def put(self, line: bytes) -> None:
        """Take a line, without its end."""
        if self._file is not None:
            self._write(self._packer.compress(line + b"\n"))

    def close(self) -> bool:
        """End it; says whether all was written."""
        if self._file is None:
            return False
        self._write(self._packer.flush())
        file = self._file
        if file is None:
            return False
        file.write(self._digest.digest())
        file.close()
        return True

    def _write(self, data: bytes) -> None:
        if self._file is None:
            return
        self._digest.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            log.debug("nothing is kept: %s", error)
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def _is_whole(file: IO[bytes]) -> bool:
    """Whether a file is an entry as it was written; it stands behind its head then."""
    try:
        left = os.fstat(file.fileno()).st_size - _DIGEST
        if left < len(_HEAD) or file.read(len(_HEAD)) != _HEAD:
            return False
        digest = hashlib.sha256(_HEAD)
        left -= len(_HEAD)
        while left:
            chunk = file.read(min(_CHUNK, left))
            if not chunk:
                return False
            digest.update(chunk)
            left -= len(chunk)
        whole = file.read() == digest.digest()
        file.seek(len(_HEAD))
    except OSError:
        return False
    return whole


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of an entry that was found whole."""
    unpacker = zlib.decompressobj()
    rest = b""
    with file:
        while (chunk := file.read(_CHUNK)) and not unpacker.eof:
            while chunk and not unpacker.eof:
                *lines, rest = (rest + unpacker.decompress(chunk, 1 << 20)).split(b"\n")
                chunk = unpacker.unconsumed_tail
                yield from lines


@cache
def _readers() -> str:
    """All readers here with their versions and limits: what is in a document may be read by any of them."""
    parts = [format.fingerprint for format in FORMATS]
    return hashlib.sha256("\0".join([*parts, repr(Limits())]).encode()).hexdigest()
