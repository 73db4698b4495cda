"""How text files are cut: the budget of a passage, as an index keeps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from searchapp.errors import CorpusError

VERSION = 2  # 1 is that of ``searchapp.corpus.passages``: characters only
LEAST_CHARACTERS, LEAST_TOKENS = 64, 16

Measure = Callable[[str, str], int]
"""Tokens of a title and a text as the encoder reads them: prompt, title, joiner, text and special tokens included."""


@dataclass(frozen=True, slots=True)
class CutRule:
    """What decides where a text is cut, beside the text: a change of any field makes other passages.

    ``characters`` and ``tokens`` bound a passage, the tokens with its title; None: no bound on tokens. ``tokenizer`` is
    the digest of the tokenizer by which they are counted, "" for the estimate without one. Raises CorpusError for a
    budget in which no passage has room.
    """

    version: int = VERSION
    characters: int = 1200
    tokens: int | None = None
    tokenizer: str = ""

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise CorpusError(
                f"cut rule {self.version!r} is unknown; expected {VERSION}; use the searchapp version that wrote it"
            )
        for name, least in (("characters", LEAST_CHARACTERS), ("tokens", LEAST_TOKENS)):
            value = getattr(self, name)
            if name == "tokens" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise CorpusError(
                    f"a passage of {value!r} {name} is too small; expected a whole number from {least} on"
                )
        if not isinstance(self.tokenizer, str):
            raise CorpusError(f"tokenizer of a cut rule is {self.tokenizer!r}; expected a digest")

    def to_json(self) -> dict[str, Any]:
        """The rule as JSON values, by keys that stay."""
        return {
            "version": self.version,
            "characters": self.characters,
            "tokens": self.tokens,
            "tokenizer": self.tokenizer,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> CutRule:
        """The rule that ``to_json`` wrote. Raises CorpusError for other keys and values."""
        expected = ("version", "characters", "tokens", "tokenizer")
        if not isinstance(content, Mapping) or sorted(content) != sorted(expected):
            found = ", ".join(map(str, content)) if isinstance(content, Mapping) else repr(content)
            raise CorpusError(f"a cut rule has {found or 'no keys'}; expected {', '.join(expected)}")
        return cls(content["version"], content["characters"], content["tokens"], content["tokenizer"])


def estimate(title: str, text: str) -> int:
    """Tokens where no encoder counts them: the bytes of UTF-8 by three, rounded up. It errs to the safe side."""
    return -(-(len(title.encode()) + len(text.encode()) + 1) // 3)
