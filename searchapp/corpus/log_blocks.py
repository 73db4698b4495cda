"""Blocks of log files: an entry is a line with the lines that are indented below it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from searchapp.corpus.blocks import Block, BlockKind, Builder, Located

_GOES_ON = ("Traceback ", "Caused by:", "}", ")")


def log_blocks(lines: Iterable[Located]) -> Iterator[Block]:
    """Yield the entries of a log, each as a row: they are parted between entries, not inside one."""
    builder = Builder()
    for line in lines:
        if not line.text.strip():
            builder.blank(line)
        elif builder.kind is not None and (line.text[0].isspace() or line.text.startswith(_GOES_ON)):
            builder.add(line)
        else:
            builder.begin(BlockKind.TABLE_ROW, line)
        if builder.ready:
            yield from builder.take()
    builder.close()
    yield from builder.take()
