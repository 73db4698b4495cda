"""The part of a document that answers a query best, by the encoder that found the document and by words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from searchapp.encoder import Encoder
from searchapp.index.lexical.analyzer import Analyzer

SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|\n\s*\n")
LENGTH = 280  # characters a passage is packed up to
WORDS = 0.5  # what the share of the query's terms counts beside the cosine; docs/log.md, 2026-11-30, says why
NEARLY = 0.15  # how far below the best share a part is still encoded: it costs a quarter, and is right as often
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


def best_passages(
    encoder: Encoder, query: str, texts: Sequence[str], analyzer: Analyzer | None = None
) -> list[Snippet]:
    """For each text its passage that fits a query best, as a ``Judge`` has it; a short text is its own passage.

    ``analyzer`` is that of the index's words (default: English).
    """
    judge = Judge(encoder, analyzer or Analyzer(), query)
    return judge.best(texts, [split(text)[:MOST] or [Snippet(0, len(text))] for text in texts])


class Judge:
    """Says which part of a text fits a query best: by its cosine, plus ``WORDS`` times the share of terms it has.

    The terms are those of the query, as the analyzer makes them. Only parts whose share is within ``NEARLY`` of the
    best one are encoded; the query once, and only where there is a choice. Without an encoder the words alone decide.
    """

    def __init__(self, encoder: Encoder | None, analyzer: Analyzer, query: str) -> None:
        self._encoder = encoder
        self._analyzer = analyzer
        self._query = query
        self._question: np.ndarray | None = None
        self._asked = frozenset(analyzer.query_terms(query))

    def _cosines(self, texts: Sequence[str]) -> list[float]:
        if self._encoder is None:
            return [0.0] * len(texts)
        if self._question is None:
            self._question = self._encoder.encode_queries([self._query])[0]
        found: list[float] = (self._encoder.encode_documents(list(texts)) @ self._question).tolist()
        return found

    def best(self, texts: Sequence[str], parts: Sequence[Sequence[Snippet]]) -> list[Snippet]:
        """For each text the first of the best of its parts, of which it has at least one."""
        chosen = [self._worth_reading(text, several) for text, several in zip(texts, parts, strict=True)]
        flat = [
            text[part.start : part.end]
            for text, several in zip(texts, chosen, strict=True)
            if len(several) > 1
            for part in several
        ]
        if not flat:
            return [next(iter(several)) for several in chosen]
        cosines = iter(self._cosines(flat))
        found = []
        for several in chosen:
            close = [next(cosines) if len(several) > 1 else 0.0 for _ in several]
            scores = [cosine + WORDS * share for cosine, share in zip(close, several.values(), strict=True)]
            found.append(list(several)[scores.index(max(scores))])
        return found

    def _worth_reading(self, text: str, parts: Sequence[Snippet]) -> dict[Snippet, float]:
        """The parts that have the most of the query's terms, or nearly, and their share; the others are not encoded."""
        if len(parts) == 1:
            return {parts[0]: 0.0}
        shares = {part: self._share(text[part.start : part.end]) for part in parts}
        least = max(shares.values()) - NEARLY
        return {part: share for part, share in shares.items() if share >= least}

    def _share(self, text: str) -> float:
        """The share of the query's terms that a text has, 0 to 1; 0 for a query without terms."""
        if not self._asked:
            return 0.0
        return len(self._asked.intersection(self._analyzer.terms(text))) / len(self._asked)
