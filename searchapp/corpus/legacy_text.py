"""Texts in the encodings of before Unicode, told by their bytes. What nothing tells stays refused."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from searchapp.corpus.formats.charsets import guess

LARGEST = 64_000_000  # bytes of a text of which the encoding is looked for


class LegacyText:
    """The lines of a text file that is no UTF-8, decoded by its likely ``encoding``."""

    def __init__(self, text: str, encoding: str) -> None:
        self._text, self.encoding = text, encoding

    def lines(self) -> Iterator[tuple[int, str]]:
        """Numbers from 1 and texts, with line feeds at their ends."""
        return enumerate(io.StringIO(self._text, newline=None), 1)


def legacy_text(path: Path) -> LegacyText | None:
    """The text of a file that is no UTF-8; None where its encoding is not told by its bytes, or it cannot be read."""
    try:
        if path.stat().st_size > LARGEST:
            return None
        data = path.read_bytes()
        encoding = guess(data)
        text = "" if encoding is None else data.decode(encoding)
    except (OSError, UnicodeDecodeError, LookupError):
        return None
    return LegacyText(text, encoding) if encoding is not None and "\0" not in text else None
