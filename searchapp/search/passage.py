"""The part of a document that answers a query best, by the same encoder that found the document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from searchapp.encoder import Encoder

SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|\n\s*\n")
LENGTH = 280  # characters a passage is packed up to
MOST = 24  # passages of one document that are compared; the rest of a long text is left unread
LONGEST = 4 * LENGTH


@dataclass(frozen=True, slots=True)
class Snippet:
    """A stretch of a text: ``text[start:end]``, white space at its ends left out."""

    start: int
    end: int


def split(text: str) -> list[Snippet]:
    """Cut a text at sentence ends into passages of about ``LENGTH`` characters that cover all of its words."""
    cuts = [0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]
    pieces: list[tuple[int, int]] = []
    for start, end in zip(cuts, cuts[1:], strict=False):
        while end - start > LONGEST:  # a "sentence" of no end: code, tables, other scripts
            middle = text.rfind(" ", start + 1, start + LENGTH)
            middle = middle + 1 if middle > start else start + LENGTH
            pieces.append((start, middle))
            start = middle
        pieces.append((start, end))
    packed: list[tuple[int, int]] = []
    for start, end in pieces:
        if packed and end - packed[-1][0] <= LENGTH:
            packed[-1] = (packed[-1][0], end)
        else:
            packed.append((start, end))
    return [passage for pair in packed if (passage := _trim(text, *pair)) is not None]


def _trim(text: str, start: int, end: int) -> Snippet | None:
    piece = text[start:end]
    stripped = piece.strip()
    if not stripped:
        return None
    begin = start + piece.index(stripped[0])
    return Snippet(begin, begin + len(stripped))


def sentences(text: str, passage: Snippet) -> list[Snippet]:
    """The sentences of a passage, in order; they cover all of its words."""
    piece = text[passage.start : passage.end]
    cuts = [0, *(match.end() for match in SENTENCE_END.finditer(piece)), len(piece)]
    pairs = [(passage.start + start, passage.start + end) for start, end in zip(cuts, cuts[1:], strict=False)]
    return [found for pair in pairs if (found := _trim(text, *pair)) is not None]


def best_passages(encoder: Encoder, query: str, texts: Sequence[str]) -> list[Snippet]:
    """For each text its passage with the highest cosine to the query; a short text is its own passage."""
    return Judge(encoder, query).best(texts, [split(text)[:MOST] or [Snippet(0, len(text))] for text in texts])


class Judge:
    """Says which part of a text is closest to a query; the query is encoded once, and only where there is a choice."""

    def __init__(self, encoder: Encoder, query: str) -> None:
        self._encoder = encoder
        self._query = query

    @cached_property
    def _question(self) -> np.ndarray:
        found: np.ndarray = self._encoder.encode_queries([self._query])[0]
        return found

    def best(self, texts: Sequence[str], parts: Sequence[Sequence[Snippet]]) -> list[Snippet]:
        """For each text the one of its parts, of which it has at least one, with the highest cosine to the query."""
        flat = [
            text[part.start : part.end]
            for text, several in zip(texts, parts, strict=True)
            if len(several) > 1
            for part in several
        ]
        if not flat:
            return [several[0] for several in parts]
        scores = iter((self._encoder.encode_documents(flat) @ self._question).tolist())
        return [max(several, key=lambda _: next(scores)) if len(several) > 1 else several[0] for several in parts]
