"""Blocks of plain text: paragraphs between blank lines, and list items by their marks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from searchapp.corpus.blocks import Block, BlockKind, Builder, Located, indent_of

_ITEM = re.compile(r"[ \t]*(?:[-*+•‣◦·–]|\(?[0-9]{1,9}[.)]|\(?[a-zA-Z][.)])[ \t]+\S")  # noqa: RUF001 - a dash is meant
_UNWRAPPED = 200  # characters in a line from which on the line is a paragraph: nobody wraps text so wide
_MARKS = frozenset("-*+•‣◦·–(0123456789")  # noqa: RUF001


def plain_blocks(lines: Iterable[Located]) -> Iterator[Block]:
    """Yield the paragraphs and list items of a plain text; it has no headings.

    A mark begins an item at the start of a paragraph, behind another item, and behind a line that ends with a colon:
    elsewhere a dash or a year that happens to begin a line would cut a sentence. A line of more than 200 characters is
    a paragraph of its own.
    """
    builder = Builder()
    fresh = True
    colon = False
    for line in lines:
        stripped = line.text.strip()
        if not stripped:
            builder.blank(line)
            fresh = True
            continue
        item = False
        if fresh or colon or builder.kind is BlockKind.LIST_ITEM:
            lettered = len(stripped) > 1 and stripped[1] in ".)"
            item = (stripped[0] in _MARKS or lettered) and _ITEM.match(line.text) is not None
        if item:
            builder.begin(BlockKind.LIST_ITEM, line, level=1 + indent_of(line.text) // 2)
        elif fresh:
            builder.begin(BlockKind.TEXT, line)
        else:
            builder.add(line)
        fresh, colon = len(stripped) > _UNWRAPPED, stripped[-1] == ":"
        if builder.ready:
            yield from builder.take()
    builder.close()
    yield from builder.take()
