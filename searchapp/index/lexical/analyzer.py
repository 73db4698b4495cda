"""Text to the terms that BM25 counts: lower-cased words, without stop words, cut down to their stems."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from searchapp.errors import SearchAppError
from searchapp.index.lexical.words import ascii_words, document_words, folded, query_words

# The version of the analysis: 1 knew neither combining marks nor languages without spaces, 2 kept the digits of each
# script apart and lost vowel signs of Burmese.
ANALYSIS = 3
MANY = 1_000  # words at once that are stemmed without looking for them among former ones
STOP_WORDS = {
    "english": "EN", "german": "GERMAN", "dutch": "DUTCH", "french": "FRENCH", "spanish": "SPANISH",
    "portuguese": "PORTUGUESE", "italian": "ITALIAN", "russian": "RUSSIAN", "swedish": "SWEDISH",
    "norwegian": "NORWEGIAN", "danish": "DANISH", "turkish": "TURKISH",
}  # fmt: skip


@dataclass(frozen=True)
class Analyzer:
    """How text becomes terms: a Snowball ``stemmer`` and bm25s's list of ``stop_words`` by language; None: neither.

    The default is what BM25 is mostly measured with: Porter's first stemmer and Lucene's 33 English stop words.
    ``version`` is that of the analysis: an index is searched with the one that its words were counted with.
    """

    stemmer: str | None = "porter"
    stop_words: str | None = "english"
    version: int = ANALYSIS

    def __post_init__(self) -> None:
        if self.version not in range(1, ANALYSIS + 1):
            raise SearchAppError(
                f"the words were counted by analysis {self.version}, expected 1 to {ANALYSIS}; "
                "update searchapp, or count them again with `searchapp lexical INDEX`"
            )
        if self.stop_words is not None and self.stop_words not in STOP_WORDS:
            expected = ", ".join(sorted(STOP_WORDS))
            raise SearchAppError(f"there are no stop words for {self.stop_words!r}; expected none, or {expected}")
        if self.stemmer is not None and self.stemmer not in (known := stemmers()):
            raise SearchAppError(f"there is no stemmer {self.stemmer!r}; expected none, or {', '.join(known)}")

    @classmethod
    def of_language(cls, language: str) -> Analyzer:
        """Stemmer and stop words of a language, as far as there are any; ``none`` is words as they stand."""
        if language == "none":
            return cls(None, None)
        if language == "english":
            return cls()
        if language not in stemmers():
            raise SearchAppError(f"there is no stemmer for {language!r}; expected none, or {', '.join(stemmers())}")
        return cls(language, language if language in STOP_WORDS else None)

    def terms(self, text: str) -> list[str]:
        """The terms of a document in their order, repeated ones repeated."""
        return self._terms(self.words(text))

    def query_terms(self, text: str) -> list[str]:
        """The terms of a query: those of a document, but for languages without spaces, where pairs are enough."""
        if self.version == 1:
            return self.terms(text)
        return self._terms(query_words(text, turkish=self._turkish, version=self.version))

    def words(self, text: str) -> list[str]:
        """The folded words of a document, stop words among them, not stemmed."""
        if self.version == 1:
            return ascii_words(text)
        return document_words(text, turkish=self._turkish, version=self.version)

    def stems(self, words: Iterable[str]) -> list[str]:
        """The stem of each word."""
        words = list(words)
        if self._stemmer is None:
            return words
        stemmer = self._stemmer if len(words) < MANY else self._plain_stemmer
        return list(stemmer.stemWords(words))

    def is_stopped(self, word: str) -> bool:
        """Whether a word is a stop word."""
        return word in self._stopped

    def _terms(self, words: Iterable[str]) -> list[str]:
        return self.stems(word for word in words if word not in self._stopped)

    @property
    def _turkish(self) -> bool:
        return "turkish" in (self.stemmer, self.stop_words)

    @cached_property
    def _stopped(self) -> frozenset[str]:
        if self.stop_words is None:
            return frozenset()
        words = getattr(_stop_lists(), f"STOPWORDS_{STOP_WORDS[self.stop_words]}")
        return frozenset(words if self.version == 1 else (folded(word, turkish=self._turkish) for word in words))

    @cached_property
    def _stemmer(self) -> Any:
        if self.stemmer is None:
            return None
        import Stemmer

        return Stemmer.Stemmer(self.stemmer)

    @cached_property
    def _plain_stemmer(self) -> Any:
        import Stemmer

        return Stemmer.Stemmer(self.stemmer, 0)  # its cache of 10,000 words costs more than stemming more of them


@cache
def _stop_lists() -> ModuleType:
    """bm25s's module of stop words by itself: its package imports SciPy, which takes longer than many searches."""
    package = find_spec("bm25s")
    if package is not None and package.submodule_search_locations:
        alone = spec_from_file_location("bm25s_stopwords", Path(package.submodule_search_locations[0]) / "stopwords.py")
        if alone is not None and alone.loader is not None:
            module = module_from_spec(alone)
            with suppress(ImportError, OSError):  # another version may have it elsewhere
                alone.loader.exec_module(module)
                return module
    from bm25s import stopwords

    return cast(ModuleType, stopwords)


def stemmers() -> list[str]:
    """The names of the stemmers."""
    import Stemmer

    return sorted(Stemmer.algorithms())
