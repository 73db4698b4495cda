"""Metadata of passages that say where they stand and what their file says of itself, by names that are reserved.

``RESERVED`` are these names; docs/how-to/documents.md explains them. What a file itself calls by such a name, and what
would be lost by that, is kept as ``source.NAME``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from searchapp.corpus.cut import CutPassage
from searchapp.corpus.formats.reading import Facts
from searchapp.corpus.formats.table import Format
from searchapp.corpus.validate import kept

RESERVED = (
    "source", "file", "mime", "title", "author", "date", "modified", "language", "section", "anchor", "page",
    "end_page", "page_label", "pages", "line", "end_line", "start", "end", "sheet", "rows", "slide", "symbol", "kind",
    "from", "to", "message_id", "thread", "time", "archive", "url",
)  # fmt: skip
TEXT = frozenset(("file", "line", "end_line", "start", "end"))  # those that every passage of a text has
_ALWAYS = frozenset(("id", "text", "title", "source", "file", "start", "end"))


def text_place(passage: CutPassage) -> dict[str, Any]:
    """Where a passage of a text stands: lines from 1, characters of the file from 0."""
    page = {} if passage.page is None else {"page": passage.page}
    return {
        "line": passage.line, "end_line": passage.end_line, "start": passage.start, "end": passage.end, **page,
    }  # fmt: skip


def file_facts(facts: Facts, format: Format, time: int) -> dict[str, Any]:
    """What all passages of a document share; ``time`` is when it was changed, in ns; 0: unknown."""
    modified = datetime.fromtimestamp(time / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time else ""
    found: dict[str, Any] = {
        "mime": facts.mime or format.mime, "author": facts.author, "date": facts.date, "modified": modified,
        "language": facts.language, "pages": facts.pages,
    }  # fmt: skip
    found = {name: value for name, value in found.items() if value not in ("", None)}
    return {**kept(facts.metadata, _ALWAYS), **found}


def document_place(passage: CutPassage, format: Format) -> dict[str, Any]:
    """Where a passage of a document stands: its page, section, anchor and what else its reader says."""
    found: dict[str, Any] = {"section": " > ".join(passage.headings), "anchor": passage.anchor, "page": passage.page}
    if passage.end_page is not None and passage.end_page != passage.page:
        found["end_page"] = passage.end_page
    found = {name: value for name, value in found.items() if value not in ("", None)}
    if format.has_lines:
        found |= {"line": passage.line, "end_line": passage.end_line}
    return {"start": passage.start, "end": passage.end, **found, **kept(passage.where or {}, _ALWAYS)}
