"""Lists that the user gives, one entry a line: queries and ids."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from searchapp.errors import SearchAppError


def listed(path: Path, option: str, entry: str) -> list[str]:
    """The lines of a file that are not blank, without their ends.

    Raises SearchAppError where it cannot be read, is no Unicode text or holds a NUL.
    """
    from searchapp.corpus.decoding import Unreadable, text_lines

    expected = f"give a text file in UTF-8, {entry} a line"
    try:
        with path.open("rb") as file:
            return [text for _, text in text_lines(file)]
    except (OSError, Unreadable) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SearchAppError(f"{option} {path} cannot be read: {reason}; {expected}") from error


def input_lines() -> list[str]:
    """The lines of standard input that are not blank, whatever encoding the terminal is set to.

    Raises SearchAppError where it is no Unicode text or holds a NUL.
    """
    from searchapp.corpus.decoding import Unreadable, text_lines

    given = getattr(sys.stdin, "buffer", None) or io.BytesIO(sys.stdin.read().encode("utf-8", "surrogatepass"))
    try:
        return [text for _, text in text_lines(given)]
    except Unreadable as error:
        raise SearchAppError(f"standard input: {error}; give the queries as UTF-8 text, one a line") from error
