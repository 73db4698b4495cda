"""Exports of Notion ("Markdown & CSV", a .zip file): pages below one another, databases with their rows' pages.

Names in an export end in an id of 32 hexadecimal digits, which titles leave out. A row of a database that has a page is
that page, with the row's cells as metadata; any other row is a passage of its own. Large exports are archives in one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import cast

from searchapp.corpus.block_readers import read_blocks
from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.archives import UNREAD
from searchapp.corpus.formats.charsets import decoded
from searchapp.corpus.formats.held import Held, enclosed, read_held
from searchapp.corpus.formats.markup import label_of
from searchapp.corpus.formats.notion_rows import Database, Head, Row, rows_of_pages, titles_of
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable, Value
from searchapp.corpus.formats.table import BY_NAME
from searchapp.corpus.formats.zipped import Zipped
from searchapp.corpus.reserved import RESERVED, kept

_PART = re.compile(r"(?:.*/)?ExportBlock-[0-9a-f-]+(?:-Part-[0-9]+)?\.zip$")
_HIDDEN = "__MACOSX/"
_CLIP = 500  # characters of a cell that is metadata
_SEPARATOR = " / "  # between the titles of pages that stand in one another
_TAKEN = frozenset((*RESERVED, "database"))  # names that passages of an export have themselves


def read(path: Path, limits: Limits) -> Iterator[Facts | Block]:
    """Yield empty facts, then the pages of an export, then the rows that have none. Raises Unreadable for another."""
    with ExitStack() as stack:
        outer = stack.enter_context(Zipped(path, limits))
        parts = {name: outer for name in outer.names}
        for name in [name for name in outer.names if _PART.match(name)]:
            inner = Zipped(cast(Path, Held(name, outer.read(name))), replace(limits))
            stack.enter_context(inner)
            del parts[name]
            parts |= {name: inner for name in inner.names}
        if not any(re.match(BY_NAME["notion"].pattern, name) for name in parts):
            raise Unreadable("no export of Notion (no file such as “Notes 0123456789abcdef0123456789abcdef.md”)")
        yield Facts(mime="application/zip")
        composer = Composer(limits)
        databases = list(_databases(parts))
        if cut := sum(not database.is_whole for database in databases):
            yield Facts(notes={"databases read in part": cut})
        rows = rows_of_pages(databases, _heads(parts, databases))
        for name in sorted(parts, key=titles_of):
            ending = PurePosixPath(name).suffix.lower()
            if name.startswith(_HIDDEN) or ending == ".csv":
                continue
            place: dict[str, Value] = {"archive": f"{path.name}!/{name}"}
            data = parts[name].read(name)
            if ending == ".md":
                yield from _page(name, decoded(data), rows.get(name), composer, place)
            else:
                shown = _SEPARATOR.join(titles_of(name))
                yield from enclosed(read_held(name, data, limits, UNREAD), shown, composer, place)
        paged = {id(row) for row in rows.values()}
        for database in databases:
            place = {"archive": f"{path.name}!/{database.name}"}
            for row in database.rows:
                if id(row) not in paged:
                    yield from _row(row, composer, place)


def _databases(parts: Mapping[str, Zipped]) -> Iterator[Database]:
    """The databases; of two files of one, that with all rows."""
    for name in sorted(parts):
        if name.lower().endswith(".csv") and f"{name[:-4]}_all.csv" not in parts and not name.startswith(_HIDDEN):
            yield Database.parse(name, decoded(parts[name].read(name)))


def _heads(parts: Mapping[str, Zipped], databases: list[Database]) -> Iterator[Head]:
    """The heads of the pages that may be of rows."""
    folders = {tuple(titles_of(database.name)) for database in databases}
    for name in sorted(parts):
        if name.lower().endswith(".md") and tuple(titles_of(name)[:-1]) in folders:
            data = next(parts[name].chunks(name), b"")
            yield Head.parse(name, decoded(data[: data.rfind(b"\n") + 1] or data))


def _page(name: str, text: str, row: Row | None, composer: Composer, place: dict[str, Value]) -> Iterator[Block]:
    """The blocks of a page, below a heading of the titles that it stands in; ``row`` is what it is of a database."""
    blocks = list(read_blocks(enumerate(text.splitlines(keepends=True), 1), ".md"))
    titles = titles_of(name)
    first = blocks[0] if blocks and blocks[0].kind is BlockKind.HEADING and blocks[0].level == 1 else None
    if first is not None:
        titles[-1] = first.label or titles[-1]  # names are cut short
    if row is not None:
        place = _told(row) | place
    heading = _SEPARATOR.join(titles)
    yield composer.block(
        BlockKind.HEADING, heading, level=1, label=label_of(heading), whole=True, where=place
    )  # fmt: skip
    for block in blocks:
        if block is not first and (content := block.text.rstrip()):
            level = block.level + 1 if block.kind is BlockKind.HEADING else block.level
            yield composer.block(
                block.kind, content, level=level, label=block.label, depth=block.depth, where=place
            )  # fmt: skip


def _row(row: Row, composer: Composer, place: dict[str, Value]) -> Iterator[Block]:
    """A row that has no page, a passage of its own."""
    where = _told(row) | place
    heading = _SEPARATOR.join(filter(None, [*titles_of(row.database), row.title]))
    yield composer.block(
        BlockKind.HEADING, heading, level=1, label=label_of(heading), whole=True, where=where
    )  # fmt: skip
    if lines := "\n".join(f"{column}: {value}" for column, value in row.cells.items()):
        yield composer.block(BlockKind.TEXT, lines, where=where)


def _told(row: Row) -> dict[str, Value]:
    """The cells of a row as metadata, and the title of its database."""
    told = kept({column: value[:_CLIP] for column, value in row.cells.items()}, _TAKEN)
    return {**told, "database": titles_of(row.database)[-1]}
