"""Text to words, for any script: one Unicode form, marks left on their letters, n-grams where no spaces are written.

The form is NFKC_Casefold (Unicode Standard, section 3.13): compatibility forms, ligatures and full-width letters are
folded, and what is invisible by default is gone, such as soft hyphens and zero-width joiners. Chinese, Japanese, Thai,
Lao, Khmer and Burmese are written without spaces; their runs become overlapping pairs of characters, as in Lucene's
CJKAnalyzer: it needs no dictionary, and the same text gives the same words on every machine.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import pairwise
from typing import Any

WORD = re.compile(r"[^\W_]+")  # letters and digits of any script; in English that is [a-z0-9]+
# Beyond these, letters may carry marks, or may be written without spaces: Latin, Greek, Cyrillic, symbols stay in.
RARE = r"[\u0300-\u036f\u0483-\u1dff\u20d0-\u20ff\u2c00-\U0010ffff]"
# Below these, letters and signs whose form is more than their small letter: all of them are in here, and some others.
UNSTABLE = (
    r"\u00a0-\u00bf\u00df\u0130-\u0133\u013f\u0140\u0149\u017f\u01c4-\u01cc\u01f0-\u01f3\u02b0-\u02ff\u0370-\u0390"
    r"\u03a3\u03b0\u03c2\u03d0-\u03ff\u1e96-\u1e9f\u1f00-\u200f\u2011\u2017\u2024-\u2bff"
)
SPECIAL = f"[{UNSTABLE}{RARE[1:]}"
UNSTABLE_SIGN = f"[{UNSTABLE}]"
# What most texts in Latin letters have beyond ASCII, in place of which anything that is no letter can stand.
PUNCTUATION = {sign: " " for sign in "\u2019\u2018\u201c\u201d\u2014\u2013\u2026\u2022\u00a0"}
DIGIT = r"[^\D0-9]"  # decimal digits of other scripts
SIGNS = {"™": " ", "℠": " ", "\u0640": ""}  # signs that are no letters, and the Arabic stretch
SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー〇"
PATTERNS = {
    "token": rf"(?V1)([[{SPACELESS}]&&[\p{{L}}\p{{M}}〇]]+)|[[\p{{L}}\p{{N}}]--[〇]]"
    rf"(?:(?![[{SPACELESS}]&&\p{{L}}])[\p{{L}}\p{{N}}\p{{M}}])*",
    "ignorable": r"\p{Default_Ignorable_Code_Point}+",
    "break": r"(?V1)(?<![\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])\u200b+|\u200b+(?![\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])",
    # a letter and its marks; a letter written below the one before it (Khmer coeng, Burmese virama) belongs to it
    "cluster 2": r"\X(?:(?<=[\u17d2\u1039])\X)*",
    # so do the vowel signs of Burmese, which are no part of a grapheme cluster in Unicode
    "cluster": r"\X(?:(?<=[\u17d2\u1039])\X|\p{M})*",
}


def ascii_words(text: str) -> list[str]:
    """Lower-cased runs of letters and digits: the words of the first analysis, which cuts at combining marks."""
    return WORD.findall(text.lower())


def document_words(text: str, *, turkish: bool = False, version: int = 3) -> list[str]:
    """The words of a document, by a version of the analysis from 2 on.

    A run without spaces gives each character and each pair of neighbours.
    """
    return _words(text, turkish, version, singles=True)


def query_words(text: str, *, turkish: bool = False, version: int = 3) -> list[str]:
    """The words of a query. A run without spaces gives pairs, and a character only where it stands alone."""
    return _words(text, turkish, version, singles=False)


def folded(text: str, *, turkish: bool = False) -> str:
    """The Unicode form that words are compared in; ``turkish`` keeps ı and i apart, elsewhere İ becomes i."""
    if turkish:
        text = unicodedata.normalize("NFC", text).replace("I", "ı").replace("İ", "i")
    if not text.isascii():
        for sign, plain in PUNCTUATION.items():
            if sign in text:
                text = text.replace(sign, plain)
    if text.isascii():
        return text.lower()
    if _class(SPECIAL).search(text):
        if _class(RARE).search(text):
            return folded_slowly(text)
        # no loose marks: what a letter becomes does not depend on its neighbours
        text = _class(UNSTABLE_SIGN).sub(_folded_sign, text)
    return text.lower()


def _folded_sign(found: re.Match[str]) -> str:
    return _FOLDED[found[0]]


class _Signs(dict[str, str]):
    def __missing__(self, sign: str) -> str:
        self[sign] = value = folded_slowly(sign)
        return value


_FOLDED = _Signs()


def folded_slowly(text: str) -> str:
    """The form of any text: ``folded`` but for Turkish, and the measure of its shorter way.

    A zero-width space stands between words (Khmer, Thai), but not all writers type it: there it is left out.
    """
    if "\u200b" in text:
        text = _pattern("break").sub(" ", text)
    for sign in SIGNS:
        if sign in text:
            text = text.replace(sign, SIGNS[sign])
    for _ in range(3):  # folding may compose what folds again; a second round is nearly always the last
        before = text
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", text).casefold())
        text = _pattern("ignorable").sub("", text).replace("i\u0307", "i")
        if text == before:
            break
    return text


def _words(text: str, turkish: bool, version: int, *, singles: bool) -> list[str]:
    if text.isascii() and not turkish:
        return WORD.findall(text.lower())
    text = folded(text, turkish=turkish)
    if text.isascii() or not _class(RARE).search(text):
        return WORD.findall(text)
    cluster = _pattern("cluster")
    if version == 2:
        cluster = _pattern("cluster 2")
    elif _class(DIGIT).search(text):
        text = _class(DIGIT).sub(lambda found: str(unicodedata.decimal(found[0])), text)
    words: list[str] = []
    for match in _pattern("token").finditer(text):
        if match[1] is None:
            words.append(match[0])
            continue
        clusters = [one for one in cluster.findall(match[0]) if any(map(str.isalnum, one))]  # no lone mark
        if singles or len(clusters) == 1:
            words += clusters
        words += [one + other for one, other in pairwise(clusters)]
    return words


@cache
def _class(signs: str) -> re.Pattern[str]:
    """A class of characters, compiled when the first text asks for it: it takes milliseconds, and ASCII never asks."""
    return re.compile(signs)


@cache
def _pattern(name: str) -> Any:
    import regex  # knows scripts and clusters, which re does not

    return regex.compile(PATTERNS[name])
