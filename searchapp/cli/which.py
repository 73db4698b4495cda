"""Which index a search means: the first argument, also a server's address, or the only one under ``indexes/``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from searchapp.errors import SearchAppError

INDEXES = Path("indexes")
URL = re.compile(r"(?i)https?://")
LISTED = 10


def index_and_queries(words: Sequence[str]) -> tuple[Path | str, list[str], bool]:
    """The index, the queries, and whether the index was named.

    The first word is the index where it is a folder that exists or an address (which stays text), and a query
    otherwise. Raises SearchAppError where
    that leaves no index or several, and for a first word with a slash: it was meant as a path, or can be read as one.
    """
    if words:
        first = words[0]
        if URL.match(first):
            return first, list(words[1:]), True
        if first.strip() and "\0" not in first and Path(first).is_dir():
            return Path(first), list(words[1:]), True
        if "/" in first:
            raise SearchAppError(
                f"{first} does not exist; expected an index directory. A query with a slash goes after the index"
            )
    there = indexes_below(INDEXES)
    if len(there) == 1:
        return there[0], list(words), False
    if there:
        names = ", ".join(map(str, there[:LISTED])) + (" …" if len(there) > LISTED else "")
        raise SearchAppError(f"{_found(words)}{INDEXES}/ holds {len(there)} indexes: {names}; name one of them first")
    raise SearchAppError(
        f"{_found(words)}{INDEXES}/ holds no index; give an index directory first, or make one with `searchapp build`"
    )


def is_index(path: Path) -> bool:
    """Whether a folder is an index or a root of shards, told from the names in it."""
    return any(next(path.glob(f"{kind}-*.json"), None) is not None for kind in ("manifest", "root"))


def indexes_below(folder: Path) -> list[Path]:
    """The indexes right below a folder, by name."""
    try:
        return sorted(path for path in folder.iterdir() if is_index(path))
    except OSError:
        return []


def _found(words: Sequence[str]) -> str:
    return f"{words[0]!r} does not exist as an index directory, and " if words else ""
