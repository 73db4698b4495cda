"""Rows of the databases in an export of Notion, and which of the export's pages each row has.

A row and its page have one title. Where several rows or pages of a database have it, the lines ``name: value`` below a
page's title, which say what the cells of its row say, decide. Where they do not, the page is given no cells, and the
row is one without a page.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import PurePosixPath

from searchapp.corpus.block_readers import read_blocks
from searchapp.corpus.blocks import BlockKind
from searchapp.corpus.cells import allow_long_cells

_ID = re.compile(r"[ _-]?([0-9a-f]{32})(?=$|[._])")
_LINK = re.compile(r"\s*\((?:https?://|[^()]*\.(?:md|csv)\b)[^()]*\)")  # where a page that is a value can be found


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A row: the name of its database's file, its title, its other cells by their columns; none of them is empty."""

    database: str
    title: str
    cells: Mapping[str, str]

    @property
    def content(self) -> tuple[str, frozenset[tuple[str, str]]]:
        """Rows of equal content are one to a page."""
        return self.database, frozenset(self.cells.items())


@dataclass(slots=True)
class Database:
    """A database: the name of its file, its rows in order; ``is_whole``: whether the file was read to its end."""

    name: str
    rows: list[Row] = field(default_factory=list)
    is_whole: bool = True

    @classmethod
    def parse(cls, name: str, text: str) -> Database:
        """Read the file of a database, up to what is no CSV or a cell that is too long. Raises nothing."""
        allow_long_cells()
        database = cls(name)
        try:
            rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
            columns = next(rows, [])[1:]  # the first is the title
            for title, *values in filter(None, rows):
                cells = {column: value for column, value in zip(columns, values, strict=False) if column and value}
                if title.strip() or cells:
                    database.rows.append(Row(name, title.strip(), cells))
        except csv.Error:
            database.is_whole = False
        return database


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What the start of a page says: the name of its file, its title, the lines behind that."""

    name: str
    title: str
    lines: tuple[str, ...]

    @classmethod
    def parse(cls, name: str, text: str) -> Head:
        """The head of a page; ``text`` is its start."""
        lines = text.splitlines(keepends=True)
        first = next(iter(read_blocks(enumerate(lines, 1), ".md")), None)
        if first is None or first.kind is not BlockKind.HEADING or first.level != 1:
            return cls(name, titles_of(name)[-1], tuple(lines))
        return cls(name, first.label or titles_of(name)[-1], tuple(lines[first.end_line :]))

    def told(self, columns: frozenset[str]) -> dict[str, str]:
        """The values of the lines ``name: value`` at its start, of these names; a value may go on over lines."""
        found: dict[str, str] = {}
        name = ""
        for line in "".join(self.lines).lstrip().splitlines():
            if not line.strip():
                break
            key, colon, value = line.partition(":")
            if colon and key.strip() in columns and key.strip() not in found:
                name = key.strip()
                found[name] = value
            elif name:
                found[name] += f" {line}"
            else:
                break
        return found


def titles_of(name: str) -> list[str]:
    """The titles of a file and of what it is in, without ids."""
    return [_ID.sub("", part.removesuffix("_all")).strip() or part for part in _parts(name)]


def rows_of_pages(databases: Iterable[Database], heads: Iterable[Head]) -> dict[str, Row]:
    """The rows of which the pages are, by the names of the pages' files."""
    around: dict[tuple[str, ...], list[Database]] = defaultdict(list)
    for database in databases:
        around[tuple(titles_of(database.name))].append(database)
    groups: dict[tuple[str, ...], list[Head]] = defaultdict(list)
    for head in heads:
        above = str(PurePosixPath(head.name).parent)
        own = [one.name for one in around.get(tuple(titles_of(head.name)[:-1]), []) if _are_one(one.name, above)]
        if own:
            groups[head.title, *own].append(head)
    rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in chain.from_iterable(database.rows for database in chain.from_iterable(around.values())):
        rows[row.database, row.title].append(row)
    found: dict[str, Row] = {}
    for (title, *names), pages in groups.items():
        found |= _pairs(pages, [row for name in names for row in rows.get((name, title), ())])
    return found


def _pairs(pages: list[Head], rows: list[Row]) -> dict[str, Row]:
    """The rows of pages that all have one title, as far as they can be told."""
    if len(pages) == len(rows) == 1:
        return {pages[0].name: rows[0]}
    alike: dict[object, list[Row]] = defaultdict(list)
    for row in rows:
        alike[row.content].append(row)
    names = frozenset(chain.from_iterable(row.cells for row in rows))
    columns = [name for name in names if len({_plain(row.cells.get(name, "")) for row in rows}) > 1]
    if len(pages) > len(rows):  # one of them is the page of no row: all cells have to be said
        columns = list(names)
    claims: dict[object, list[Head]] = defaultdict(list)
    for page in pages:
        own = page.told(names)
        fitting = [
            content for content, of in alike.items()
            if all(_plain(own.get(name, "")) == _plain(of[0].cells.get(name, "")) for name in columns)
        ]  # fmt: skip
        if len(fitting) == 1:
            claims[fitting[0]].append(page)
    return {
        page.name: row
        for content, claimed in claims.items()
        if len(claimed) <= len(alike[content])
        for page, row in zip(claimed, alike[content], strict=False)
    }


def _parts(name: str) -> list[str]:
    """The names of a file and of what it is in, without the file's ending."""
    return name.removesuffix(PurePosixPath(name).suffix).split("/")


def _are_one(database: str, folder: str) -> bool:
    """Whether a database of the same titles as a folder is that of the folder: no ids say otherwise."""
    for own, other in zip(_parts(database), folder.split("/"), strict=True):
        first, second = _ID.search(own), _ID.search(other)
        if first and second and first[1] != second[1]:
            return False
    return True


def _plain(value: str) -> str:
    """A value as it can be compared: a database links the pages that it names, as its pages do, but otherwise."""
    return " ".join(_LINK.sub("", value).split())
