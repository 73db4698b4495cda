"""Names that passages have for what they say of themselves: ``RESERVED``; docs/how-to/documents.md explains them.

What a file itself calls by such a name, and what would be lost by that, is kept as ``source.NAME``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RESERVED = (
    "source", "file", "mime", "title", "author", "date", "modified", "language", "section", "anchor", "page",
    "end_page", "page_label", "pages", "line", "end_line", "start", "end", "sheet", "rows", "slide", "symbol", "kind",
    "from", "to", "message_id", "thread", "time", "archive", "url",
)  # fmt: skip
TEXT = frozenset(("file", "line", "end_line", "start", "end"))  # those that every passage of a text has


def kept(own: Mapping[str, Any], taken: frozenset[str]) -> dict[str, Any]:
    """A file's own metadata, those whose names are taken as ``source.NAME``: again so, where it has that name too."""
    found: dict[str, Any] = {}
    for name, value in own.items():
        if name in taken:
            name = f"source.{name}"
            while name in own:
                name = f"source.{name}"
        found[name] = value
    return found
