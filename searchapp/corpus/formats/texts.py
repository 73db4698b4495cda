"""Bytes and strings of others as text that can be stored."""

from __future__ import annotations

from searchapp.unicode import find_surrogate


def decoded(data: bytes, declared: str | None = None) -> str:
    """The text of bytes: by their mark, as declared, as UTF-8, else as Latin letters of Windows.

    A declaration that is wrong or unknown does not count.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return clean(data.decode("utf-16", "replace"))
    for name in (declared, "utf-8-sig"):
        try:
            return clean(data.decode(name or "utf-8-sig"))
        except (LookupError, ValueError):
            continue
    return clean(data.decode("cp1252", "replace"))


def clean(text: str) -> str:
    """Text without NUL and without halves of characters, which UTF-8 cannot hold."""
    text = text.replace("\0", "")
    return text if find_surrogate(text) is None else text.encode("utf-8", "replace").decode()
