"""Lines of a plain or gzip'd file as bytes, with their place and how far the file has been read."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from searchapp.corpus.decoding import UTF8, LineStream, Unreadable, utf8_stream, without_mark
from searchapp.errors import CorpusError

MAX_LINE_BYTES = 64 * 2**20
_GZIP_MAGIC = b"\x1f\x8b"


class Line(NamedTuple):
    """One line: its number (from 1), the byte where it starts, its bytes with the line end.

    ``whole`` is false where a line passed ``MAX_LINE_BYTES``: the rest of it was skipped, to keep memory bounded.
    ``encoding`` is the file's; the bytes are UTF-8 in any case, and not valid where the file's were not.
    """

    number: int
    start: int
    data: bytes
    whole: bool
    encoding: str = UTF8

    def text(self) -> str:
        """Decode the line as strict UTF-8, line end and all.

        Raises ValueError, with the reason in the user's words.
        """
        if not self.whole:
            raise ValueError(f"line longer than {MAX_LINE_BYTES:,} bytes: split it")
        try:
            return self.data.decode()
        except UnicodeDecodeError as error:
            if self.encoding != UTF8:
                character = len(self.data[: error.start].decode()) + 1
                raise ValueError(
                    f"invalid {self.encoding}: half a character at character {character} of the line"
                ) from None
            byte = self.data[error.start]
            place = f"byte {error.start + 1} of the line (byte offset {self.start + error.start} of the file)"
            raise ValueError(f"invalid UTF-8: 0x{byte:02x} at {place}") from None


class Lines:
    """Iterate over a file's lines; ``number`` is the last line handed out, ``progress`` the share of bytes read.

    A name that ends in `.gz` is decompressed on the way, and progress counts compressed bytes. What a byte order mark
    says is obeyed, and the mark dropped: see ``utf8_stream``. Lines end at a line feed, as in any tool that counts
    them; with ``returns``, in a file of the old Mac, which has no line feed, at a carriage return.

    With ``span``, two offsets of bytes at which lines of a plain UTF-8 file begin, only the lines from the first up to
    the second are read, numbered from 1.

    Raises CorpusError, while iterating, where the file cannot be opened, is not gzip though its name says so, is UTF-16
    without a mark, or is damaged; the message says the line reached.
    """

    def __init__(self, path: Path, file: str, *, returns: bool = False, span: tuple[int, int] | None = None) -> None:
        self.number = 0
        self.progress = 0.0
        self._returns = returns
        self._span = span
        self._path = path
        self._file = file
        self._lines = self._read()

    def __iter__(self) -> Iterator[Line]:
        return self

    def __next__(self) -> Line:
        return next(self._lines)

    def _read(self) -> Iterator[Line]:
        try:
            with self._path.open("rb") as raw:
                size = self._path.stat().st_size
                if self._span is not None:
                    raw.seek(self._span[0])
                    yield from self._split(raw, raw, size)
                elif self._is_gzip(raw.peek(2)[:2]):
                    with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                        yield from self._split(unpacked, raw, size)
                else:
                    yield from self._split(raw, raw, size)
        except Unreadable as error:
            raise CorpusError(f"{self._file}: {error}") from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            reason = str(error).rstrip(".")
            raise CorpusError(
                f"{self._file}: damaged gzip data after line {self.number} ({reason}); fetch or compress the file again"
            ) from error
        except OSError as error:
            where = f" after line {self.number}" if self.number else ""
            hint = "check the file and its permissions"
            raise CorpusError(f"{self._file}: cannot be read{where}: {error.strerror}; {hint}") from error

    def _is_gzip(self, start: bytes) -> bool:
        named = self._path.name.lower().endswith(".gz")
        if named and start != _GZIP_MAGIC:
            raise CorpusError(f"{self._file}: not gzip data though the name ends in .gz; compress it or drop the .gz")
        if not named and start == _GZIP_MAGIC:
            raise CorpusError(f"{self._file}: gzip data; expected plain text; add .gz to the name")
        return named

    def _split(self, packed: io.BufferedReader | gzip.GzipFile, raw: IO[bytes], size: int) -> Iterator[Line]:
        begin, end = self._span or (0, size)
        within = end - begin
        if begin:
            stream: LineStream = packed
            encoding, position = UTF8, begin
        else:
            stream, encoding, position = utf8_stream(packed, returns=self._returns)
        while (self._span is None or position < end) and (data := stream.readline(MAX_LINE_BYTES)):
            start, position = position, position + len(data)
            whole = data.endswith(b"\n")
            rest = data
            while not rest.endswith(b"\n") and (rest := stream.readline(2**20)):
                position += len(rest)
            # Without a line end the line is whole only if nothing followed, as at the end of the file.
            whole = whole or position - start == len(data)
            self.number += 1
            read = position if stream is raw else raw.tell()
            self.progress = min(1.0, (read - begin) / within) if within else 1.0
            text = without_mark(data)
            yield Line(self.number, start + len(data) - len(text), text, whole, encoding)
