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

# The first letter within is the first there is: else a quote without end takes the square of what follows it.
QUOTED = re.compile(r'"([^"\w]*\w[^"]*)"')
MOST_READ = 20_000  # documents that are read for what stands in quotes: a second or two


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
    """A filter that documents pass whose title and text have these words one after the other.

    ``rows`` are those that may: all that have each of the words, and pass what else is asked for.
    """

    def __init__(self, index: VectorIndex, phrases: Sequence[str], also: Filter | None) -> None:
        if also is not None:
            super().__init__(also.expression)
        self._index, self._phrases = index, tuple(phrases)
        self.expression = f"holds {self._phrases!r} and {also.expression if also else 'all'}"
        self.rows = _with_the_words_of(index, phrases)
        if also is not None:
            self.rows = self.rows[index.passing(also).mask[self.rows]]

    def mask(self, segments: Columns | Sequence[object], metadata: Metadata | None = None) -> np.ndarray:
        """Boolean mask over all rows."""
        mask = np.zeros(self._index.manifest.rows, dtype=bool)
        mask[_holding(self._index, self.rows, self._phrases)] = True
        return mask


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
        if len(holding.rows) > MOST_READ:
            notices.append(
                f"{shown} is not looked up: {len(holding.rows):,} documents may have it, at most {MOST_READ:,} are "
                "read; searched without the quotes"
            )
        elif index.passing(holding).count:
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


def _with_the_words_of(index: VectorIndex, phrases: Sequence[str]) -> np.ndarray:
    """The rows that have each indexed word of some phrases: all where they have none, as stop words are not indexed."""
    lexical = index.lexical
    terms = list(dict.fromkeys(term for phrase in phrases for term in lexical.analyzer.query_terms(phrase)))
    every = np.arange(index.manifest.rows, dtype=np.int64)
    rows = every if index.alive is None else np.flatnonzero(index.alive)
    for term in sorted(terms, key=lambda one: len(lexical.rows_of(one))):
        rows = np.intersect1d(rows, lexical.rows_of(term), assume_unique=True)
    return rows


def _holding(index: VectorIndex, rows: np.ndarray, phrases: Sequence[str]) -> np.ndarray:
    """Those rows of which title and text have each of these phrases, word by word."""
    analyzer = index.lexical.analyzer
    wanted = [analyzer.words(phrase) for phrase in phrases]
    kept = [
        row
        for row, text in zip(rows.tolist(), index.lexical.texts(rows), strict=True)
        if all(_runs(analyzer.words(text), phrase) for phrase in wanted)
    ]
    return np.array(kept, dtype=np.int64)


def _runs(words: list[str], phrase: list[str]) -> bool:
    """Whether the words of a phrase stand one after the other."""
    begin = 0
    while True:
        try:
            begin = words.index(phrase[0], begin) + 1
        except ValueError:
            return False
        if words[begin - 1 : begin - 1 + len(phrase)] == phrase:
            return True
