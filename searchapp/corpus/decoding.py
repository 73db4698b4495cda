"""Bytes of a text file as UTF-8, whatever Unicode encoding its byte order mark says, and lists of text lines.

The mark decides, and nothing else: which one of the legacy encodings a file is in cannot be known from its bytes.
"""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterator
from typing import IO, Protocol

UTF8 = "UTF-8"
# The mark of UTF-32 begins with that of UTF-16: the longer ones come first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF8, "", UTF8),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_CHUNK = 2**16
_SAMPLE = 4096  # bytes in which the line ends and the zeros of UTF-16 show
_BROKEN = b"\xff"  # stands for what cannot be decoded: no UTF-8 holds it


class Unreadable(ValueError):
    """Why bytes are no text, in the user's words."""


class LineStream(Protocol):
    """What lines are read from."""

    def read(self, size: int = ..., /) -> bytes:
        """So many bytes, fewer at the end."""
        ...

    def readline(self, size: int = ..., /) -> bytes:
        """A line with its end, or so many bytes of it."""
        ...


class _Recoded(io.RawIOBase):
    """A stream of another Unicode encoding, or of other line ends, read as UTF-8 with line feeds.

    Halves of characters come out as bytes that are no UTF-8, so that the line that has one can be named.
    """

    def __init__(self, source: io.BufferedReader | gzip.GzipFile, codec: str, *, returns: bool) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(codec)("surrogatepass") if codec else None
        self._returns = returns
        self._held = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._held and not self._ended:
            self._held = self._next()
        part, self._held = self._held[: len(buffer)], self._held[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def _next(self) -> bytes:
        data = self._source.read(_CHUNK)
        self._ended = not data
        if self._decoder is not None:
            try:
                data = self._decoder.decode(data, final=self._ended).encode("utf-8", "surrogatepass")
            except UnicodeDecodeError:  # half a character at the end, or a number beyond the last one of Unicode
                self._ended, data = True, _BROKEN
        return data.replace(b"\r", b"\n") if self._returns else data


def utf8_stream(source: io.BufferedReader | gzip.GzipFile, *, returns: bool = False) -> tuple[LineStream, str, int]:
    """Look at the start of a binary stream and return it as UTF-8 without a mark.

    Returns the stream, the name of its encoding (UTF-8, UTF-16 or UTF-32) and the bytes that the mark took. With
    ``returns``, carriage returns become line feeds where the start has the first and none of the second.

    Raises Unreadable where the text is UTF-16 or UTF-32 without a mark, which would come out as noise.
    """
    head = source.peek(_SAMPLE)
    mark, codec, encoding = next((known for known in _MARKS if head.startswith(known[0])), (b"", "", UTF8))
    start = head[len(mark) :]
    if not codec and (found := _zeros(start)):
        raise Unreadable(
            f"{found} without a byte order mark, or no text at all: expected UTF-8; save the file as UTF-8"
        )
    shown = start.decode(codec or "latin-1", "replace")
    old = returns and "\n" not in shown and "\r" in shown[:-1]
    source.read(len(mark))
    if codec or old:
        return io.BufferedReader(_Recoded(source, codec, returns=old), _CHUNK), encoding, len(mark)
    return source, encoding, len(mark)


def without_mark(line: bytes) -> bytes:
    """A line of UTF-8 without the byte order mark at its start, which files put together have in their middle."""
    while line.startswith(codecs.BOM_UTF8):
        line = line[len(codecs.BOM_UTF8) :]
    return line


def text_lines(source: IO[bytes]) -> Iterator[tuple[int, str]]:
    """Yield the lines of a binary stream that are not blank, without their ends, with their number from 1.

    For lists that people write: queries, ids. Blanks around a line stay, and lines end at no other characters than line
    feeds, or the carriage returns of an old Mac: ids may hold what ``str.splitlines`` cuts at.

    Raises Unreadable, with the line, where it is not valid or holds a NUL.
    """
    stream, encoding, _ = utf8_stream(_buffered(source), returns=True)
    number = 0
    while data := stream.readline():
        number += 1
        text = line_text(without_mark(data), number, encoding).rstrip("\r\n")
        if text.strip():
            yield number, text


def line_text(data: bytes, number: int, encoding: str = UTF8) -> str:
    """Decode one line. Raises Unreadable, with its number, where it is not valid or holds a NUL."""
    if b"\0" in data:
        raise Unreadable(f"line {number} holds a NUL character, expected text; remove it")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        found = f"the byte 0x{data[error.start]:02x}, which is not valid UTF-8" if encoding == UTF8 else ""
        raise Unreadable(
            f"line {number} holds {found or f'half a character of {encoding}'}; save it as UTF-8"
        ) from None


def _buffered(source: IO[bytes]) -> io.BufferedReader:
    return source if isinstance(source, io.BufferedReader) else io.BufferedReader(io.BytesIO(source.read()))


def _zeros(start: bytes) -> str:
    """UTF-16 or UTF-32, told by the zeros in the high bytes of its characters; else "". UTF-8 text has none at all.

    In UTF-32 the highest byte of every character is zero, and the next one of nearly every; in UTF-16 the high byte of
    Latin letters, digits and blanks. Low bytes hardly ever are.
    """
    for width, encoding in ((4, "UTF-32"), (2, "UTF-16")):
        part = start[: len(start) // width * width]
        count = len(part) // width
        for step in (1, -1):  # from the high byte down: big-endian, little-endian
            zeros = [part[place::width].count(0) for place in range(width)][::step]
            high = zeros[0] == count and zeros[1] > 0.8 * count if width == 4 else zeros[0] > 0.2 * count
            high = high and (zeros[0] > 2 or zeros[0] > count / 2)  # one zero in a few letters is no encoding
            if count > 1 and high and zeros[-1] <= zeros[0] / 10:
                return encoding
    return ""
