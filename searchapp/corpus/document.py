"""What flows out of the corpus room: documents, and records that could not become one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

JOINER = " "


@dataclass(frozen=True, slots=True)
class Document:
    """One thing that can be found.

    ``metadata`` holds JSON values only. Title and text are not both blank (see ``validate``): many collections have
    documents of which only the title is known. ``place`` is the file and line it was read from; it is not stored.
    ``vector`` float32 (dim,) is what stands for it in place of what a model makes of its text; None: nothing does. A
    document with one may be without title and text.
    """

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    place: tuple[str, int] = field(default=("", 0), compare=False, repr=False)
    vector: np.ndarray | None = field(default=None, compare=False, repr=False)


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


def passage_of(document: Document) -> str:
    """What is embedded, counted and reranked of a document: its title, a space, its text."""
    return joined(document.title, document.text)


def joined(title: str, text: str) -> str:
    """``passage_of`` a title and a text."""
    return f"{title}{JOINER}{text}" if title else text
