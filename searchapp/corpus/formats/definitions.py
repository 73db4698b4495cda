"""Definitions in source code, by lines, and the blocks they make: a function or class is a passage of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.markup import label_of
from searchapp.corpus.formats.reading import Limits, Unreadable, Value

_DEEPEST = 16  # definitions in one another; what is nested deeper counts to the sixteenth


@dataclass(frozen=True, slots=True)
class Definition:
    """A function, class or the like. Lines count from 1.

    ``first`` is that of the comment, decorator or annotation above it, ``body`` the one behind its signature, ``last``
    its last. ``doc`` is the last line of the docstring that its body begins with, else 0.
    """

    name: str
    kind: str
    first: int
    body: int
    last: int
    doc: int = 0


def definition_blocks(text: str, found: Iterable[Definition], limits: Limits) -> Iterator[Block]:
    """Yield the blocks of source code, which are its lines from the first to the last.

    ``found`` comes in the order of ``first``, what stands in another behind it. A signature is a definition, its
    docstring text, its body code. Each knows by ``where`` the symbol it belongs to and what kind that is. Of two
    definitions on one line the first counts.
    """
    if len(text) > limits.characters:
        raise Unreadable(f"more than {limits.characters:,} characters of text")
    lines = _Lines(text)
    stack: list[Definition] = []
    line = 1
    for one in found:
        while stack and stack[-1].last < one.first:
            line = lines.add(BlockKind.CODE, line, stack[-1].last, stack)
            stack.pop()
        if one.body <= line or one.last < line or (stack and one.last > stack[-1].last):
            continue
        line = lines.add(BlockKind.CODE, line, one.first - 1, stack)
        stack.append(one)
        line = lines.add(BlockKind.SIGNATURE, line, min(one.body - 1, one.last), stack)
        if one.doc:
            line = lines.add(BlockKind.TEXT, line, min(one.doc, one.last), stack)
    while stack:
        line = lines.add(BlockKind.CODE, line, stack[-1].last, stack)
        stack.pop()
    lines.add(BlockKind.CODE, line, lines.count, stack)
    yield from lines.blocks()


@dataclass(slots=True)
class _Run:
    """Lines that are a block, up to and with the line ``last``."""

    kind: BlockKind
    last: int
    depth: int
    label: str
    where: Mapping[str, Value]


class _Lines:
    """The lines of a text and the blocks that they are made into, in order."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self.count = len(self._lines)
        self._runs: list[_Run] = []

    def add(self, kind: BlockKind, first: int, last: int, stack: list[Definition]) -> int:
        """Make a block of lines; blank ones at its start belong to the block before. The line behind them."""
        last = min(last, self.count)
        begin = first
        while begin <= last and not self._lines[begin - 1].strip():
            begin += 1
        if begin > first and self._runs:
            self._runs[-1].last = begin - 1
        if begin > last:
            return max(first, last + 1)
        depth = min(len(stack), _DEEPEST)
        signature = kind is BlockKind.SIGNATURE
        where: dict[str, Value] = {"kind": "module"}
        if stack:
            where = {"symbol": ".".join(one.name for one in stack if one.name)[:500], "kind": stack[-1].kind}
        label = label_of(stack[-1].name) if signature else ""
        self._runs.append(_Run(kind, last, max(0, depth - signature), label, where))
        return last + 1

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks, with the places of their lines."""
        line, start = 1, 0
        while line <= self.count and not self._lines[line - 1].strip():
            start += len(self._lines[line - 1]) + 1
            line += 1
        for run in self._runs:
            part = self._lines[line - 1 : run.last]
            text = "\n".join(part) + ("\n" if run.last < self.count else "")
            end_line = line + len(text.rstrip().split("\n")) - 1
            yield Block(
                run.kind, text, line, end_line, start, start + len(text), 0, run.label, run.depth, where=run.where
            )  # fmt: skip
            line, start = run.last + 1, start + len(text)
