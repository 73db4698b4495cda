"""The text of bytes in any encoding: by a mark, as valid UTF-8, as declared, or as it looks."""

from __future__ import annotations

import codecs
import re

from searchapp.corpus.formats.reading import Unreadable
from searchapp.unicode import find_surrogate

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SEVEN_BITS = ("iso-2022", "hz", "utf-7")  # declared encodings whose bytes are valid UTF-8 as well
_SAMPLE = 1 << 16
# What browsers take these for (WHATWG, Encoding).
_MEANT = {"iso-8859-1": "cp1252", "latin-1": "cp1252", "latin1": "cp1252", "ascii": "cp1252", "us-ascii": "cp1252",
          "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "shift-jis": "cp932", "x-sjis": "cp932",
          "euc-kr": "cp949", "ks_c_5601-1987": "cp949", "iso-8859-9": "cp1254", "tis-620": "cp874"}  # fmt: skip
# Encodings that hardly any file is in, and whose bytes look like any text's.
_UNLIKELY = ["utf_7", "cp037", "cp273", "cp424", "cp500", "cp875", "cp1026", "cp1140", "hp_roman8", "utf_16", "utf_32",
             "utf_16_be", "utf_16_le", "utf_32_be", "utf_32_le"]  # fmt: skip
_TAG = re.compile(rb"<[^>]*>")
_ASCII = bytes(range(128))
_SIGNS = "–—‘’‚“”„…€£§°«»·•©®™½¼¾¿¡\xa0\xad×²³µ"  # noqa: RUF001 - as they are written
FEW = 0.3  # share of bytes beyond ASCII, up to which a text may be in Latin letters
LEAST = 64  # bytes beyond ASCII that tell an encoding


def decode(data: bytes, declared: str = "", *, marked_up: bool = False) -> str:
    """The text of a file: by its byte order mark, as UTF-8 where it is valid, else as declared, else as it looks.

    Guesses are those of charset-normalizer, from a page that is ``marked_up`` without its tags; where that is not
    installed, text is taken for Windows-1252, as browsers do. Raises Unreadable where nothing fits.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    if (wide := _zeros(data[:4096])) is not None:
        return data.decode(wide, "replace")
    declared = _MEANT.get(declared.strip().lower(), declared.strip().lower())
    order = [declared, "utf-8"] if declared.startswith(_SEVEN_BITS) else ["utf-8", declared]
    for name in filter(None, order):
        try:
            return data.decode(name)
        except (UnicodeDecodeError, LookupError):
            continue
    return _guessed(data, declared, marked_up)


def decoded(data: bytes, declared: str | None = None) -> str:
    """The text of a part of a file as ``decode`` has it, as it can be stored; of what nothing fits, Latin letters."""
    try:
        return clean(decode(data, declared or ""))
    except Unreadable:
        return clean(data.decode("cp1252", "replace"))


def clean(text: str) -> str:
    """Text without NUL and without halves of characters, which UTF-8 cannot hold."""
    text = text.replace("\0", "")
    return text if find_surrogate(text) is None else text.encode("utf-8", "replace").decode()


def _guessed(data: bytes, declared: str, marked_up: bool) -> str:
    try:
        codecs.lookup(declared)
    except LookupError:
        pass
    else:
        if declared and _harm(text := data.decode(declared, "replace")) < 0.01:
            return text  # a few broken bytes in what is otherwise as declared
    if _harm(text := data.decode("utf-8", "replace")) < 0.001:
        return text
    name = guess(_TAG.sub(b" ", data[: 4 * _SAMPLE])[:_SAMPLE] if marked_up else data) or "cp1252"
    text = data.decode(name, "replace")
    if _harm(text) > 0.1:
        raise Unreadable(f"no text in an encoding that is known; the nearest is {name}")
    return text


def guess(data: bytes) -> str | None:
    """The encoding of a text that is no UTF-8; None where nothing is likely.

    Windows-1252 where all that is beyond ASCII are its letters and signs, few among ASCII. Else what charset-normalizer
    finds, if it is installed and there are enough such bytes: of a few words it takes Latin for Baltic or Chinese.
    """
    beyond = data.translate(None, _ASCII)
    try:
        western = data.decode("cp1252")
    except UnicodeDecodeError:
        pass
    else:
        signs = {character for character in western if character > "~"}
        letters = all((sign.isalpha() and sign not in "ƒªºˆ") or sign in _SIGNS for sign in signs)
        if letters and len(beyond) <= FEW * len(data) and "\0" not in western:
            return "cp1252"
    if len(beyond) < LEAST:
        return None
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return None
    best = from_bytes(data[:_SAMPLE], cp_exclusion=_UNLIKELY).best()
    return None if best is None or best.chaos > 0.1 else str(best.encoding)


def _harm(text: str) -> float:
    """The share of characters that could not be decoded."""
    return text.count("\ufffd") / max(1, len(text))


def _zeros(head: bytes) -> str | None:
    """UTF-16 without a mark, by the zeros in the high bytes of Latin letters, digits and blanks."""
    half = len(head) // 2
    if half < 8:
        return None
    even, odd = head[: 2 * half : 2].count(0), head[1 : 2 * half : 2].count(0)
    if odd > 0.4 * half and even * 10 < odd:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 * half and odd * 10 < even else None
