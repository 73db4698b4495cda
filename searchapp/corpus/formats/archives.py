"""Archives (.zip, .tar, .tar.gz, .tgz, .gz, .bz2, .xz): the files in them by their own readers, none written to disk.

A passage says by ``archive`` which file it is from: ``notes.zip!/2024/a.pdf``. An archive in an archive is read up to
the third. Links, devices and names that lead out are refused or passed over; all bytes that are unpacked count.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, cast

from searchapp.corpus.blocks import Block
from searchapp.corpus.formats.held import Held, enclosed, read_held
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable
from searchapp.corpus.formats.zipped import FREE, Zipped, unsafe
from searchapp.errors import reason_of

ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz")
DEEPEST = 3  # archives in one another
MOST_BYTES = 256 << 20  # of one file in an archive
UNREAD = "files in archives not read"
_STREAMS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    ".gz": lambda stream: cast(IO[bytes], gzip.GzipFile(fileobj=stream)),
    ".bz2": lambda stream: bz2.BZ2File(stream),
    ".xz": lambda stream: lzma.LZMAFile(stream),
}
_SHORT = {".tgz": ".gz", ".tbz2": ".bz2", ".txz": ".xz"}
_FAULTS = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError)


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield empty facts, then the blocks of all files in an archive, each below a heading that is its path."""
    yield Facts()
    composer = Composer(limits)
    budget = _Budget(limits, path.stat().st_size)
    waiting = [(path.name, members(path, limits, budget))]
    while waiting:
        outer, files = waiting[-1]
        found = next(files, None)
        if found is None:
            waiting.pop()
            continue
        name, data = found
        place = f"{outer}!/{name}"
        if PurePosixPath(name).suffix.lower() in ARCHIVES and not _is_packed_text(name):
            if len(waiting) >= DEEPEST:
                yield Facts(notes={UNREAD: 1})
                continue
            waiting.append((place, _attempted(members(cast(Path, Held(name, data)), limits, budget))))
            continue
        shown = place.partition("!/")[2]
        yield from enclosed(read_held(name, data, limits, UNREAD), shown, composer, {"archive": place})
    if budget.refused:
        yield Facts(notes={UNREAD: budget.refused})


def _is_packed_text(name: str) -> bool:
    """Whether a packed file has a reader of its own, as a manual page has."""
    from searchapp.corpus.formats.table import format_of

    return name.lower().endswith(".gz") and (found := format_of(PurePosixPath(name).name)) is not None and found.is_cut


class _Budget:
    """Counts what is unpacked of an archive and of those in it, together."""

    def __init__(self, limits: Limits, packed: int) -> None:
        self._limits, self._packed = limits, max(1, packed)
        self.unpacked = self.parts = self.refused = 0

    def take(self, size: int) -> None:
        """Count bytes. Raises Unreadable past a limit."""
        self.unpacked += size
        if self.unpacked > self._limits.unpacked:
            raise Unreadable(f"unpacks to more than {self._limits.unpacked:,} bytes")
        if self.unpacked > FREE and self.unpacked > self._limits.ratio * self._packed:
            raise Unreadable(f"more than {self._limits.ratio} times as large unpacked: a zip bomb")

    def count(self) -> None:
        """Count a file. Raises Unreadable past the limit."""
        self.parts += 1
        if self.parts > self._limits.parts:
            raise Unreadable(f"more than {self._limits.parts:,} parts")


def members(path: Path, limits: Limits, budget: _Budget) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each file in an archive, in its order; hidden ones are passed over.

    Raises Unreadable for one that must not be unpacked, or is damaged.
    """
    name = path.name.lower()
    ending = _SHORT.get(PurePosixPath(name).suffix, PurePosixPath(name).suffix)
    if ending == ".zip":
        with Zipped(path, replace(limits, unpacked=limits.unpacked - budget.unpacked)) as package:
            for part in package.names:
                if _is_wanted(part, package.parts[part].file_size, budget):
                    yield part, _taken(package.chunks(part), budget)
        return
    with path.open("rb") as stream:
        try:
            unpacked = _STREAMS[ending](stream) if ending in _STREAMS else stream
            if ending == ".tar" or PurePosixPath(name).suffix in _SHORT or ".tar." in name:
                yield from _from_tar(unpacked, budget)
            elif ending in _STREAMS:
                yield path.name[: -len(ending)], _taken(_chunks(unpacked), budget)
            else:
                raise Unreadable("no archive")
        except _FAULTS as error:
            raise Unreadable(f"damaged: {reason_of(error)}") from None


def _from_tar(stream: IO[bytes], budget: _Budget) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=cast("IO[bytes]", _Counted(stream, budget)), mode="r|") as archive:
        for info in archive:
            if info.isreg() and _is_wanted(info.name, info.size, budget):
                content = archive.extractfile(info)
                if content is not None:
                    yield info.name, content.read()


class _Counted(io.RawIOBase):
    """A stream of which every byte that is read counts."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self._stream, self._budget = stream, budget

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._budget.take(len(data))
        return data


def _is_wanted(name: str, size: int, budget: _Budget) -> bool:
    budget.count()
    if unsafe(name):
        raise Unreadable(f"a part leads out of the file ({name[:200]!r})")
    if size > MOST_BYTES:
        budget.refused += 1
        return False
    return not any(part.startswith((".", "__MACOSX")) and part != "." for part in name.split("/"))


def _taken(chunks: Iterator[bytes], budget: _Budget) -> bytes:
    held = []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        budget.take(len(chunk))
        if size > MOST_BYTES:
            raise Unreadable(f"a part of more than {MOST_BYTES:,} bytes")
        held.append(chunk)
    return b"".join(held)


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(1 << 16):
        yield chunk


def _attempted(files: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """The files of an archive in an archive, up to where it turns out to be damaged; a bomb ends the whole."""
    try:
        yield from files
    except Unreadable as error:
        if not str(error).startswith(("damaged", "password", "no archive")):
            raise
