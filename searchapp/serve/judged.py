"""Folders with judgements that several people and programs write to at once, each judgement on disk before it is said.

The class behind it is that of ``searchapp evaluate judge``; where another program has written meanwhile, its
judgements are read first, so that both go on with each other's work.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from searchapp.errors import SearchAppError
from searchapp.evaluate.judging import LEVELS, Judging
from searchapp.serve.judged_figures import JudgedFigures
from searchapp.serve.problem import ProblemError

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Open:
    """A pair that waits for a judgement, and how many wait and were judged."""

    pair: tuple[str, str] | None
    text: str
    left: int
    judged: int


class Judged:
    """One folder. Safe between threads."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder
        self._lock = threading.Lock()
        self._judging: Judging | None = None
        self._stamp: Stamp = ()
        self.figures = JudgedFigures()

    def next(self, after: tuple[str, str] | None = None) -> Open:
        """The next pair to judge: the first of those left, or the first after another one, from the end to the start.

        Raises EvaluationError for a folder that cannot be read.
        """
        with self._lock:
            judging = self._read()
            left = judging.left()
            pair = left[0] if left else None
            if after is not None and after in judging.pairs and left:
                place = {one: number for number, one in enumerate(judging.pairs)}
                pair = next((one for one in left if place[one] > place[after]), left[0])
            text = judging.queries.get(pair[0], "") if pair else ""
            return Open(pair, text, len(left), judging.judged())

    def judge(self, query: str, document: str, level: int | None, text: str | None = None) -> Open:
        """Keep a judgement, or with None take it back; returns what is left.

        With ``text`` a pair that is not in the pool is put into it. Raises ProblemError for a level or a pair that is
        not there, and EvaluationError where it cannot be written.
        """
        if level is not None and level not in LEVELS:
            raise ProblemError(400, f"level is {level}; expected {', '.join(map(str, LEVELS))} or null", param="level")
        if text is not None and not text.strip():
            raise ProblemError(400, "text is empty; expected the words of the query", param="text")
        with self._lock:
            judging = self._read()
            pair = query or (_named(judging, text) if text is not None else ""), document
            query = pair[0]
            if text is None and pair not in judging.pairs:
                raise ProblemError(
                    404, f"the pool has no query {query[:99]!r} with document {document[:99]!r}; give the query's text",
                    param="query",
                )  # fmt: skip
            try:
                if text is not None:
                    judging.extend(pair, text)
                if level is None:
                    judging.retract(pair)
                else:
                    judging.judge(pair, level)
            except SearchAppError:
                self._judging = None  # it has what the folder has not
                raise
            judging.said.clear()
            self._stamp = self._stamped()
            left = len(judging.left())
            return Open(pair, judging.queries.get(query, ""), left, judging.judged())

    def levels(self, text: str) -> tuple[str, dict[str, int]]:
        """The id of a query with this text, and the judgements it has; "" and none where there is no such query."""
        with self._lock:
            judging = self._read()
            found = next((name for name, other in judging.queries.items() if other == text), "")
            return found, dict(judging.qrels.get(found, {}))

    def all(self) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
        """The texts of the queries by id, and all judgements: copies, which later ones do not change."""
        with self._lock:
            judging = self._read()
            return dict(judging.queries), {query: dict(levels) for query, levels in judging.qrels.items()}

    def _read(self) -> Judging:
        """The folder as it stands."""
        if self._judging is None or self._stamp != self._stamped():
            self._judging = None  # not to be taken for the folder where that cannot be read
            stamp = self._stamped()
            self._judging = Judging.open(self._folder)
            self._stamp = stamp
        return self._judging

    def _stamped(self) -> Stamp:
        found = []
        for path in (self._folder / "qrels" / "test.tsv", self._folder / "pool.jsonl", self._folder / "queries.jsonl"):
            try:
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
            except OSError:
                found.append((0, 0, 0))
        return tuple(found)


def _named(judging: Judging, text: str) -> str:
    """The id of the query with a text, or a free one."""
    for name, other in judging.queries.items():
        if other == text:
            return name
    number = len(judging.queries) + 1
    while f"q{number}" in judging.queries:
        number += 1
    return f"q{number}"
