"""Text to the terms that BM25 counts: lower-cased words, without stop words, cut down to their stems."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from searchapp.errors import SearchAppError

WORD = re.compile(r"[^\W_]+")  # letters and digits of any script; in English that is [a-z0-9]+
STOP_WORDS = {
    "english": "EN", "german": "GERMAN", "dutch": "DUTCH", "french": "FRENCH", "spanish": "SPANISH",
    "portuguese": "PORTUGUESE", "italian": "ITALIAN", "russian": "RUSSIAN", "swedish": "SWEDISH",
    "norwegian": "NORWEGIAN", "danish": "DANISH", "turkish": "TURKISH",
}  # fmt: skip


@dataclass(frozen=True)
class Analyser:
    """How text becomes terms: a Snowball ``stemmer`` and bm25s's list of ``stop_words`` by language; None: neither.

    The default is what BM25 is mostly measured with: Porter's first stemmer and Lucene's 33 English stop words.
    """

    stemmer: str | None = "porter"
    stop_words: str | None = "english"

    def __post_init__(self) -> None:
        if self.stop_words is not None and self.stop_words not in STOP_WORDS:
            expected = ", ".join(sorted(STOP_WORDS))
            raise SearchAppError(f"there are no stop words for {self.stop_words!r}; expected none, or {expected}")
        if self.stemmer is not None and self.stemmer not in (known := stemmers()):
            raise SearchAppError(f"there is no stemmer {self.stemmer!r}; expected none, or {', '.join(known)}")

    @classmethod
    def of_language(cls, language: str) -> Analyser:
        """Stemmer and stop words of a language, as far as there are any; ``none`` is words as they stand."""
        if language == "none":
            return cls(None, None)
        if language == "english":
            return cls()
        if language not in stemmers():
            raise SearchAppError(f"there is no stemmer for {language!r}; expected none, or {', '.join(stemmers())}")
        return cls(language, language if language in STOP_WORDS else None)

    def terms(self, text: str) -> list[str]:
        """The terms of a text in their order, repeated ones repeated."""
        return self.stems(word for word in words(text) if word not in self._stopped)

    def stems(self, words: Iterable[str]) -> list[str]:
        """The stem of each word."""
        return list(words) if self._stemmer is None else list(self._stemmer.stemWords(list(words)))

    def is_stopped(self, word: str) -> bool:
        """Whether a word is a stop word."""
        return word in self._stopped

    @cached_property
    def _stopped(self) -> frozenset[str]:
        if self.stop_words is None:
            return frozenset()
        from bm25s import stopwords

        return frozenset(getattr(stopwords, f"STOPWORDS_{STOP_WORDS[self.stop_words]}"))

    @cached_property
    def _stemmer(self) -> Any:
        if self.stemmer is None:
            return None
        import Stemmer

        return Stemmer.Stemmer(self.stemmer)


def words(text: str) -> list[str]:
    """The lower-cased words of a text. Languages written without spaces are not cut into words."""
    return WORD.findall(text.lower())


def stemmers() -> list[str]:
    """The names of the stemmers."""
    import Stemmer

    return sorted(Stemmer.algorithms())
