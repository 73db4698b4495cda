"""Misspelt words of a query: the nearest words that the index knows, for BM25.

An index keeps hashes of its terms, not the words. So the words within one edit of the unknown one are made (Norvig,
"How to Write a Spelling Corrector": a letter left out, put in, replaced, or two that changed places) and looked for;
within two edits, where one finds none. Of those found, the one is meant with which some document answers best: by its
score for the other words, and half of what the word itself adds. With all of that, rare words would win too often, and
with none of it frequent ones do (docs/log.md, 2026-11-30).

A word may be right and yet be in no document. So these stay as they are: tokens of the bundled model; names, which have
capitals or digits; and a word that the index or that model knows behind a prefix, such as "uncultured".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from searchapp.index.lexical.bm25 import LexicalIndex
from searchapp.index.lexical.words import folded

LEAST, LONGEST = 3, 32  # letters of a word that is looked at: of shorter ones the neighbours are too many
LEAST_TWICE, LONGEST_TWICE = 8, 20  # letters of one that may be two edits away; the neighbours grow with their square
LEAST_STEM = 4  # letters behind a prefix
PREFIXES = (
    "anti auto bi co counter cross de dis extra hyper hypo il im in inter intra ir macro meta micro mid mini mis multi "
    "nano neo non out over para poly post pre pro pseudo re self semi sub super trans tri ultra un under uni up"
).split()
MOST = 3  # words of a query that are looked at
OWN = 0.5  # of what a word adds to the score of a document
LOOKED_AT = 20_000  # documents with a word, at most, among which the best is looked for
NEARBY = 30  # documents that are read to tell how a word is written
WORDS = re.compile(r"[^\W_]+")
LATIN = "abcdefghijklmnopqrstuvwxyz"
ALPHABETS = {
    "LATIN": LATIN + "àáâãäåæçèéêëìíîïñòóôõöøœùúûüýÿßąćęłńśźżčďěňřšťůžğış",
    "CYRILLIC": "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґ",
    "GREEK": "αβγδεζηθικλμνξοπρστυφχψωάέήίόύώ",
}


@dataclass(frozen=True)
class Respelt:
    """A query for BM25, and the words of it that were replaced: as they were typed, and as they were meant."""

    query: str
    words: tuple[tuple[str, str], ...] = ()


def respelt(lexical: LexicalIndex, query: str) -> Respelt:
    """A query with each word that the index does not know replaced by the nearest one that it does; else unchanged."""
    words = list(dict.fromkeys(WORDS.findall(query)))
    known = _known_words(lexical, words)
    unknown = [
        word
        for word, there in known.items()
        if not there and _is_looked_at(word, query) and not _has_prefix(lexical, folded(word))
    ]
    replaced: list[tuple[str, str]] = []
    for word in unknown[:MOST]:
        rest = " ".join(other for other in words if other != word and known.get(other))
        meant = _nearest(lexical, word, rest)
        if meant is not None:
            query = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", meant, query)
            replaced.append((word, meant))
    return Respelt(query, tuple(replaced))


def is_known(lexical: LexicalIndex, query: str) -> bool:
    """Whether the index knows every word of a query, so that it stays as it is."""
    return all(_known_words(lexical, list(dict.fromkeys(WORDS.findall(query)))).values())


def _known_words(lexical: LexicalIndex, words: list[str]) -> dict[str, bool]:
    """Whether the index knows each of some words; stop words, and those of several terms, are left out."""
    terms = {word: lexical.analyzer.query_terms(word) for word in words}
    single = {word: found[0] for word, found in terms.items() if len(found) == 1}
    return dict(zip(single, lexical.known(list(single.values())), strict=True))


def _is_looked_at(word: str, query: str) -> bool:
    """Whether a word may be misspelt: names are written so on purpose.

    They have digits or capitals inside, or begin with one in the middle of a query that has small letters too.
    """
    is_name = not word[1:].islower() and not query.isupper()
    is_name = is_name or word[0].isupper() and not query.lstrip("\"'([¿¡ ").startswith(word) and not query.istitle()
    if not LEAST <= len(folded(word)) <= LONGEST or not word.isalpha() or is_name or _alphabet(folded(word)) is None:
        return False
    return not _is_common(word)


def _has_prefix(lexical: LexicalIndex, word: str) -> bool:
    """Whether a word is one that is known, behind a prefix."""
    rests = [word[len(prefix) :] for prefix in PREFIXES if word.startswith(prefix)]
    rests = [rest for rest in rests if len(rest) >= LEAST_STEM]
    return any(map(_is_common, rests)) or bool(rests) and any(_known_words(lexical, rests).values())


@cache
def _common() -> Any:
    from tokenizers import Tokenizer

    from searchapp.encoder.checkpoint import BUNDLED

    return Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))


def _is_common(word: str) -> bool:
    """Whether a word is a token of the bundled model: it is no misspelling then, only rare where it was looked for."""
    return any(_common().token_to_id(f"Ġ{spelt}") is not None for spelt in (word, word.lower()))


def _alphabet(word: str) -> str | None:
    """The letters that words of its script are written with; None for a script that is not known here."""
    if word.isascii():
        return LATIN
    return ALPHABETS.get(unicodedata.name(word[0], "").partition(" ")[0])


def plain_edits(words: Iterable[str]) -> Iterator[str]:
    """The words that are one edit without a new letter away from these: one left out, doubled, or two exchanged.

    >>> sorted(set(plain_edits(["abc"])))
    ['aabc', 'ab', 'abbc', 'abcc', 'ac', 'acb', 'bac', 'bc']
    """
    for word in words:
        for place in range(len(word)):
            head, tail = word[:place], word[place:]
            yield head + tail[1:]
            yield head + tail[0] + tail
            if len(tail) > 1 and tail[0] != tail[1]:
                yield head + tail[1] + tail[0] + tail[2:]


def edits(words: Iterable[str], alphabet: str) -> Iterator[str]:
    """The words that are one edit away from these, some of them more than once.

    >>> {"honey", "hone", "hnoey"} <= set(edits(["honey", "honeye"], "abc"))
    True
    """
    for word in words:
        for place in range(len(word) + 1):
            head, tail = word[:place], word[place:]
            if tail:
                yield head + tail[1:]
                yield from (head + letter + tail[1:] for letter in alphabet)
            if len(tail) > 1:
                yield head + tail[1] + tail[0] + tail[2:]
            yield from (head + letter + tail for letter in alphabet)


def _nearest(lexical: LexicalIndex, word: str, rest: str) -> str | None:
    """The word that is meant by one that is not known; None where no word is near."""
    typed = folded(word)
    alphabet = _alphabet(typed) or LATIN
    once = dict.fromkeys(edits([typed], alphabet))
    found = _written(lexical, _known(lexical, once), typed, 1)
    if not found and LEAST_TWICE <= len(typed) <= LONGEST_TWICE:
        # few people miss the first letter, and two new letters are a hundred thousand words
        twice = (near for near in plain_edits(once) if near[:1] == typed[0])
        found = _written(lexical, _known(lexical, dict.fromkeys(twice)), typed, 2)
    if not found:
        return None
    scored = {term: _support(lexical, term, rest) for term in found}
    return found[max(scored, key=lambda one: (scored[one], one))]


def _known(lexical: LexicalIndex, words: Iterable[str]) -> list[str]:
    """Terms of the index that some of these words have."""
    words = [word for word in words if len(word) >= LEAST and not lexical.analyzer.is_stopped(word)]
    terms = list(dict.fromkeys(lexical.analyzer.stems(words)))
    return [term for term, known in zip(terms, lexical.known(terms), strict=True) if known]


def _written(lexical: LexicalIndex, terms: Iterable[str], typed: str, most: int) -> dict[str, str]:
    """Those terms of which documents have a word within ``most`` edits of what was typed, with that word."""
    found = {}
    for term in terms:
        word = _as_written(lexical, term, typed)
        if word is not None and _distance(word, typed) <= most:
            found[term] = word
    return found


def _support(lexical: LexicalIndex, term: str, rest: str) -> tuple[float, int]:
    """How well the best document with a term answers the query with it, and how many documents have the term."""
    rows, weights = lexical.weights_of(term)
    if not rest:
        return 0.0, len(rows)
    scores = lexical.scores(rest, rows[:LOOKED_AT].astype(np.int64)) + OWN * weights[:LOOKED_AT]
    return float(scores.max(initial=0.0)), len(rows)


def _as_written(lexical: LexicalIndex, term: str, typed: str) -> str | None:
    """The word nearest to what was typed, of those that stand for a term in some documents that have it."""
    written: dict[str, int] = {}
    for text in lexical.texts(lexical.rows_of(term)[:NEARBY]):
        words = [word for word in set(lexical.analyzer.words(text)) if abs(len(word) - len(typed)) <= 2]
        for word, stem in zip(words, lexical.analyzer.stems(words), strict=True):
            if stem == term:
                written[word] = written.get(word, 0) + 1
    return min(written, key=lambda word: (_distance(word, typed), -written[word], word), default=None)


def _distance(one: str, other: str) -> int:
    """Letters put in, left out or replaced, or that changed places with their neighbour (optimal string alignment)."""
    above, row = [0] * (len(other) + 1), list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        last, above, row = above, row, [number]
        for place, second in enumerate(other, 1):
            least = min(above[place] + 1, row[place - 1] + 1, above[place - 1] + (letter != second))
            if number > 1 and place > 1 and letter == other[place - 2] and one[number - 2] == second:
                least = min(least, last[place - 2] + 1)
            row.append(least)
    return row[-1]
