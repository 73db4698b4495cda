"""What a search returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from searchapp.html_table import html_table


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document stood in one stage of a search: its rank from 1, and its score there.

    The rank is None where the stage was not asked so deep, and the score was looked up because the other side of a
    hybrid search had found the document.
    """

    rank: int | None
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found.

    ``score`` is that of the last stage: a cosine (-1 to 1) in a dense search, BM25 (0 and up) in a search by words, and
    in a hybrid one what ``Answer.meaning`` says.

    ``stage`` names that stage, ``places`` says where the document stood in each one that had it (see
    ``searchapp.search.Stage`` for their names).
    """

    id: str
    score: float
    title: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    stage: str = "exact"
    places: Mapping[str, Place] = field(default_factory=dict)


class Hits(list[Hit]):
    """Hits, best first, as a list that notebooks show as a table; ``pandas.DataFrame(hits)`` takes it.

    >>> Hits([Hit("a", 0.5, "", "some text")])._repr_html_()  # doctest: +ELLIPSIS
    '<table><tr><th></th><th>score</th><th>id</th>...<td>some text</td><td></td></tr></table>'
    """

    def _repr_html_(self) -> str:
        return _as_html(self)


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits of one query, best first, and the seconds its batch took to encode, to search and to rerank.

    ``mode`` is how it was answered: dense, bm25 or hybrid. ``meaning`` says in words what the hits' scores are.
    ``notices`` say where something else was searched for than what the query says, and ``words`` is that: what BM25 was
    asked, and what is to be marked in the hits.
    """

    query: str
    hits: tuple[Hit, ...]
    encode_seconds: float
    search_seconds: float
    rerank_seconds: float = 0.0
    mode: str = "dense"
    meaning: str = "cosine"
    notices: tuple[str, ...] = ()
    words: str = ""

    def _repr_html_(self) -> str:
        return _as_html(self.hits)


def _as_html(hits: Sequence[Hit]) -> str:
    head = ("", "score", "id", "title", "text", "metadata")
    rows = ((rank, hit.score, hit.id, hit.title, hit.text, hit.metadata) for rank, hit in enumerate(hits, 1))
    return html_table(head, rows)
