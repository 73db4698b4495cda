"""What every reader of a format is made of: its limits, the facts of a file, its fault, and blocks composed of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.errors import CorpusError

Value = str | int | float | bool
DOUBT = 1.5  # times the characters that are read, up to which a sample does not decide


class Unreadable(CorpusError):
    """A file cannot be read. The message is the reason alone, in small letters, such as ``password``."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader may take of one file.

    ``characters`` of text, ``pages`` (or slides, sheets, parts), ``depth`` of nesting, ``unpacked`` bytes of an
    archive, ``ratio`` of unpacked to packed bytes that is allowed beyond the first 10 MB. ``passwords`` are tried where
    a file asks for one.
    """

    characters: int = 200_000_000
    pages: int = 100_000
    depth: int = 500
    unpacked: int = 1 << 30
    ratio: int = 200
    parts: int = 100_000
    passwords: tuple[str, ...] = field(default=(), repr=False)

    def check_expected(self, characters: float) -> None:
        """Refuse a file that has so much text, if a sample is right, and by far too much. Raises Unreadable."""
        if characters > DOUBT * self.characters:
            most = f"at most {self.characters / 1e6:,.0f} million are read"
            raise Unreadable(f"too much text: some {characters / 1e6:,.0f} million characters; {most}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file says of itself; empty where it says nothing.

    ``date`` is ISO 8601, ``language`` as declared, ``pages`` their number. ``notes`` count what was left out, such as
    ``{"pages without text": 3}``. ``metadata`` is given to every passage: names of ``docs/how-to`` such as ``from``.

    They come first. A reader that learns more on its way may give facts again: of these the notes alone are taken.
    """

    title: str = ""
    author: str = ""
    date: str = ""
    language: str = ""
    mime: str = ""
    pages: int | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)


Reader = Callable[[Path, Limits], Iterator[Facts | Block]]


class Composer:
    """Makes blocks of text that a reader composes, and counts where they stand in it.

    Places count in the composed text: characters from 0, lines from 1. Each block ends with a blank line.
    """

    __slots__ = ("_characters", "_limits", "_line")

    def __init__(self, limits: Limits) -> None:
        self._characters, self._line, self._limits = 0, 1, limits

    def block(
        self,
        kind: BlockKind,
        text: str,
        *,
        level: int = 0,
        label: str = "",
        depth: int = 0,
        page: int | None = None,
        anchor: str = "",
        whole: bool = False,
        where: Mapping[str, Value] | None = None,
        end_page: int | None = None,
    ) -> Block:
        """The next block. ``text`` has no white space at its ends. Raises Unreadable past the limit of characters."""
        lines = text.count("\n")
        start, line = self._characters, self._line
        self._characters += len(text) + 2
        self._line += lines + 2
        if self._characters > self._limits.characters:
            raise Unreadable(f"more than {self._limits.characters:,} characters of text")
        return Block(
            kind, f"{text}\n\n", line, line + lines, start, self._characters, level, label, depth, page, anchor, whole,
            where, end_page,
        )  # fmt: skip
