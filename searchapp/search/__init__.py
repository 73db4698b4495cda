"""From a query in words to hits with text."""

from __future__ import annotations

from searchapp.search.fusion import DEFAULT, Fusion
from searchapp.search.groups import Group, answer_groups
from searchapp.search.highlight import Highlight, highlights
from searchapp.search.hit import Answer, Hit, Place
from searchapp.search.like import like
from searchapp.search.mode import MODES
from searchapp.search.options import Prepared, SearchOptions, prepare
from searchapp.search.passage import Snippet, best_passages
from searchapp.search.pipeline import Plan, run
from searchapp.search.ranking import Stage
from searchapp.search.searcher import Index, hits_of

__all__ = [
    "DEFAULT",
    "MODES",
    "Answer",
    "Fusion",
    "Group",
    "Highlight",
    "Hit",
    "Index",
    "Snippet",
    "Place",
    "Prepared",
    "Plan",
    "SearchOptions",
    "Stage",
    "answer_groups",
    "best_passages",
    "highlights",
    "hits_of",
    "like",
    "prepare",
    "run",
]
