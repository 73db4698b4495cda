"""From a query in words to hits with text."""

from __future__ import annotations

from searchapp.search.fusion import DEFAULT, Fusion
from searchapp.search.hit import Answer, Hit, Place
from searchapp.search.mode import MODES
from searchapp.search.passage import Snippet, best_passages
from searchapp.search.pipeline import Plan, run
from searchapp.search.ranking import Stage
from searchapp.search.searcher import Index, SearchOptions

__all__ = [
    "DEFAULT",
    "MODES",
    "Answer",
    "Fusion",
    "Hit",
    "Index",
    "Snippet",
    "Place",
    "Plan",
    "SearchOptions",
    "Stage",
    "best_passages",
    "run",
]
