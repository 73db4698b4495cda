"""Exports of Notion ("Markdown & CSV", a .zip file): pages below one another, databases with their rows' pages.

Names in an export end in an id of 32 hexadecimal digits, which titles leave out. A row of a database that has a page is
that page, with the row's cells as metadata; any other row is a passage of its own. Large exports are archives in one.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import cast

from searchapp.corpus.block_readers import read_blocks
from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.formats.archives import UNREAD
from searchapp.corpus.formats.held import Held, enclosed, read_held
from searchapp.corpus.formats.markup import label_of
from searchapp.corpus.formats.reading import Composer, Facts, Limits, Unreadable, Value
from searchapp.corpus.formats.table import BY_NAME
from searchapp.corpus.formats.texts import decoded
from searchapp.corpus.formats.zipped import Zipped

_ID = re.compile(r"[ _-]?[0-9a-f]{32}(?=$|[._])")
_PART = re.compile(r"(?:.*/)?ExportBlock-[0-9a-f-]+(?:-Part-[0-9]+)?\.zip$")
_CLIP = 500  # characters of a cell that is metadata
_SEPARATOR = " / "  # between the titles of pages that stand in one another


@dataclass(slots=True)
class _Database:
    """A database: its title and the titles around it, its rows by their first cell, those without a page last."""

    title: str
    rows: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    def take(self, title: str) -> Mapping[str, str]:
        """The cells of a row with this title, which is then no longer among the rows."""
        found = self.rows.get(title, [])
        return found.pop(0) if found else {}


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
        databases = _databases(parts)
        for name in sorted(parts, key=_titles):
            ending = PurePosixPath(name).suffix.lower()
            if name.startswith("__MACOSX/") or ending == ".csv":
                continue
            place: dict[str, Value] = {"archive": f"{path.name}!/{name}"}
            data = parts[name].read(name)
            if ending == ".md":
                yield from _page(name, decoded(data), databases, composer, place)
            else:
                shown = _SEPARATOR.join(_titles(name))
                yield from enclosed(read_held(name, data, limits, UNREAD), shown, composer, place)
        for name, database in databases.items():
            yield from _rows(database, composer, {"archive": f"{path.name}!/{name}"})


def _titles(name: str) -> list[str]:
    """The titles of a file and of what it is in, without ids."""
    stem = name.removesuffix(PurePosixPath(name).suffix)
    return [_ID.sub("", part.removesuffix("_all")).strip() or part for part in stem.split("/")]


def _databases(parts: Mapping[str, Zipped]) -> dict[str, _Database]:
    """The databases by the names of their files; of two of one database, that with all rows."""
    found: dict[str, _Database] = {}
    for name in sorted(parts):
        if not name.lower().endswith(".csv") or f"{name[:-4]}_all.csv" in parts:
            continue
        database = found[name] = _Database(_SEPARATOR.join(_titles(name)))
        text = decoded(parts[name].read(name)).removeprefix("\ufeff")
        try:
            for row in csv.DictReader(io.StringIO(text, newline=""), restkey="", restval=""):
                cells = {str(key): value for key, value in row.items() if key and isinstance(value, str) and value}
                title = next(iter(row.values()), "") if row else ""
                if cells:
                    database.rows.setdefault(str(title).strip(), []).append(cells)
        except csv.Error:
            continue  # what was read of it stands
    return found


def _page(
    name: str, text: str, databases: Mapping[str, _Database], composer: Composer, place: dict[str, Value]
) -> Iterator[Block]:
    """The blocks of a page, below a heading of the titles that it stands in."""
    blocks = list(read_blocks(enumerate(text.splitlines(keepends=True), 1), ".md"))
    titles = _titles(name)
    first = blocks[0] if blocks and blocks[0].kind is BlockKind.HEADING and blocks[0].level == 1 else None
    if first is not None:
        titles[-1] = first.label or titles[-1]  # names are cut short
    above = "/".join(_titles(name)[:-1])
    for place_of, database in databases.items():
        if "/".join(_titles(place_of)) == above and (cells := database.take(titles[-1])):
            told = {key: value[:_CLIP] for key, value in cells.items() if value != titles[-1]}
            place = {**told, "database": database.title.rpartition(_SEPARATOR)[2], **place}
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


def _rows(database: _Database, composer: Composer, place: dict[str, Value]) -> Iterator[Block]:
    """The rows of a database that have no page, each a passage of its own."""
    where: dict[str, Value] = {"database": database.title.rpartition(_SEPARATOR)[2], **place}
    for title, rows in database.rows.items():
        for cells in rows:
            heading = _SEPARATOR.join(filter(None, [database.title, title]))
            told = {key: value[:_CLIP] for key, value in cells.items() if value != title}
            yield composer.block(
                BlockKind.HEADING, heading, level=1, label=label_of(heading), whole=True, where={**told, **where}
            )  # fmt: skip
            lines = "\n".join(f"{key}: {value}" for key, value in cells.items() if value != title)
            if lines:
                yield composer.block(BlockKind.TEXT, lines, where={**told, **where})
