"""Checks on strings that Python holds and UTF-8 cannot: a lone surrogate stands for no character."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def find_surrogate(text: str) -> int | None:
    r"""The position, from 0, of the first lone surrogate; None where the text is valid Unicode.

    JSON can spell one (``"\ud800"``), and Python makes them of command-line bytes that are not UTF-8.
    """
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return None


def json_bytes(text: str) -> bytes:
    """Encode JSON as UTF-8, lone surrogates as escapes: so a path that is not UTF-8 comes back as it was."""
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode("utf-8")
