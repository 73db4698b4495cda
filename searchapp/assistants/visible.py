"""Texts as an assistant gets them: nothing in them that a person does not see, and no more than a budget of tokens.

Characters without a glyph can carry instructions that nobody reviewing the document would find (tag characters), or
show it in another order than it is read (bidirectional controls). They are written out by their numbers, as JSON has
them. What words a document has is never filtered.
"""

from __future__ import annotations

import math
import re

JOINERS = "\u200c\u200d"
HIDDEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
# A joiner between letters belongs to the spelling of Persian and Indic words, and to emoji.
UNSEEN = re.compile(
    rf"[{HIDDEN}]|(?<![^\x00-\x7f{HIDDEN}{JOINERS}])[{JOINERS}]|[{JOINERS}](?![^\x00-\x7f{HIDDEN}{JOINERS}])"
)
ASCII_A_TOKEN = 3  # characters; tokenizers differ, this is on the safe side for prose and code


def visible(text: str) -> str:
    """The text with characters that nobody sees written out as escapes; line ends and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return UNSEEN.sub(_escape, text.replace("\r\n", "\n"))


def one_line(text: str, most: int) -> str:
    """The text without line ends, cut to ``most`` characters."""
    line = " ".join(visible(text).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def quoted(text: str, most: int) -> str:
    """The text in one line, between quotation marks, for a message."""
    return f"'{one_line(text, most)}'"


def tokens(text: str) -> int:
    """About how many tokens a text has at most: ASCII characters by threes, others one each."""
    plain = len(text) if text.isascii() else sum(letter < "\x80" for letter in text)
    return math.ceil(plain / ASCII_A_TOKEN) + len(text) - plain


def fitting(text: str, start: int, characters: int, budget: int) -> tuple[str, int]:
    """As much of ``text[start:]`` as fits, visible, and where it ends in ``text``: at least one character."""
    end = min(len(text), start + characters)
    while True:
        shown = visible(text[start:end])
        cost = tokens(shown)
        if cost <= budget or end - start <= 1:
            return shown, end
        end = start + max(1, min(end - start - 1, (end - start) * budget // cost))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
