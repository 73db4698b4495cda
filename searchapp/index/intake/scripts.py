"""Texts in scripts that a model's vocabulary does not have: their characters are broken into bytes, or lost."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SAMPLED = 64  # documents
CHARACTERS = 2_000  # of each that are looked at
MUCH = 0.2  # the share of tokens beyond which it is said


@dataclass(frozen=True)
class BrokenScripts:
    """``share`` of the tokens of a sample are pieces of single characters or unknown, mostly of these ``scripts``."""

    share: float
    scripts: tuple[str, ...]

    @property
    def warning(self) -> str:
        """What is to be said of it; "" for little."""
        if self.share <= MUCH:
            return ""
        named = " and ".join(self.scripts)
        return (
            f"the model's vocabulary lacks {named}: {self.share:.0%} of the tokens of these texts are pieces of single "
            "characters, so that their vectors say little; give a multilingual --model (`searchapp models` lists those "
            "here), or search with --mode bm25, which knows the words of any script"
        )


def broken_scripts(encoder: Any, texts: Sequence[str]) -> BrokenScripts:
    """How much of a sample of texts the tokenizer of an encoder breaks into pieces of single characters."""
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
        for place, (begin, end) in enumerate(spans):
            beside = spans[max(0, place - 1) : place] + spans[place + 1 : place + 2]
            split = end - begin == 1 and any(_overlap(span, (begin, end)) for span in beside)
            if (split or ids[place] == unknown) and end > begin and not text[begin].isascii():
                broken += 1
                scripts[_script(text[begin])] += 1
    named = tuple(name for name, _ in scripts.most_common(2))
    return BrokenScripts(broken / total if total else 0.0, named)


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


def _unknown(tokenizer: Any) -> int | None:
    found = (tokenizer.token_to_id(name) for name in ("<unk>", "[UNK]"))
    return next((number for number in found if number is not None), None)


def _script(character: str) -> str:
    """The script of a character, by the first word of its name."""
    name = unicodedata.name(character, "unnamed characters").split()[0].capitalize()
    return {"Cjk": "Chinese characters"}.get(name, name)
