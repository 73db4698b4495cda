"""Jupyter notebooks (.ipynb, formats 2 to 4): cells of Markdown with their structure, code, short outputs of text.

A cell of Markdown begins a passage of its own; the code below it belongs to it. Source: nbformat 4.5 and 3.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from searchapp.corpus.blocks import Block, BlockKind, located
from searchapp.corpus.formats.json_text import load, objects, text_of
from searchapp.corpus.formats.markup import label_of
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable
from searchapp.corpus.markdown_blocks import markdown_blocks

MIME = "application/x-ipynb+json"
MOST_OUTPUT = 2_000  # characters from which on an output is data, not text to be found
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield the facts of a notebook, then the blocks of its cells, with ``{"cell": n}``, n from 1."""
    book = load(path)
    if not isinstance(book, dict) or not ("cells" in book or "worksheets" in book):
        raise Unreadable("damaged: no notebook (has neither “cells” nor “worksheets”)")
    sheets = [book, *objects(book.get("worksheets"))]
    cells = [cell for sheet in sheets for cell in objects(sheet.get("cells"))]
    about = book.get("metadata")
    about = about if isinstance(about, dict) else {}
    authors = ", ".join(text_of(author.get("name")) for author in objects(about.get("authors")))
    yield Facts(title=text_of(about.get("title")) or text_of(about.get("name")), author=authors, mime=MIME)
    composer = Composer(limits)
    for number, cell in enumerate(cells, 1):
        yield from _cell(cell, composer, {"cell": number})


def _cell(cell: Mapping[str, Any], composer: Composer, where: Mapping[str, int]) -> Iterator[Block]:
    kind = cell.get("cell_type")
    source = text_of(cell.get("source", cell.get("input")))
    if kind == "heading":  # up to format 3
        level = cell.get("level")
        level = level if isinstance(level, int) and 0 < level < 7 else 1
        if text := " ".join(source.split()):
            yield composer.block(
                BlockKind.HEADING, text, level=level, label=label_of(text), whole=True, where=where
            )  # fmt: skip
    elif kind == "markdown":
        whole = True
        for block in markdown_blocks(located(enumerate(source.splitlines(keepends=True), 1))):
            if text := _trimmed(block.text):
                yield composer.block(
                    block.kind, text, level=block.level, label=block.label, depth=block.depth, whole=whole, where=where
                )
                whole = False
    elif text := _trimmed(source):
        yield composer.block(BlockKind.CODE if kind == "code" else BlockKind.TEXT, text, where=where)
    for output in objects(cell.get("outputs")):
        text = _trimmed(_COLOURS.sub("", _output(output)))
        if text and len(text) < MOST_OUTPUT:
            yield composer.block(BlockKind.CODE, text, where=where)


def _output(output: Mapping[str, Any]) -> str:
    """The text of an output, of an error what it says; "" of pictures and pages."""
    if output.get("output_type") in ("error", "pyerr"):
        return f"{text_of(output.get('ename'))}: {text_of(output.get('evalue'))}"
    data = output.get("data")
    return text_of(output.get("text")) or (text_of(data.get("text/plain")) if isinstance(data, dict) else "")


def _trimmed(text: str) -> str:
    return text.strip("\n\r").rstrip()
