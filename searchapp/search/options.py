"""How queries are to be answered: what a caller asks for, and the plan that comes of it for an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from searchapp.errors import SearchAppError
from searchapp.index import Filter, VectorIndex
from searchapp.search.fusion import Fusion
from searchapp.search.mode import chosen, meaning
from searchapp.search.pipeline import RERANKED, Plan

if TYPE_CHECKING:
    from searchapp.rerank import Reranker


@dataclass(frozen=True)
class SearchOptions:
    """How queries are answered; the default is the best the index has.

    ``mode`` says which sides answer: ``dense`` (vectors), ``bm25`` (words; no model is loaded), ``hybrid`` (both), or
    ``auto``: hybrid where the index has the words of its documents counted, else dense. ``hybrid`` is a fusion for the
    mode hybrid, or True for that mode as the index was tuned, else by default; False is the mode dense.
    ``filter`` is an expression on metadata (see ``searchapp.index.filter``), ``candidates`` the number of rows to
    rescore, ``instruction`` what the encoder puts before each query. ``rerank`` is a reranker, or the model to load one
    from (see ``searchapp.rerank``), for the best ``rerank_depth`` hits. ``literal`` searches for queries as they stand:
    words in double quotes need not occur, and no misspelt word is put right (see ``searchapp.search.typed``).
    """

    filter: str | None = None
    candidates: int | None = None
    instruction: str | None = None
    hybrid: bool | Fusion | None = None
    rerank: str | Reranker | None = None
    rerank_depth: int = RERANKED
    mode: str = "auto"
    literal: bool = False


@dataclass(frozen=True)
class Prepared:
    """How one state of an index answers: ``mode`` (dense, bm25 or hybrid), the steps, and what a hit's score is."""

    mode: str
    plan: Plan
    meaning: str


def prepare(index: VectorIndex, k: int, asked: SearchOptions, *, mode: str | None = None) -> Prepared:
    """The plan for ``k`` hits, without a reranker; ``mode`` takes the place of that which is asked for.

    Raises SearchAppError for what cannot be asked of this index.
    """
    mode, fusion = chosen(index, asked.mode if mode is None else mode, asked.hybrid)
    plan = Plan(
        k=k,
        candidates=asked.candidates,
        fusion=fusion,
        dense=mode != "bm25",
        rerank_depth=asked.rerank_depth,
        filter=Filter(asked.filter) if asked.filter else None,
    )
    return Prepared(mode, plan, meaning(mode, fusion))


def require_texts(queries: Sequence[str]) -> None:
    """Raise SearchAppError for a query that is empty or no valid Unicode."""
    for query in queries:
        if not query.strip():
            raise SearchAppError("the query is empty; give at least one word")
        require_unicode("query", query)


def require_unicode(what: str, text: str) -> None:
    """Refuse lone surrogates: what Python makes of command-line bytes that are not UTF-8, and no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SearchAppError(f"the {what} {text!r} is not valid Unicode; give it as UTF-8 text") from error
