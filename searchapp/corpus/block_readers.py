"""The readers of blocks by the ending of a file's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from searchapp.corpus.asciidoc_blocks import asciidoc_blocks
from searchapp.corpus.blocks import Block, Located, located
from searchapp.corpus.front_matter import FrontMatter
from searchapp.corpus.latex_blocks import latex_blocks
from searchapp.corpus.log_blocks import log_blocks
from searchapp.corpus.markdown_blocks import markdown_blocks
from searchapp.corpus.org_blocks import org_blocks
from searchapp.corpus.plain_blocks import plain_blocks
from searchapp.corpus.rst_blocks import rst_blocks

BLOCK_READERS: dict[str, Callable[[Iterable[Located]], Iterator[Block]]] = {
    ".txt": plain_blocks,
    ".md": markdown_blocks,
    ".rst": rst_blocks,
    ".org": org_blocks,
    ".adoc": asciidoc_blocks,
    ".asciidoc": asciidoc_blocks,
    ".tex": latex_blocks,
    ".log": log_blocks,
}


def read_blocks(
    lines: Iterable[tuple[int, str]],
    ending: str,
    about: FrontMatter = FrontMatter(0),  # noqa: B008 - it is frozen
) -> Iterator[Block]:
    """Yield the blocks of a file from its lines (number from 1, text with its line end).

    ``ending`` is that of the file's name, with its dot, in small letters. Front matter that was understood is counted
    and left out; other is plain text, without headings.
    """
    reader = BLOCK_READERS[ending]
    if about.fields is not None or not about.lines:
        return reader(located(lines, about.lines))
    return _below_plain(lines, reader, about.lines)


def _below_plain(
    lines: Iterable[tuple[int, str]], reader: Callable[[Iterable[Located]], Iterator[Block]], count: int
) -> Iterator[Block]:
    every = located(lines)
    top: list[Located] = []
    for line in every:
        top.append(line)
        if len(top) == count:
            break
    return chain(plain_blocks(top), reader(every))
