"""Zip files that nobody vouches for: checked by their directory before anything is unpacked, and again while it is.

The directory says how large each part becomes; a part that becomes larger is damaged (``zipfile`` stops there and its
checksum fails), so that a check of the directory bounds what unpacking can cost. Bytes are counted all the same.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType

from searchapp.corpus.formats.reading import Limits, Unreadable

FREE = 10_000_000  # bytes that a part may unpack to whatever its ratio
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # the container of Office 97, and of Office files with a password
_CHUNK = 1 << 16
_ENCRYPTED = 0x1 | 0x40
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of others ``zipfile`` cannot unpack a part of a given size
# What ``zipfile`` raises where a directory or a part is not what it should be.
_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


class Zipped:
    """A zip file that is open; a context manager. Raises Unreadable for one that must not be unpacked.

    ``names`` are those of its parts, in the order of its directory, without folders.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._limits = limits
        self._unpacked = 0
        stream = path.open("rb")
        try:
            if stream.read(len(OLE)) == OLE:
                raise Unreadable("password or old Office format (before 2007)")
            size = stream.seek(0, io.SEEK_END)
            self._file = zipfile.ZipFile(stream)
            self.parts = {info.filename: info for info in self._file.infolist() if not info.is_dir()}
            check(self._file.infolist(), limits, size)
        except _FAULTS as error:
            stream.close()
            raise Unreadable(f"damaged: no zip file ({_first_line(error)})") from None
        except Unreadable:
            stream.close()
            raise
        self._stream = stream
        self.names = tuple(self.parts)

    def __enter__(self) -> Zipped:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        self._stream.close()

    def __contains__(self, name: str) -> bool:
        return name in self.parts

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a part. Raises Unreadable where it is missing, damaged, or all parts are too large."""
        info = self.parts.get(name)
        if info is None:
            raise Unreadable(f"damaged: has no part {name[:200]}")
        if info.flag_bits & _ENCRYPTED:
            raise Unreadable("password")
        try:
            with self._file.open(info) as part:
                while chunk := part.read(_CHUNK):
                    self._unpacked += len(chunk)
                    if self._unpacked > self._limits.unpacked:
                        raise Unreadable(f"unpacks to more than {self._limits.unpacked:,} bytes")
                    yield chunk
        except _FAULTS as error:
            raise Unreadable(f"damaged: part {name[:200]} ({_first_line(error)})") from None

    def read(self, name: str) -> bytes:
        """The bytes of a part."""
        return b"".join(self.chunks(name))


def check(infos: list[zipfile.ZipInfo], limits: Limits, size: int) -> None:
    """Refuse a directory with too many parts, unsafe names, two parts of one name, passwords, or a bomb.

    ``size`` is that of the file in bytes: no part, nor all together, is packed into more, whatever the directory says.
    """
    if len(infos) > limits.parts:
        raise Unreadable(f"{len(infos):,} parts; at most {limits.parts:,} are unpacked")
    met: set[str] = set()
    total = packed = 0
    for info in infos:
        name = info.filename
        if name in met:
            raise Unreadable(f"two parts of one name ({name[:200]!r})")
        met.add(name)
        if unsafe(name):
            raise Unreadable(f"a part leads out of the file ({name[:200]!r})")
        if info.is_dir():
            continue
        if info.flag_bits & _ENCRYPTED:
            raise Unreadable("password")
        if info.compress_type not in _METHODS:
            raise Unreadable("packed by a method other than deflate")
        _check_ratio(info.file_size, min(info.compress_size, size), limits)
        if info.compress_type != zipfile.ZIP_STORED:
            total += info.file_size
            packed += info.compress_size
    _check_ratio(total, min(packed, size), limits)
    if total > limits.unpacked:
        raise Unreadable(f"unpacks to {total:,} bytes; at most {limits.unpacked:,} are unpacked")


def unsafe(name: str) -> bool:
    """Whether the name of a part leads out of the folder it would be unpacked to."""
    pure = PurePosixPath(name.replace("\\", "/"))
    return pure.is_absolute() or ".." in pure.parts or name[1:2] == ":"


def _check_ratio(unpacked: int, packed: int, limits: Limits) -> None:
    if unpacked > FREE and unpacked > limits.ratio * max(1, packed):
        raise Unreadable(f"{unpacked:,} bytes packed into {packed:,}: a zip bomb")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
