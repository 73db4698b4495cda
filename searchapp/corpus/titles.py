"""The title of a passage: the path of headings, clipped to its share of the tokens."""

from __future__ import annotations

from searchapp.corpus.cut_points import cut_point
from searchapp.corpus.cut_rule import LEAST_TOKENS, CutRule, Measure
from searchapp.errors import CorpusError

SEPARATOR = " > "


class Titles:
    """Makes the titles of one file's passages, and remembers the last ones.

    Raises CorpusError where the prompt and template of an encoder leave no room for a text.
    """

    def __init__(self, rule: CutRule, measure: Measure, title: str, name: str) -> None:
        self._measure = measure
        self._title = title
        self._name = name
        self._known: tuple[tuple[str, ...] | None, str] = (None, "")
        self._counted: tuple[str | None, int] = (None, 0)
        self._most: int | None = None  # tokens of a title
        self._around = 0  # tokens of an empty passage: prompt, template, special tokens
        if rule.tokens is not None:
            self._around = measure("", "")
            self._most = (rule.tokens - self._around) // 3
            if rule.tokens - self._around < LEAST_TOKENS:
                raise CorpusError(
                    f"{self._around} of {rule.tokens} tokens go to the encoder's prompt and template; expected "
                    f"{LEAST_TOKENS} left for a text; use a shorter prompt or a larger budget"
                )

    def of(self, headings: tuple[str, ...]) -> str:
        """The title under these headings: the file's own, then theirs; once where the first repeats it."""
        if self._known[0] != headings:
            parts = list(headings)
            if self._title and not (parts and parts[0].casefold() == self._title.casefold()):
                parts.insert(0, self._title)
            self._known = (headings, self._clipped(parts or ([self._name] if self._name else [])))
        return self._known[1]

    def tokens(self, title: str) -> int:
        """Tokens of a title, with what the encoder puts around it."""
        if self._counted[0] != title:
            self._counted = (title, self._measure(title, "") if title else self._around)
        return self._counted[1]

    def guess(self, title: str) -> int:
        """An estimate of ``tokens``, from the bytes of the title."""
        return self._around + len(title.encode()) // 4

    def _clipped(self, parts: list[str]) -> str:
        title = SEPARATOR.join(parts)
        while parts and not self._fits(title):
            if len(parts) > 1:
                parts = parts[1:]
                title = SEPARATOR.join(["…", *parts])
                continue
            text = parts[0]
            point = cut_point(text, 0, len(text), min(2 * len(text) // 3, 4 * (self._most or 0)), code=False)
            parts = [text[:point].rstrip()] if point else []
            title = f"{parts[0]}…" if parts else ""
        return title

    def _fits(self, title: str) -> bool:
        most = self._most
        return most is None or len(title.encode()) <= most or self.tokens(title) - self._around <= most
