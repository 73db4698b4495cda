"""From a query in words to hits with text. All names are imported when first touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from searchapp.lazy_names import importer

if TYPE_CHECKING:
    from searchapp.search.fusion import DEFAULT, Fusion
    from searchapp.search.groups import Group, answer_groups
    from searchapp.search.highlight import Highlight, highlights
    from searchapp.search.hit import Answer, Hit, Place
    from searchapp.search.likeness import like
    from searchapp.search.mode import MODES
    from searchapp.search.options import Prepared, SearchOptions, prepare
    from searchapp.search.passage import Snippet, best_passages
    from searchapp.search.pipeline import Plan, run
    from searchapp.search.ranking import Ranking, Stage
    from searchapp.search.searcher import Index, hits_of
    from searchapp.search.typed import Typed, ranked, understood

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
    "Ranking",
    "SearchOptions",
    "Stage",
    "Typed",
    "answer_groups",
    "best_passages",
    "highlights",
    "hits_of",
    "like",
    "prepare",
    "ranked",
    "run",
    "understood",
]
__getattr__ = importer(
    __name__,
    {
        "fusion": ("DEFAULT", "Fusion"),
        "groups": ("Group", "answer_groups"),
        "highlight": ("Highlight", "highlights"),
        "hit": ("Answer", "Hit", "Place"),
        "likeness": ("like",),
        "mode": ("MODES",),
        "passage": ("Snippet", "best_passages"),
        "pipeline": ("Plan", "run"),
        "ranking": ("Ranking", "Stage"),
        "options": ("Prepared", "SearchOptions", "prepare"),
        "searcher": ("Index", "hits_of"),
        "typed": ("Typed", "ranked", "understood"),
    },
)
