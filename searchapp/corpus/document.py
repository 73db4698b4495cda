"""What flows out of the corpus room: documents, and records that could not become one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Document:
    """One thing that can be found.

    ``metadata`` holds JSON values only. ``title`` may be empty, ``text`` may not (see ``validate``).
    """

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is no document: where it stood and why it was left out.

    ``file`` is the path as the user gave it or below it; ``line`` counts from 1 (for tables: the row).
    """

    file: str
    line: int
    reason: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What a reader yields: a document or a rejection, and how far the source has been read (0 to 1)."""

    item: Document | Rejected
    progress: float
