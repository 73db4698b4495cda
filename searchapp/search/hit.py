"""What a search returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found; ``score`` is its cosine with the query (-1 to 1)."""

    id: str
    score: float
    title: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits of one query, best first, and the seconds its batch took to encode and to search."""

    query: str
    hits: tuple[Hit, ...]
    encode_seconds: float
    search_seconds: float
