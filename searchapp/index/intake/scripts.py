"""Texts in scripts that a model's vocabulary does not have: their words are broken into letters or bytes, or lost.

Measured on the manual pages of Debian in 13 languages with four vocabularies (docs/log.md, 2026-11-30): the share of
such tokens is at most .21 where a vocabulary serves a language, and at least .33 where it does not.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from searchapp.corpus import Document
from searchapp.encoder.scripts import script_of

SAMPLED = 64  # documents
CHARACTERS = 2_000  # of each that are looked at
MUCH = 0.25  # the share of tokens beyond which it is said
WHOLE = ("Chinese", "Hangul")  # scripts of which one character is as good a token as any
NAMES = {"Latin": "accented Latin letters", "Chinese": "Chinese characters", "Hangul": "Korean"}


@dataclass(frozen=True)
class BrokenScripts:
    """``share`` of a sample's tokens are single letters side by side, bytes or unknown, mostly of these ``scripts``."""

    share: float
    scripts: tuple[str, ...]

    @property
    def warning(self) -> str:
        """What is to be said of it; "" for little."""
        if self.share <= MUCH:
            return ""
        named = " and ".join(self.scripts)
        return (
            f"the model's vocabulary lacks {named}: {self.share:.0%} of the tokens of these texts are single letters "
            "or pieces of them, so that their vectors say little; give a multilingual --model (`searchapp models` "
            "lists those here), or search with --mode bm25, which knows the words of any script"
        )


class ScriptWarning:
    """Says, once, in a log that the model's vocabulary lacks the scripts of documents that are encoded."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._is_said = False

    def look(self, encoder: Any, documents: Sequence[Document]) -> None:
        """Look at a sample of documents, those of one segment."""
        if self._is_said:
            return
        step = -(-len(documents) // SAMPLED) or 1
        found = broken_scripts(encoder, [f"{one.title} {one.text[:CHARACTERS]}" for one in documents[::step]])
        if found.warning:
            self._is_said = True
            self._log.warning("%s", found.warning)


def broken_scripts(encoder: Any, texts: Sequence[str]) -> BrokenScripts:
    """How much of a sample of texts the tokenizer of an encoder breaks into letters, bytes or unknown tokens."""
    tokenizer = getattr(getattr(encoder, "tokenizer", None), "backend_tokenizer", None)
    if tokenizer is None or not texts:
        return BrokenScripts(0.0, ())
    step = -(-len(texts) // SAMPLED)
    sample = [text[:CHARACTERS] for text in texts[::step]]
    if all(text.isascii() for text in sample):
        return BrokenScripts(0.0, ())
    unknown = _unknown(tokenizer)
    total = broken = 0
    scripts: Counter[str] = Counter()
    for text, encoding in zip(sample, tokenizer.encode_batch(sample, add_special_tokens=False), strict=True):
        spans, ids = encoding.offsets, encoding.ids
        total += len(ids)
        alone = [end - begin == 1 and _is_letter(text[begin]) for begin, end in spans]
        for place, (begin, end) in enumerate(spans):
            if end <= begin or text[begin].isascii():
                continue
            near = [other for other in (place - 1, place + 1) if 0 <= other < len(spans)]
            is_byte = end - begin == 1 and any(_overlap(spans[other], (begin, end)) for other in near)
            is_run = alone[place] and any(alone[other] and _touch(spans[other], (begin, end)) for other in near)
            if is_byte or is_run or ids[place] == unknown:
                broken += 1
                if text[begin].isalpha():
                    scripts[script_of(text[begin])] += 1
    named = tuple(NAMES.get(name, name) for name, _ in scripts.most_common(2))
    return BrokenScripts(broken / total if total else 0.0, named)


def _is_letter(character: str) -> bool:
    """Whether a character is a letter of a script that is written in words of several."""
    return character.isalpha() and not character.isascii() and script_of(character) not in WHOLE


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


def _touch(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] == other[1] or one[1] == other[0]


def _unknown(tokenizer: Any) -> int | None:
    found = (tokenizer.token_to_id(name) for name in ("<unk>", "[UNK]"))
    return next((number for number in found if number is not None), None)
