"""From a query in words to hits with text."""

from __future__ import annotations

from searchapp.search.hit import Answer, Hit
from searchapp.search.index import Index
from searchapp.search.passage import Passage, best_passages

__all__ = ["Answer", "Hit", "Index", "Passage", "best_passages"]
