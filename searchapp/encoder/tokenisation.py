"""From (instruction, text) to token ids with the span to pool.

The whole string (prefix, instruction, text, suffix) is tokenised in one piece, as the original does, so that its
vectors are reproduced. Where the pooled text begins is found in one of two ways, a setting of the checkpoint:

- ``offsets``: at the first token that covers a character of the text;
- ``count``: as many tokens before the end as text and suffix have when tokenised alone. This is the original's
  contract, which its checkpoints were trained and measured with; at the border it can be off by some tokens, since a
  word that follows a space is cut differently from one that begins a string.

Either is applied before anything is cut, so that a cut can never move the span onto the instruction.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from searchapp.encoder.settings import Settings
from searchapp.encoder.template import Template
from searchapp.errors import ModelError

LEAST_TEXT = 16  # tokens a text keeps when instruction and template alone fill max_length
CHARACTERS_PER_TOKEN = 8  # a head of this many characters a token is tokenised to measure a text; then twice as many
MARGIN = 256  # tokens measured beyond the last one kept: where the head ends its tokens are not those of the text
SEAM = 64  # characters kept from the end of a text that is cut
GROUP, GROUP_CHARACTERS = 1_024, 1 << 20  # texts and characters that are tokenised together
WORD = re.compile(r"\S+")


Wrapped = tuple[str, int, int, bool]  # whole string, where the text and the suffix begin, whether instructed


@dataclass(frozen=True, slots=True)
class Tokens:
    """``ids`` int32 (length,); the positions ``start`` to ``end`` (exclusive) are pooled."""

    ids: np.ndarray
    start: int
    end: int


class Tokenisation:
    """Tokenises for one model: holds the fast tokenizer, the template and the lengths."""

    def __init__(self, backend: Any, settings: Settings, template: Template, positions: int | None) -> None:
        self._backend = backend  # tokenizers.Tokenizer
        self._settings = settings
        self._template = template
        self._positions = positions  # the longest sequence the model has positions for
        backend.no_truncation()
        backend.no_padding()

    def __call__(self, texts: Sequence[str], instructions: Sequence[str | None]) -> list[Tokens]:
        """Tokenise each text behind its instruction; the result is in the order of the texts.

        Works group by group: a tokenizer's encodings take some hundred bytes a token, what is kept of them four.
        """
        return [tokens for group in self._groups(texts, instructions) for tokens in self._tokenise(group)]

    def _groups(self, texts: Sequence[str], instructions: Sequence[str | None]) -> Iterator[list[Wrapped]]:
        close = self._settings.pooling == "eos_token"
        group: list[Wrapped] = []
        size = 0
        for instruction, text in zip(instructions, texts, strict=True):
            string, start, suffix_at = self._template.wrap(instruction, self.shorten(text), close=close)
            if group and (len(group) == GROUP or size + len(string) > GROUP_CHARACTERS):
                yield group
                group, size = [], 0
            group.append((string, start, suffix_at, bool(instruction)))
            size += len(string)
        if group:
            yield group

    def _tokenise(self, group: Sequence[Wrapped]) -> list[Tokens]:
        whole = self._backend.encode_batch([string for string, _, _, _ in group])
        if self._settings.span == "offsets":
            tails = [
                _covering(encoding.offsets, start) for encoding, (_, start, _, _) in zip(whole, group, strict=True)
            ]
        else:
            ends = [string[start:] for string, start, _, _ in group]
            tails = [len(end.ids) for end in self._backend.encode_batch(ends, add_special_tokens=False)]
        return [
            self._span(encoding, tail, suffix_at, instructed)
            for encoding, tail, (_, _, suffix_at, instructed) in zip(whole, tails, group, strict=True)
        ]

    def shorten(self, text: str) -> str:
        """Cut a text of more than ``document_max_length`` tokens at the word border the original would choose.

        The original keeps ``words * limit / tokens`` words, counts again and repeats, with the count capped at
        ``max_length`` (``llm2vec.py:275-304``). White space inside the text is kept, and a text whose first word
        alone is too long (no blanks: Chinese, code, addresses) is cut after ``document_max_length`` tokens instead
        of vanishing. Where that limit does not bind, a text is cut ``MARGIN`` tokens behind the last one that
        ``max_length`` can leave, so that its length costs no memory.
        """
        limit, cap = self._settings.document_max_length, self._settings.max_length
        if len(text) * 4 < min(limit, cap):  # a token covers a byte at least; most short texts end here
            return text
        enough = max(cap, LEAST_TEXT) + MARGIN
        offsets = self._measure(text, enough)
        count = min(len(offsets), cap)
        if count <= limit:
            return text if len(offsets) < enough else _head(text, offsets[enough - 1][1])
        starts = [start for start, _ in offsets]
        words = np.fromiter((match.end() for match in WORD.finditer(text)), dtype=np.int64)
        keep = len(words)
        while keep and count > limit:
            keep = int(keep * limit / count)
            count = min(bisect.bisect_left(starts, int(words[keep - 1])), cap) if keep else 0
        return text[: words[keep - 1]] if keep else text[: offsets[limit][0] or offsets[limit][1]]

    def _measure(self, text: str, enough: int) -> list[tuple[int, int]]:
        """Offsets of the tokens of the text, or of a head of it that has at least ``enough`` of them."""
        size = enough * CHARACTERS_PER_TOKEN
        while True:
            offsets: list[tuple[int, int]] = self._backend.encode(text[:size], add_special_tokens=False).offsets
            if len(offsets) >= enough or size >= len(text):
                return offsets
            size *= 2

    def _span(self, encoding: Any, tail: int, suffix_at: int, instructed: bool) -> Tokens:
        """Find the pooled span and cut the text (only the text) to ``max_length``."""
        ids = np.asarray(encoding.ids, dtype=np.int32)
        length = len(ids)
        offsets, special = encoding.offsets, encoding.special_tokens_mask
        appended = 0  # special tokens that the tokenizer itself put at the end
        while appended < length and special[length - 1 - appended] and _is_empty(offsets[length - 1 - appended]):
            appended += 1
        closing = appended  # these and the tokens of the suffix are never cut
        while (
            closing < length and offsets[length - 1 - closing][0] >= suffix_at and suffix_at < offsets[-1 - appended][1]
        ):
            closing += 1
        end = length - appended
        text_start = max(0, end - tail)
        excess = min(length - self._settings.max_length, length - closing - text_start - LEAST_TEXT)
        if excess > 0:
            ids = np.concatenate([ids[: length - closing - excess], ids[length - closing :]])
            end -= excess
        everything = self._settings.pool_instruction or (self._settings.pool_bos and not instructed)
        start, end = (0, len(ids)) if everything else (text_start, end)
        if self._positions is not None and len(ids) > self._positions:
            raise ModelError(
                f"instruction, template and text come to {len(ids)} tokens, the model has {self._positions} positions; "
                "shorten the instruction or lower max_length"
            )
        return Tokens(ids, start, end)


def _head(text: str, end: int) -> str:
    """The first ``end`` characters and the last ``SEAM`` of the text, behind which a suffix is tokenised as before."""
    last = len(text.rstrip())
    return text[:end] + text[max(end, last - SEAM) : last]


def _covering(offsets: Sequence[tuple[int, int]], start: int) -> int:
    """How many tokens cover a character from ``start`` on."""
    return sum(1 for begin, end in offsets if end > start and end > begin)


def _is_empty(offset: tuple[int, int]) -> bool:
    return offset[0] == offset[1]
