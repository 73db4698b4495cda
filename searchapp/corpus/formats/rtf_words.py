"""Rich Text Format as a sequence of marks: groups, control words, bytes of text. Source: RTF Specification 1.9.1."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_MARK = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?[0-9]{1,10})? ?"  # a control word
    rb"|\\'([0-9a-fA-F]{2})"  # a byte
    rb"|\\([^a-zA-Z])"  # a control symbol
    rb"|([{}])"
    rb"|([^\\{}\r\n]+)"
    rb"|[\r\n]+|\\",
    re.DOTALL,
)
# Windows code pages by the character set of a font (\fcharset).
CHARSETS = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "cp936", 136: "cp950", 161: "cp1253",
    162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874",
    238: "cp1250", 254: "cp437", 255: "cp437",
}  # fmt: skip
# What a control word stands for in a text.
CHARACTERS = {
    "tab": "\t", "line": "\n", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”",  # noqa: RUF001
    "bullet": "•", "endash": "–", "emdash": "—", "enspace": " ", "emspace": " ", "qmspace": " ", "~": "\xa0",  # noqa: RUF001
    "_": "-", "-": "", "zwj": "\u200d", "zwnj": "\u200c", "softline": "\n",
}  # fmt: skip
_BYTE = re.compile(rb"\\'[0-9a-fA-F]{2}")
_NO_TEXT = re.compile(rb"[0-9a-fA-F\r\n]{100,}|\\[a-zA-Z]+-?[0-9]* ?|\\.|[{}\r\n]", re.DOTALL)
_SAMPLE, _SAMPLES = 1 << 14, 100


class Mark(NamedTuple):
    """A control word or symbol with its number, ``{`` or ``}``, or bytes of text; what does not apply is empty."""

    word: str = ""
    number: int | None = None
    data: bytes = b""


def marks(data: bytes) -> Iterator[Mark]:
    r"""Yield the marks of a file in order. What follows ``\bin`` is passed over."""
    place = 0
    while (found := _MARK.match(data, place)) is not None:
        place = found.end()
        word, number, byte, symbol, brace, text = found.groups()
        if text is not None:
            yield Mark(data=text)
        elif word is not None:
            value = int(number) if number is not None else None
            if word == b"bin":
                place += max(0, value or 0)
                continue
            yield Mark(word.decode(), value)
        elif byte is not None:
            yield Mark(data=bytes([int(byte, 16)]))
        elif symbol is not None and symbol in b"{}\\":
            yield Mark(data=symbol)
        elif symbol is not None:
            yield Mark("par" if symbol in b"\r\n" else symbol.decode("latin-1"))
        elif brace is not None:
            yield Mark(brace.decode())


def text_share(data: bytes) -> float:
    """The share of a file's bytes that are characters of text, by samples from all over it.

    Pictures are no text: runs of hexadecimal digits, and samples with bytes beyond ASCII.
    """
    samples = [data[place : place + _SAMPLE] for place in range(0, len(data), max(_SAMPLE, len(data) // _SAMPLES))]
    text = sum(len(_NO_TEXT.sub(b"", _BYTE.sub(b"x", sample))) for sample in samples if sample.isascii())
    return text / max(1, sum(map(len, samples)))


def codec_of(page: int) -> str:
    """Python's name of a code page, ``cp1252`` where there is none."""
    name = {10000: "mac_roman", 10001: "cp932", 65001: "utf-8", 708: "iso-8859-6", 819: "latin-1"}.get(
        page, f"cp{page}"
    )
    try:
        b"".decode(name)
    except LookupError:
        return "cp1252"
    return name
