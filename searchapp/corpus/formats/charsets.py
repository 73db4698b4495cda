"""The text of bytes in any encoding: by a mark, as valid UTF-8, as declared, or as it looks."""

from __future__ import annotations

import codecs
import re

from searchapp.corpus.formats.reading import Unreadable

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SEVEN_BITS = ("iso-2022", "hz")  # declared encodings whose bytes are valid UTF-8 as well
_SAMPLE = 1 << 16
# What browsers take these for (WHATWG, Encoding).
_MEANT = {"iso-8859-1": "cp1252", "latin-1": "cp1252", "latin1": "cp1252", "ascii": "cp1252", "us-ascii": "cp1252",
          "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "shift-jis": "cp932", "x-sjis": "cp932",
          "euc-kr": "cp949", "ks_c_5601-1987": "cp949", "iso-8859-9": "cp1254", "tis-620": "cp874"}  # fmt: skip
# Encodings that hardly any file is in, and whose bytes look like any text's.
_UNLIKELY = ["utf_7", "cp037", "cp273", "cp424", "cp500", "cp875", "cp1026", "cp1140", "hp_roman8", "utf_16", "utf_32",
             "utf_16_be", "utf_16_le", "utf_32_be", "utf_32_le"]  # fmt: skip
_TAG = re.compile(rb"<[^>]*>")


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
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        best = None
    else:
        sample = _TAG.sub(b" ", data[: 4 * _SAMPLE])[:_SAMPLE] if marked_up else data[:_SAMPLE]
        best = from_bytes(sample, cp_exclusion=_UNLIKELY).best()
    name = "cp1252" if best is None else best.encoding
    text = data.decode(name, "replace")
    if _harm(text) > 0.1:
        raise Unreadable(f"no text in an encoding that is known; the nearest is {name}")
    return text


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
