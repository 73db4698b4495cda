"""Queries as people type them: words in double quotes must occur as they stand, and misspelt words are put right.

No other sign is an operator, so that code can be asked for. Every way to ask an index (Python, the commands, the
server, assistants) has ``understood`` say what is meant, and ``ranked`` search for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from searchapp.index import Filter, VectorIndex
from searchapp.progress import Progress
from searchapp.search.pipeline import Plan, run
from searchapp.search.ranking import Ranking
from searchapp.search.spelling import is_known, respelt

if TYPE_CHECKING:
    from searchapp.index.columns import Columns
    from searchapp.index.comparison import Metadata

QUOTED = re.compile(r'"([^"]*\w[^"]*)"')


@dataclass(frozen=True)
class Typed:
    """A query as it is searched for: ``text`` by its vector, ``words`` by BM25, among what ``filter`` lets pass.

    ``notices`` say how that differs from what was typed.
    """

    text: str
    words: str
    filter: Filter | None = None
    notices: tuple[str, ...] = ()


class Holding(Filter):
    """A filter that documents pass whose title and text have these words one after the other, and that pass another."""

    def __init__(self, index: VectorIndex, phrases: Sequence[str], also: Filter | None) -> None:
        if also is not None:
            super().__init__(also.expression)
        self._index, self._phrases, self._also = index, tuple(phrases), also
        self.expression = f"holds {self._phrases!r} and {also.expression if also else 'all'}"

    def mask(self, segments: Columns | Sequence[object], metadata: Metadata | None = None) -> np.ndarray:
        """Boolean mask over all rows."""
        mask = np.zeros(self._index.manifest.rows, dtype=bool)
        mask[_holding(self._index, self._phrases)] = True
        return mask if self._also is None else mask & self._also.mask(segments, metadata)


def understood(index: VectorIndex, query: str, plan: Plan, *, literal: bool = False) -> Typed:
    """What is searched for by a plan where this was typed; with ``literal`` what was typed.

    Raises SearchAppError for a filter on a key that there is not.
    """
    filter = plan.filter
    if literal or index.manifest.lexical is None:
        return Typed(query, query, filter)
    if index.is_remote:  # its words and texts lie on other machines
        plain = QUOTED.sub(r"\1", query)
        said = () if plain == query else ("over machines quotes are not looked up; searched without them",)
        return Typed(plain, plain, filter, said)
    notices: list[str] = []
    phrases = _phrases(index, query)
    if phrases:
        holding = Holding(index, phrases, filter)
        shown = " and ".join(f'"{phrase}"' for phrase in phrases)
        if index.passing(holding).count:
            filter = holding
            notices.append(f"only documents with {shown} as it stands")
        else:
            notices.append(f"no document has {shown} as it stands; searched without the quotes")
        query = QUOTED.sub(r"\1", query)
    words = query
    if plan.fusion is not None and not phrases:
        found = respelt(index.lexical, query)
        words = found.query
        if found.words:
            unknown = ", ".join(repr(typed) for typed, _ in found.words)
            meant = ", ".join(repr(meant) for _, meant in found.words)
            verb = "is" if len(found.words) == 1 else "are"
            notices.append(f"searched for {meant}: {unknown} {verb} in no document")
    return Typed(query, words, filter, tuple(notices))


def spoken(index: VectorIndex, query: str, *, literal: bool = False) -> str:
    """``Typed.text`` of a query by itself: what its vector is made of. No document is read for it."""
    if literal or index.manifest.lexical is None or not (index.is_remote or _phrases(index, query)):
        return query
    return QUOTED.sub(r"\1", query)


def is_plain(index: VectorIndex, query: str, plan: Plan, *, literal: bool = False) -> bool:
    """Whether a query is certain to be searched for as it stands, which ``understood`` then says at once."""
    if literal or index.manifest.lexical is None:
        return True
    if index.is_remote:
        return QUOTED.search(query) is None
    return not _phrases(index, query) and (plan.fusion is None or is_known(index.lexical, query))


def ranked(
    index: VectorIndex,
    queries: Sequence[Typed],
    vectors: np.ndarray | None,
    plan: Plan,
    progress: Progress | None = None,
) -> list[Ranking]:
    """Take the steps of a plan for queries: those together that are searched among the same documents.

    ``vectors`` (n, dim) are those of the queries' texts; see ``run``.
    """
    found: dict[int, Ranking] = {}
    for numbers in _alike(queries):
        words, those = [queries[number].words for number in numbers], None if vectors is None else vectors[numbers]
        stages = run(index, words, those, replace(plan, filter=queries[numbers[0]].filter), progress)
        found |= {number: Ranking(stages, place) for place, number in enumerate(numbers)}
    return [found[number] for number in range(len(queries))]


def _alike(queries: Sequence[Typed]) -> list[list[int]]:
    """The numbers of the queries, those together that are searched among the same documents."""
    groups: dict[str, list[int]] = {}
    for number, one in enumerate(queries):
        groups.setdefault(one.filter.expression if one.filter is not None else "", []).append(number)
    return list(groups.values())


def _phrases(index: VectorIndex, query: str) -> list[str]:
    """What stands in double quotes and has words."""
    if '"' not in query:
        return []
    return [found for found in QUOTED.findall(query) if index.lexical.analyzer.words(found)]


def _holding(index: VectorIndex, phrases: Sequence[str]) -> np.ndarray:
    """The rows of which title and text have each of these phrases, word by word."""
    lexical = index.lexical
    analyzer = lexical.analyzer
    wanted = [analyzer.words(phrase) for phrase in phrases]
    terms = list(dict.fromkeys(term for phrase in phrases for term in analyzer.query_terms(phrase)))
    every = np.arange(index.manifest.rows, dtype=np.int64)
    rows = every if index.alive is None else np.flatnonzero(index.alive)
    for term in sorted(terms, key=lambda one: len(lexical.rows_of(one))):
        rows = np.intersect1d(rows, lexical.rows_of(term), assume_unique=True)
    kept = [
        row
        for row, text in zip(rows.tolist(), lexical.texts(rows), strict=True)
        if all(_runs(analyzer.words(text), phrase) for phrase in wanted)
    ]
    return np.array(kept, dtype=np.int64)


def _runs(words: Sequence[str], phrase: Sequence[str]) -> bool:
    """Whether the words of a phrase stand one after the other."""
    first, size, begin = phrase[0], len(phrase), 0
    while first in words[begin:]:
        begin = words.index(first, begin)
        if list(words[begin : begin + size]) == list(phrase):
            return True
        begin += 1
    return False
