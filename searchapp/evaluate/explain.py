"""Why a document has the score and the rank it has: step by step, and word by word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from searchapp.corpus import passage_of
from searchapp.encoder import Encoder
from searchapp.errors import EvaluationError
from searchapp.evaluate.protocol import ids_of, present
from searchapp.index import VectorIndex
from searchapp.search import Plan, ranked, understood

WORD = re.compile(r"\S+")
DEPTH = 1_000
SPANS = 64


@dataclass(frozen=True)
class Step:
    """One step of the search: the document's rank and score in it, None where it did not come so far."""

    stage: str
    rank: int | None
    score: float | None
    width: int


@dataclass(frozen=True)
class Span:
    """A stretch of the text, ``text[start:end]``; ``effect`` is how much the cosine falls when it is taken out."""

    start: int
    end: int
    effect: float


@dataclass(frozen=True)
class Explanation:
    """``score`` is the exact cosine of query and document, ``rank`` its place among all ``documents`` by that.

    ``text`` is what was embedded, title first; ``base`` its cosine as encoded now, from which the spans' effects are
    counted. ``terms`` are the query's, with what each adds to the document's BM25 score, where BM25 took part.
    ``notices`` say where something else was searched for than the query says.
    """

    query: str
    document: str
    score: float
    rank: int
    documents: int
    steps: tuple[Step, ...]
    text: str
    base: float
    spans: tuple[Span, ...]
    terms: tuple[tuple[str, float], ...] = ()
    notices: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        words = [{"text": self.text[one.start : one.end], **asdict(one)} for one in self.spans]
        return {
            "setting": {"query": self.query, "document": self.document, "documents": self.documents},
            "metrics": {
                name: {"value": value, "low": value, "high": value}  # one query says nothing of a spread
                for name, value in (("score", self.score), ("rank", self.rank))
            },
            "stages": [asdict(step) for step in self.steps],
            "words": words,
            "terms": [{"term": term, "score": score} for term, score in self.terms],
            "notices": list(self.notices),
        }


def explain(
    index: VectorIndex,
    encoder: Encoder,
    query: str,
    document: str,
    plan: Plan,
    *,
    instruction: str | None = None,
    spans: int = SPANS,
    literal: bool = False,
) -> Explanation:
    """Follow a document through the steps of a plan, and take its words out one after the other.

    The text is cut into at most ``spans`` stretches of whole words. The query is searched for as ``Index.search`` does;
    with ``literal`` as it stands. Raises EvaluationError for an id that is not in the index.
    """
    ids = ids_of(index)
    found = np.flatnonzero(ids == document)
    if len(found) == 0:
        raise EvaluationError(
            f"{index.snapshot.root} holds no document {document!r}; give an id as `searchapp search` shows it"
        )
    row = int(found[-1])
    typed = understood(index, query, plan, literal=literal)
    vectors = encoder.encode_queries([typed.text], instruction)
    score, rank = _exact(index, vectors[0], row, ids)
    stages = ranked(index, [typed], vectors, plan)[0].stages
    steps = tuple(Step(one.name, one.rank(0, row), one.score(0, row), one.width) for one in stages)
    text = passage_of(index.rows.read(row))
    base, effects = _effects(encoder, vectors[0], text, spans)
    terms = tuple(index.lexical.contributions(typed.words, row)) if plan.fusion is not None else ()
    count = int(present(ids).sum())
    return Explanation(query, document, score, rank, count, steps, text, base, effects, terms, typed.notices)


def _exact(index: VectorIndex, query: np.ndarray, row: int, ids: np.ndarray) -> tuple[float, int]:
    """The document's cosine, and how many documents have a higher one, or the same and stand before it, plus one."""
    mine = float(index.vectors.gather(np.array([row]))[0] @ query)
    there = present(ids)
    better = begin = 0
    for block in index.vectors.blocks():
        rows = np.arange(begin, begin + len(block))
        scores = block @ query
        near = np.isclose(scores, mine, rtol=0, atol=1e-6)  # a product's last digits depend on the block
        ahead = np.where(near, rows < row, scores > mine)
        better += int((ahead & there[rows]).sum())
        begin += len(block)
    return mine, better + 1


def _effects(encoder: Encoder, query: np.ndarray, text: str, spans: int) -> tuple[float, tuple[Span, ...]]:
    places = cut(text, spans)
    variants = [(text[:start].rstrip() + " " + text[end:].lstrip()).strip() for start, end in places]
    scores = (encoder.encode_documents([text, *variants]) @ query).tolist()
    effects = tuple(Span(*place, scores[0] - score) for place, score in zip(places, scores[1:], strict=True))
    return scores[0], effects


def cut(text: str, most: int) -> list[tuple[int, int]]:
    """Cut a text into at most ``most`` stretches of about equally many whole words: (start, end) of each."""
    words = [match.span() for match in WORD.finditer(text)]
    if not words or most < 1:
        return []
    bounds = np.linspace(0, len(words), min(most, len(words)) + 1).round().astype(int)
    return [(words[first][0], words[last - 1][1]) for first, last in zip(bounds, bounds[1:], strict=False)]


def shades(spans: Sequence[Span]) -> list[int]:
    """How strongly each span speaks for the document (1, 2) or against it (-1); 0: hardly at all."""
    most = max((span.effect for span in spans), default=0.0)
    least = max(most, -min((span.effect for span in spans), default=0.0), 1e-9)
    found = []
    for span in spans:
        share = span.effect / least
        found.append(2 if share > 0.5 else 1 if share > 0.2 else -1 if share < -0.2 else 0)
    return found
