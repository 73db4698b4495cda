"""Which of a set of texts share word n-grams or whole sentences with a stream of other texts, in bounded memory.

The texts that are looked for (a test collection's) are the small side: hashes of their n-grams and sentences are held.
The others (training text, of any length) stream past in batches of words, whose n-grams are hashed by NumPy:

    words    the  mitral  valve  is  ...            w_i   64 bits each, Python's hash of the string
    n-gram   h_i = m_0 w_i + m_1 w_i+1 + ... + m_12 w_i+12   modulo 2^64, with odd random m

Words are runs of letters, marks and digits of the text in NFKC and lower case; everything else, punctuation too, only
parts them. In languages written without spaces a whole run is one word, so that little but sentences is found there.
Two different n-grams have one hash with a chance of 2^-64: one in a million that any of 10^13 pairs has.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

NGRAM = 13  # words, as in the GPT-3 report (Brown et al. 2020, appendix C)
SENTENCE = 5  # words from which on a whole sentence counts: shorter ones are shared by chance
BATCH = 1 << 17  # words hashed at a time
LONG = 1 << 16  # characters beyond which a stretch without a sentence's end is no sentence
SPARSE = 16  # places of the filter for each hash that is held
# Begins with one set of characters, for which re has a fast scan.
SENTENCE_END = re.compile(r"[.!?\n](?:(?<=\n)\n*|[\"'\u2019\u201d)\]]*\s+)")
BLANKED = {code: " " for code in range(128) if not chr(code).isalnum()}  # str.translate is several times findall


@dataclass(frozen=True)
class Shared:
    """What one text shares with the others.

    ``words`` it has, ``covered`` of them stand in a shared n-gram or sentence. ``ngrams`` counts its places for an
    n-gram, ``sentences`` its sentences of ``SENTENCE`` words or more, and how many of each are shared. ``passage`` is
    its longest shared stretch of words, first seen in the text number ``place`` (from 1) of ``source``.
    """

    words: int
    covered: int
    ngrams: int
    shared_ngrams: int
    sentences: int
    shared_sentences: int
    passage: str = ""
    source: str = ""
    place: int = 0

    @property
    def overlaps(self) -> bool:
        """Whether it shares an n-gram or a sentence."""
        return bool(self.shared_ngrams or self.shared_sentences)

    @property
    def is_too_short(self) -> bool:
        """Whether it has neither an n-gram nor a sentence, so that nothing could be found."""
        return not (self.ngrams or self.sentences)


def normalised_sentences(text: str) -> Iterator[tuple[list[str], bool]]:
    """Yield the words of each stretch of a text that ends as a sentence does, and whether it may count as one."""
    text = (text if text.isascii() else unicodedata.normalize("NFKC", text)).lower()
    start = 0
    for end in _ends(text):
        if end - start <= LONG:
            yield _words(text[start:end]), True
        else:
            yield from ((words, False) for words in _pieces(text, start, end))
        start = end


def _ends(text: str) -> Iterator[int]:
    for found in SENTENCE_END.finditer(text):
        yield found.end()
    yield len(text)


def _pieces(text: str, start: int, end: int) -> Iterator[list[str]]:
    """The words of a long stretch, in pieces that end at a blank."""
    while start < end:
        stop = min(end, start + LONG)
        if stop < end:
            blank = text.rfind(" ", start, stop)
            stop = blank + 1 if blank > start else stop
        yield _words(text[start:stop])
        start = stop


def _words(text: str) -> list[str]:
    if not text.isascii():
        for character in set(text):
            if character > "\x7f" and not _is_word(character):
                text = text.replace(character, " ")
        if not text.isascii():
            found: list[str] = _any_word().findall(text)
            return found
    return text.translate(BLANKED).split()


@cache
def _is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


@cache
def _any_word() -> Any:
    import regex  # knows marks, which re takes for punctuation

    return regex.compile(r"[\p{L}\p{M}\p{N}]+")


class _Hashes:
    """How n-grams are hashed: the same for all texts of a search."""

    def __init__(self) -> None:
        self._weights = np.random.default_rng(0).integers(0, 1 << 63, NGRAM, dtype=np.uint64) * np.uint64(2) + 1

    def ngrams(self, words: Sequence[str]) -> np.ndarray:
        """One hash for each place where an n-gram begins, uint64 (len(words) - 12,); none where words are fewer."""
        count = len(words) - NGRAM + 1
        if count < 1:
            return np.empty(0, dtype=np.uint64)
        single = np.fromiter(map(hash, words), dtype=np.int64, count=len(words)).view(np.uint64)
        total: np.ndarray = single[:count] * self._weights[0]
        for place in range(1, NGRAM):
            total += single[place : place + count] * self._weights[place]
        return total


def _sentence_hash(words: Sequence[str]) -> int:
    return hash(" ".join(words))


class SharedTextFinder:
    """Looks for texts, each in one part or several, in others that are read once: ``read`` them, then ask ``shared``.

    N-grams do not go beyond a part. ``bytes`` and ``texts`` count what was read, as UTF-8.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        self._texts = texts
        self._hashes = _Hashes()
        self.bytes = self.texts = 0
        own: list[np.ndarray] = []
        self._sentences: dict[int, int] = {}  # hash of a sentence looked for → number of the text it was seen in
        for parts in texts:
            for part in parts:
                words: list[str] = []
                for some, whole in normalised_sentences(part):
                    words += some
                    if whole and len(some) >= SENTENCE:
                        self._sentences[_sentence_hash(some)] = -1
                own.append(self._hashes.ngrams(words))
        self._keys = np.unique(np.concatenate(own)) if own else np.empty(0, dtype=np.uint64)
        self._seen_in = np.full(len(self._keys), -1, dtype=np.int64)
        bits = max(16, int(SPARSE * max(1, len(self._keys)) - 1).bit_length())
        self._shift = np.uint64(64 - bits)
        self._filter = np.zeros(1 << bits, dtype=bool)
        self._filter[self._keys >> self._shift] = True
        self._words: list[str] = []
        self._borders: list[int] = []  # places in ``_words`` where a text ends
        self._first = 0  # number of the text that ``_words`` begins with
        self._sources: list[tuple[int, str]] = []  # number of the first text of each source

    def read(self, texts: Iterable[str], source: str) -> None:
        """Stream texts past; ``source`` is what ``Shared`` calls them."""
        self._sources.append((self.texts, source))
        for text in texts:
            self.bytes += len(text) if text.isascii() else len(text.encode())
            for words, whole in normalised_sentences(text):
                if whole and len(words) >= SENTENCE:
                    self._see_sentence(_sentence_hash(words))
                self._words += words
                if len(self._words) >= BATCH:
                    self._flush()
            self.texts += 1
            self._borders.append(len(self._words))
        self._flush()

    def shared(self) -> list[Shared]:
        """What each of the texts that were looked for shares with those that were read, in their order."""
        return [self._shared(parts) for parts in self._texts]

    def _see_sentence(self, key: int) -> None:
        if self._sentences.get(key, 0) == -1:
            self._sentences[key] = self.texts

    def _flush(self) -> None:
        """Look up all n-grams of the words held; the last words of a text that goes on are kept for the next batch."""
        hashes = self._hashes.ngrams(self._words)
        likely = self._filter[hashes >> self._shift] if len(hashes) else np.zeros(0, dtype=bool)
        for border in self._borders:  # an n-gram that begins less than its length before a text's end goes beyond it
            likely[max(0, border - NGRAM + 1) : border] = False
        starts = np.flatnonzero(likely)
        if len(starts):
            places = np.minimum(np.searchsorted(self._keys, hashes[starts]), len(self._keys) - 1)
            real = self._keys[places] == hashes[starts]
            starts, places = starts[real], places[real]
            numbers = self._first + np.searchsorted(np.array(self._borders, dtype=np.int64), starts, side="right")
            fresh = self._seen_in[places] < 0
            # Backwards, so that of several places the first one stays.
            self._seen_in[places[fresh][::-1]] = numbers[fresh][::-1]
        begin = self._borders[-1] if self._borders else 0
        self._words = self._words[max(begin, len(self._words) - NGRAM + 1) :]
        self._first += len(self._borders)
        self._borders = []

    def _shared(self, parts: Sequence[str]) -> Shared:
        words = covered = ngrams = shared_ngrams = sentences = shared_sentences = seen = 0
        longest: list[str] = []
        for part in parts:
            spelled: list[str] = []
            marked: list[tuple[int, int, int]] = []  # begin, end and first text of what is shared
            for some, whole in normalised_sentences(part):
                if whole and len(some) >= SENTENCE:
                    sentences += 1
                    if (number := self._sentences[_sentence_hash(some)]) >= 0:
                        shared_sentences += 1
                        marked.append((len(spelled), len(spelled) + len(some), number))
                spelled += some
            hashes = self._hashes.ngrams(spelled)
            numbers = self._seen_in[np.searchsorted(self._keys, hashes)]
            found = np.flatnonzero(numbers >= 0)
            marked += [(start, start + NGRAM, int(numbers[start])) for start in found.tolist()]
            words, ngrams, shared_ngrams = words + len(spelled), ngrams + len(hashes), shared_ngrams + len(found)
            for begin, end, number in _joined(marked):
                covered += end - begin
                if end - begin > len(longest):
                    longest, seen = spelled[begin:end], number
        source, place = self._where(seen) if longest else ("", 0)
        return Shared(
            words, covered, ngrams, shared_ngrams, sentences, shared_sentences, " ".join(longest), source, place
        )

    def _where(self, number: int) -> tuple[str, int]:
        """The source of a text, and its number there from 1."""
        start, source = [one for one in self._sources if one[0] <= number][-1]
        return source, number - start + 1


def _joined(marked: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Stretches that touch or overlap as one, with the text that its first one was seen in."""
    joined: list[tuple[int, int, int]] = []
    for begin, end, number in sorted(marked):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]), joined[-1][2])
        else:
            joined.append((begin, end, number))
    return joined
