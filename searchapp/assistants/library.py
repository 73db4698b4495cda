"""What the tools ask: indexes by name, and searches of them. ``local`` and ``hosted`` are the two there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from searchapp.search import Hit, Typed
    from searchapp.search.passage import Snippet
    from searchapp.serve.served import State

Payload = dict[str, Any]  # an answer, as an object of JSON


@dataclass(frozen=True)
class Found:
    """Hits of a query, best first; how they were found (dense, bm25 or hybrid), and what there is to say of it.

    ``typed`` is what was searched for.
    """

    hits: Sequence[Hit]
    mode: str
    typed: Typed
    notes: list[str] = field(default_factory=list)


class Library(Protocol):
    """Used from several threads at once. ``deadline`` is by ``time.monotonic``."""

    @property
    def roots(self) -> Mapping[str, Path]:
        """The directory of each index by its name, in the order they were given. No answer has the directories."""

    def state(self, name: str, deadline: float) -> State:
        """The newest state of an index. Raises ToolError where there is none, and when to come again."""

    def failure(self, name: str) -> str | None:
        """Why the newest state of an index is not the one that answers, if so."""

    def find(self, state: State, query: str, k: int, filter: str | None, deadline: float) -> Found:
        """The k best hits of a query. Raises ToolError, ProblemError and SearchAppError."""

    def passages(self, found: Found, state: State, texts: Sequence[str], deadline: float) -> list[Snippet]:
        """For each text the passage that answers the query best."""


@dataclass(frozen=True)
class Call:
    """A call of a tool: the values of its arguments, notes on them, and what it may ask.

    ``indexes`` are the names there are; ``folders`` is where the files of an index stand now, for some of them.
    """

    library: Library
    indexes: Sequence[str]
    values: dict[str, Any]
    notes: list[str]
    deadline: float
    folders: Mapping[str, Path] = field(default_factory=dict)
