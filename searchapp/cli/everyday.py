"""Ten questions as people ask them, and which docstrings of the standard library answer them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from searchapp.cli.console import plain, say, table

if TYPE_CHECKING:
    from searchapp.search import Hit, Index

DEPTH = 10  # hits that are looked through for the answer
FIRST = 3  # hits a person reads


@dataclass(frozen=True)
class Question:
    """A question, and a regular expression that the whole id of a right answer matches."""

    text: str
    right: str

    def place(self, hits: Sequence[Hit]) -> int | None:
        """The place, from 1, of the first right hit; None where there is none."""
        return next((place for place, hit in enumerate(hits, 1) if re.fullmatch(self.right, hit.id)), None)


# Written down with their answers before any of them was searched for, and not changed since.
QUESTIONS = (
    Question("make a temporary folder that is deleted by itself", r"tempfile\.TemporaryDirectory(\.\w+)?"),
    Question("pause the program for two seconds", r"time\.sleep|asyncio\.(tasks\.)?sleep"),
    Question("put the cards of a deck in random order", r"random\.(Random\.)?shuffle"),
    Question("how many bytes does a file have", r"(genericpath|os\.path|posixpath|ntpath)\.getsize"),
    Question("split a command line into words like the shell does", r"shlex(\.split|\.shlex)?"),
    Question("write a dictionary as json text", r"json(\.dumps?|\.encoder\.JSONEncoder(\.encode)?)?"),
    Question("on which day of the week was a date", r"(_pydatetime|datetime)\.date\.(iso)?weekday|calendar\.weekday"),
    Question("greatest common divisor of two whole numbers", r"math\.gcd"),
    Question("ask for a password without showing it", r"getpass(\.\w*getpass)?"),
    Question(
        "run a function in another thread and get its result later",
        r"concurrent\.futures\.(_base\.Executor|thread\.ThreadPoolExecutor)(\.submit)?|asyncio(\.\w+)?\.to_thread",
    ),
)


def ask_everyday_questions(index: Index) -> None:
    """Search for each question, and print the place of the right answer among the first hits, and how many are there.

    The index is one over ``python:stdlib``.
    """
    answers = index.answer([question.text for question in QUESTIONS], DEPTH)
    places = [question.place(answer.hits) for question, answer in zip(QUESTIONS, answers, strict=True)]
    rows = [["question", "place", "found"]]
    for question, place, answer in zip(QUESTIONS, places, answers, strict=True):
        found = answer.hits[(place or 1) - 1].id if answer.hits else "nothing"
        rows.append([question.text, str(place or "-"), plain(found) if place else f"not {plain(found)}"])
    say(table(rows))
    right = sum(place is not None and place <= FIRST for place in places)
    within = sum(place is not None for place in places)
    say(f"right in the first {FIRST}: {right} of {len(QUESTIONS)}; in the first {DEPTH}: {within}")
