"""From (instruction, text) to token ids with the span to pool.

The whole string (prefix, instruction, text, suffix) is tokenized in one piece, as the original does, so that its
vectors are reproduced. Where the pooled text begins is found in one of two ways, a setting of the checkpoint:

- ``offsets``: at the first token that covers a character of the text;
- ``count``: as many tokens before the end as text and suffix have when tokenized alone. This is the original's
  contract, which its checkpoints were trained and measured with; at the border it can be off by some tokens, since a
  word that follows a space is cut differently from one that begins a string.

Either is applied before anything is cut, so that a cut can never move the span onto the instruction.
"""

from __future__ import annotations

import bisect
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from searchapp.encoder.settings import Settings
from searchapp.encoder.template import Template
from searchapp.errors import ModelError

LEAST_TEXT = 16  # tokens a text keeps when instruction and template alone fill max_length
CHARACTERS_PER_TOKEN = 8  # a head of this many characters a token is tokenized to measure a text; then twice as many
MARGIN = 256  # tokens measured beyond the last one kept: where the head ends its tokens are not those of the text
SEAM = 64  # characters kept from the end of a text that is cut
GROUP, GROUP_CHARACTERS = 1_024, 1 << 20  # texts and characters that are tokenized together
SLACK = 16  # tokens by which a text can have more alone than behind a template, where its first word is cut otherwise
WORD = re.compile(r"\S+")


Wrapped = tuple[str, int, int, str | None]  # whole string, where the text and the suffix begin, the instruction


@dataclass(frozen=True, slots=True)
class Tokens:
    """``ids`` int32 (length,); the positions ``start`` to ``end`` (exclusive) are pooled."""

    ids: np.ndarray
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Located:
    """A tokenized text, and which of its characters its tokens cover.

    ``places`` int64 (n,) are those among the ids that cover some; ``spans`` int64 (n, 2) the first and one-past-last
    character of the text that each of these covers.
    """

    tokens: Tokens
    places: np.ndarray
    spans: np.ndarray


