"""The format of the manifest, and the steps that bring what older versions wrote to it, one for each number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from searchapp.errors import IndexStoreError

FORMAT = 3


def migrate(content: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return a manifest's content in the present format; raises IndexStoreError for one that is newer, or none.

    Files stay as they are: an index is in the new format once it is next written.
    """
    found = content.get("format")
    if not isinstance(found, int) or found < 1:
        raise IndexStoreError(f"{root} has index format {found!r}, expected a number from 1; build it again")
    if found > FORMAT:
        by = content.get("versions", {}).get("searchapp", "of a newer version")
        raise IndexStoreError(
            f"{root} has index format {found}, this searchapp reads formats 1 to {FORMAT}; "
            f"use the searchapp that wrote it ({by}) or a newer one, or build into another directory"
        )
    while content["format"] < FORMAT:
        content = STEPS[content["format"]](content)
    return content


def _from_1(content: dict[str, Any]) -> dict[str, Any]:
    """Format 2 has updates: tombstones, adds, marks of the documents, drift."""
    new: dict[str, Any] = {"tombstones": None, "additions": [], "staged": None, "drift": None}
    return {**content, **new, "format": 2}


def _from_2(content: dict[str, Any]) -> dict[str, Any]:
    """Format 3 has a ledger of files, named sources, and ids of what a passage says; those before it are scheme 1."""
    new: dict[str, Any] = {"scheme": 1, "cut": None, "sources": [], "ledger": []}
    return {**content, **new, "format": 3}


STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1, 2: _from_2}
