"""What the indexes that are served are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from searchapp.errors import SearchAppError


def named_indexes(given: Sequence[str]) -> dict[str, Path]:
    """Index directories by name, from ``NAME=DIRECTORY`` or a directory, whose last part is its name.

    Raises SearchAppError where two have one name, or there is no index.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, equals, place = text.partition("=")
        if not equals or "/" in name:
            name, place = "", text
        path = Path(place)
        name = name or path.resolve().name
        if not path.is_dir():
            raise SearchAppError(f"{place} is no directory; give the directory of an index")
        if name in found:
            raise SearchAppError(f"two indexes are named {name!r}; name them apart, as in {name}2={place}")
        if not name.isprintable() or "/" in name:
            raise SearchAppError(f"{name!r} cannot name an index; give another as in NAME={place}")
        found[name] = path
    return found