class Tokenization:
    """Tokenizes for one model: holds the fast tokenizer, the template and the lengths."""

    def __init__(
        self, backend: Any, settings: Settings, template: Template, positions: int | None, *, from_left: bool = False
    ) -> None:
        self._backend = backend  # tokenizers.Tokenizer
        self._settings = settings
        self._template = template
        self._positions = positions  # the longest sequence the model has positions for
        backend.no_truncation()
        backend.no_padding()
        if settings.lower_case:
            self._backend = _lowering(backend)
        self._from_left = from_left  # which end of a sequence that is too long is cut, where that is done natively
        self._prompts: dict[str, int] = {}  # tokens of each prompt alone

    def __call__(self, texts: Sequence[str], instructions: Sequence[str | None]) -> list[Tokens]:
        """Tokenize each text behind its instruction; the result is in the order of the texts.

        Works group by group: a tokenizer's encodings take some hundred bytes a token, what is kept of them four. Most
        texts are tokenized once: whether one has to be shortened shows in its tokens, unless it is so long that it
        surely has.
        """
        done: list[Tokens] = []
        for _, items, whole in self._encoded(texts, instructions):
            done += self._spans(items, whole)
        return done

    def locate(self, texts: Sequence[str], instructions: Sequence[str | None]) -> list[Located]:
        """As ``__call__``, with the place of each token in its text.

        Those of template and instruction, and special ones that the tokenizer adds, have none. A character that several
        tokens make up (bytes) is in the span of each of them.
        """
        done: list[Located] = []
        for group, items, whole in self._encoded(texts, instructions):
            kept = self._spans(items, [_Numbered(encoding) for encoding in whole])
            for (_, text), item, encoding, left in zip(group, items, whole, kept, strict=True):
                ids = np.asarray(encoding.ids, dtype=np.int32)[left.ids]
                places, spans = _within(text, item, np.array(encoding.offsets).reshape(-1, 2)[left.ids])
                done.append(Located(Tokens(ids, left.start, left.end), places, spans))
        return done

    def _encoded(
        self, texts: Sequence[str], instructions: Sequence[str | None]
    ) -> Iterator[tuple[list[tuple[str | None, str]], list[Wrapped], list[Any]]]:
        """Yield group by group the instructions and texts, the strings made of them, and the encodings of these."""
        close = self._settings.pooling == "eos_token"
        limit = min(self._settings.document_max_length, self._settings.max_length)

        def wrapped(instruction: str | None, text: str) -> Wrapped:
            return (*self._template.wrap(instruction, text, close=close), instruction or None)

        whole_texts = self._from_left and self._settings.native
        for group in _groups(texts, instructions, limit * CHARACTERS_PER_TOKEN):
            items = [
                wrapped(
                    asked, text if self._from_left or len(text) <= limit * CHARACTERS_PER_TOKEN else self.shorten(text)
                )
                for asked, text in group
            ]
            whole = self._backend.encode_batch([string for string, _, _, _ in items])
            again = [
                number
                for number, encoding in enumerate(whole)
                if not whole_texts and len(encoding) + SLACK > limit and limit <= 4 * len(group[number][1])
            ]
            for number in again:
                asked, text = group[number]
                items[number] = wrapped(asked, self.shorten(text))
            for number, encoding in zip(
                again, self._backend.encode_batch([items[number][0] for number in again]), strict=True
            ):
                whole[number] = encoding
            yield group, items, whole

    @property
    def reach(self) -> int:
        """How many tokens of a text are read at most; ``lengths`` counts on this scale."""
        return min(self._settings.document_max_length, self._settings.max_length)

    def lengths(self, texts: Sequence[str], instruction: str | None) -> np.ndarray:
        """Tokens of each text behind ``instruction``, uncut: int64 (n,). Above ``reach`` a text is not read whole.

        Two limits hold, one for the text alone and one for the whole sequence (instruction, template, special tokens).
        The count is that of the limit which the text comes nearest to, moved so that either limit lies at ``reach``.
        """
        close = self._settings.pooling == "eos_token"
        special = self._backend.num_special_tokens_to_add(False)
        alone, whole = self._settings.document_max_length, self._settings.max_length
        counts: list[int] = []
        for group in _groups(texts, [instruction or None] * len(texts), GROUP_CHARACTERS):
            plain = [text for _, text in group]
            strings = [self._template.wrap(asked, text, close=close)[0] for asked, text in group]
            totals = [len(encoding) for encoding in self._backend.encode_batch_fast(strings)]
            if strings == plain:
                bodies = [total - special for total in totals]
            else:
                found = self._backend.encode_batch_fast(plain, add_special_tokens=False)
                bodies = [len(encoding) for encoding in found]
            over = (max(body - alone, total - whole) for body, total in zip(bodies, totals, strict=True))
            counts += [max(0, self.reach + excess) for excess in over]
        return np.array(counts, dtype=np.int64)

    def _spans(self, items: Sequence[Wrapped], whole: Sequence[Any]) -> list[Tokens]:
        if self._settings.span == "offsets":
            firsts: list[int | None] = [
                _first_covering(encoding.offsets, start)
                for encoding, (_, start, _, _) in zip(whole, items, strict=True)
            ]
            tails = [0] * len(items)
        elif self._settings.span == "prompt":
            firsts = [self._prompt_tokens(asked) for _, _, _, asked in items]
            tails = [0] * len(items)
        else:
            ends = [string[start:] for string, start, _, _ in items]
            firsts = [None] * len(items)
            tails = [len(end.ids) for end in self._backend.encode_batch(ends, add_special_tokens=False)]
        return [
            self._span(encoding, first, tail, suffix_at, bool(asked))
            for encoding, first, tail, (_, _, suffix_at, asked) in zip(whole, firsts, tails, items, strict=True)
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

    def _prompt_tokens(self, prompt: str | None) -> int:
        """Tokens that a prompt has alone, as sentence-transformers counts them: without a special token at the end."""
        if not prompt:
            return 0
        if prompt not in self._prompts:
            encoding = self._backend.encode(prompt)
            ids = self._cut(np.asarray(encoding.ids), _appended(encoding), encoding.special_tokens_mask)
            known = self._backend.get_added_tokens_decoder()
            special = len(ids) and int(ids[-1]) in known and known[int(ids[-1])].special
            self._prompts[prompt] = len(ids) - bool(special)
        return self._prompts[prompt]

    def _cut(self, ids: np.ndarray, appended: int, special: Sequence[int]) -> np.ndarray:
        """Cut a sequence to ``max_length``, between what the tokenizer puts before and behind it."""
        excess = len(ids) - self._settings.max_length
        if excess <= 0:
            return ids
        stop = len(ids) - appended
        lead = next((place for place in range(stop) if not special[place]), stop)
        excess = min(excess, stop - lead)
        first = lead if self._from_left else stop - excess
        return np.concatenate([ids[:first], ids[first + excess :]])

    def _span(self, encoding: Any, first: int | None, tail: int, suffix_at: int, instructed: bool) -> Tokens:
        """Find the pooled span and cut the text (only the text) to ``max_length``.

        The span begins at token ``first``, or where that is None ``tail`` tokens before the end.
        """
        ids = np.asarray(encoding.ids, dtype=np.int32)
        length = len(ids)
        offsets, special = encoding.offsets, encoding.special_tokens_mask
        appended = _appended(encoding)
        closing = appended  # these and the tokens of the suffix are never cut
        while (
            closing < length and offsets[length - 1 - closing][0] >= suffix_at and suffix_at < offsets[-1 - appended][1]
        ):
            closing += 1
        end = length - appended
        text_start = max(0, end - tail) if first is None else min(first, end)
        if self._settings.native:
            ids = self._cut(ids, appended, special)
            end = min(len(ids), end)
        excess = min(length - self._settings.max_length, length - closing - text_start - LEAST_TEXT)
        if excess > 0 and not self._settings.native:
            ids = np.concatenate([ids[: length - closing - excess], ids[length - closing :]])
            end -= excess
        everything = self._settings.pool_instruction or (self._settings.pool_bos and not instructed)
        start, end = (0, len(ids)) if everything else (text_start, end)
        if self._settings.native:
            end = len(ids)  # what the tokenizer appends is pooled too
        if self._positions is not None and len(ids) > self._positions:
            raise ModelError(
                f"instruction, template and text come to {len(ids)} tokens, the model has {self._positions} positions; "
                "shorten the instruction or lower max_length"
            )
        return Tokens(ids, start, end)


class _Numbered:
    """An encoding with the numbers of its tokens in place of their ids: what is left of them shows what was cut."""

    def __init__(self, encoding: Any) -> None:
        self.ids = np.arange(len(encoding), dtype=np.int32)
        self.offsets, self.special_tokens_mask = encoding.offsets, encoding.special_tokens_mask


def _within(text: str, item: Wrapped, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens, by the characters (n, 2) of the whole string that they cover, lie in the text; and where in it."""
    string, start, stop, _ = item
    body = string[start:stop]
    if not text.startswith(body):  # a long one, of which the head and the very end were tokenized
        body = os.path.commonprefix([body, text])
    spans = np.clip(offsets.astype(np.int64) - start, 0, len(body))
    places = np.flatnonzero((spans[:, 0] < spans[:, 1]) & (offsets[:, 0] < offsets[:, 1]))
    return places, spans[places]


def _lowering(backend: Any) -> Any:
    """A tokenizer that lowers texts before anything else: this one, if it does so already, else a copy of it."""
    import json

    from tokenizers import Tokenizer, normalizers

    present = backend.normalizer
    if present is not None:
        content = json.loads(backend.to_str())["normalizer"]
        rules = content["normalizers"] if content["type"] == "Sequence" else [content]
        if any(rule["type"] == "Lowercase" or rule.get("lowercase") for rule in rules):
            return backend
    rest = (
        [present[i] for i in range(len(present))]
        if isinstance(present, normalizers.Sequence)
        else [present]
        if present is not None
        else []
    )
    made = Tokenizer.from_str(backend.to_str())
    made.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rest])
    return made


def _head(text: str, end: int) -> str:
    """The first ``end`` characters and the last ``SEAM`` of the text, behind which a suffix is tokenized as before."""
    last = len(text.rstrip())
    return text[:end] + text[max(end, last - SEAM) : last]


def _groups(
    texts: Sequence[str], instructions: Sequence[str | None], most: int
) -> Iterator[list[tuple[str | None, str]]]:
    """Cut instructions and texts into groups that are tokenized together; a text counts ``most`` characters at most."""
    group: list[tuple[str | None, str]] = []
    size = 0
    for instruction, text in zip(instructions, texts, strict=True):
        length = len(instruction or "") + min(len(text), most)
        if group and (len(group) == GROUP or size + length > GROUP_CHARACTERS):
            yield group
            group, size = [], 0
        group.append((instruction, text))
        size += length
    if group:
        yield group


def _first_covering(offsets: Sequence[tuple[int, int]], start: int) -> int:
    """The first token that covers a character from ``start`` on; behind the last one where there is none."""
    return next((i for i, (begin, end) in enumerate(offsets) if end > start and end > begin), len(offsets))


def _appended(encoding: Any) -> int:
    """How many special tokens the tokenizer itself put at the end."""
    offsets, special, length = encoding.offsets, encoding.special_tokens_mask, len(encoding.ids)
    appended = 0
    while appended < length and special[length - 1 - appended] and _is_empty(offsets[length - 1 - appended]):
        appended += 1
    return appended


def _is_empty(offset: tuple[int, int]) -> bool:
    return offset[0] == offset[1]
