"""What to mark in a document that was found: the passage that answers, its decisive sentence, the query's words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from searchapp.encoder import Encoder
from searchapp.index.lexical.analyzer import Analyzer
from searchapp.index.lexical.words import PATTERNS, SPACELESS, WORD
from searchapp.search.passage import MOST, Judge, Snippet, sentences, split

HEADING = re.compile(r"\s*(?:#{1,6}[ \t][^\n]*\n|[^\n]+\n([=\-~^\"'`#*+.:_])\1{2,}[ \t]*\n)+")  # Markdown's, reST's
BEGINNING = 2_000  # characters of a text whose beginning is shown
# As the analyzer cuts words, in the text as it stands: with marks, soft hyphens and joiners inside.
TOKEN = (
    rf"(?V1)([[{SPACELESS}]&&[\p{{L}}\p{{M}}〇]]+)|[[\p{{L}}\p{{N}}]--[〇]]"
    rf"(?:(?![[{SPACELESS}]&&\p{{L}}])[\p{{L}}\p{{N}}\p{{M}}\p{{Default_Ignorable_Code_Point}}])*"
)


@dataclass(frozen=True, slots=True)
class Highlight:
    """Stretches of one text: ``passage``, in it the ``sentence`` that fits the query best, and the query's ``words``.

    ``sentence`` is None where the passage has no other. ``words`` stand in order and do not overlap. ``continues`` says
    whether text stands before the passage; a heading at the top of the text, which a hit's title repeats, is none.
    """

    passage: Snippet
    sentence: Snippet | None
    words: tuple[Snippet, ...]
    continues: bool = False


def highlights(encoder: Encoder | None, analyzer: Analyzer, query: str, texts: Sequence[str]) -> list[Highlight]:
    """For each text the passage that fits the query best, and in it the sentence that does, as a ``Judge`` has it.

    Without an encoder the words alone decide.
    """
    judge = Judge(encoder, analyzer, query)
    begins = [heading_end(text) for text in texts]
    passages = judge.best(texts, [_passages(text, begin) for text, begin in zip(texts, begins, strict=True)])
    parts = [sentences(text, passage) or [passage] for text, passage in zip(texts, passages, strict=True)]
    decisive = judge.best(texts, parts)
    return [
        Highlight(
            passage,
            sentence if len(several) > 1 else None,
            matching_words(analyzer, query, text, passage),
            bool(text[begin : passage.start].strip()),
        )
        for text, begin, passage, several, sentence in zip(texts, begins, passages, parts, decisive, strict=True)
    ]


def beginnings(analyzer: Analyzer, query: str, texts: Sequence[str]) -> list[Highlight]:
    """For each text its beginning, with the query's words; no model is asked."""
    found = []
    for text in texts:
        begin = heading_end(text)
        begin += len(text[begin:]) - len(text[begin:].lstrip())
        passage = Snippet(begin, begin + len(text[begin : begin + BEGINNING].rstrip()))
        found.append(Highlight(passage, None, matching_words(analyzer, query, text, passage)))
    return found


def heading_end(text: str) -> int:
    """Where the text below a heading at the top begins; 0 where there is no heading, or nothing else."""
    heading = HEADING.match(text)
    return heading.end() if heading and text[heading.end() :].strip() else 0


def _passages(text: str, begin: int) -> list[Snippet]:
    found = [Snippet(begin + part.start, begin + part.end) for part in split(text[begin:])[:MOST]]
    return found or [Snippet(0, len(text))]


def matching_words(analyzer: Analyzer, query: str, text: str, within: Snippet) -> tuple[Snippet, ...]:
    """The words of ``text[within.start:within.end]`` that BM25 would find by the query: by stem, no stop words.

    In scripts without spaces these are characters beside each other that stand so in the query.
    """
    asked = frozenset(analyzer.query_terms(query))
    if not asked:
        return ()
    known: dict[str, bool] = {}

    def is_asked(word: str) -> bool:
        if word not in known:
            known[word] = not asked.isdisjoint(analyzer.query_terms(word))
        return known[word]

    found: list[Snippet] = []
    for start, end, spaceless in _words(text[within.start : within.end]):
        begin = within.start + start
        if not spaceless:
            if is_asked(text[begin : within.start + end]):
                found.append(Snippet(begin, within.start + end))
            continue
        for first, last in _marked(text[begin : within.start + end], is_asked):
            found.append(Snippet(begin + first, begin + last))
    return tuple(found)


def _words(text: str) -> Iterator[tuple[int, int, bool]]:
    """Where words stand, and whether they are a run in a script without spaces."""
    if text.isascii():
        yield from ((*match.span(), False) for match in WORD.finditer(text))
    else:
        yield from ((*match.span(), match[1] is not None) for match in _pattern(TOKEN).finditer(text))


def _marked(run: str, is_asked: Any) -> Iterator[tuple[int, int]]:
    """The stretches of a run whose characters, or pairs of them, were asked for."""
    spans = [match.span() for match in _pattern(PATTERNS["cluster"]).finditer(run)]
    marked = [is_asked(run[start:end]) for start, end in spans]
    for number, ((start, _), (_, end)) in enumerate(pairwise(spans)):
        if is_asked(run[start:end]):
            marked[number] = marked[number + 1] = True
    stretch: tuple[int, int] | None = None
    for (start, end), wanted in zip(spans, marked, strict=True):
        if wanted:
            stretch = (stretch[0] if stretch else start, end)
        elif stretch:
            yield stretch
            stretch = None
    if stretch:
        yield stretch


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    import regex  # knows scripts and clusters, which re does not

    compiled: re.Pattern[str] = regex.compile(pattern)
    return compiled
