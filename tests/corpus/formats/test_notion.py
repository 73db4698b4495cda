"""Exports of Notion: titles without ids, pages in one another, databases joined with the pages of their rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.cells import MOST_CHARACTERS
from searchapp.corpus.cut_rule import CutRule, estimate
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.document import Document
from searchapp.corpus.formats.notion import read
from searchapp.corpus.formats.notion_rows import Database, Head, rows_of_pages
from searchapp.corpus.formats.reading import Facts, Limits, Unreadable
from searchapp.corpus.formats.table import BY_NAME, recognise
from searchapp.corpus.reserved import RESERVED, kept
from searchapp.corpus.selection import Selection
from searchapp.corpus.source import find_source
from tests.corpus.formats.packages import package

ID = "0123456789abcdef0123456789abcde"
TASKS = 'Name,Status,Due\r\nBuy honey,Done,"May 6, 2024"\r\nSell wax,Open,\r\nA long title that is cut in the name,Open,\r\n'
PARTS = {
    f"Home {ID}0.md": "# Home\n\nWelcome.\n\n## News\n\nNothing.\n",
    f"Home/Tasks {ID}1.csv": "Name,Status\r\nBuy honey,Done\r\n",
    f"Home/Tasks {ID}1_all.csv": "\ufeff" + TASKS,
    f"Home/Tasks/Buy honey {ID}2.md": "# Buy honey\n\nStatus: Done\nDue: May 6, 2024\n\nFrom Ann.\n",
    f"Home {ID}0/Tasks {ID}1/A long title {ID}3.md": "# A long title that is cut in the name\n\nText.\n",
    f"Other {ID}4.md": "no heading\n",
    "Home/picture.png": "x",
}


def passages(path: Path) -> dict[str, tuple[str, dict[str, object]]]:
    found: dict[str, tuple[str, dict[str, object]]] = {}
    heading = ""
    for item in read(path, Limits()):
        if not isinstance(item, Block):
            continue
        if item.whole:
            heading = item.text.strip()
            found[heading] = ("", dict(item.where or {}))
        else:
            text, where = found[heading]
            assert dict(item.where or {}) == where
            found[heading] = (f"{text}|{item.text.strip()}", where)
    return found


@pytest.mark.parametrize("nested", [False, True])
def test_pages_and_databases(tmp_path: Path, nested: bool) -> None:
    path = package(tmp_path / "export.zip", PARTS)
    if nested:
        inner = path.read_bytes()
        path = package(tmp_path / "outer.zip", {f"ExportBlock-{ID[:8]}-0000-0000-0000-{ID[:12]}-Part-1.zip": inner})
    assert recognise(path, BY_NAME["archive"]) is BY_NAME["notion"]
    found = passages(path)
    assert {heading: text for heading, (text, _) in found.items()} == {
        "Home": "|Welcome.|## News|Nothing.",
        "Home / Tasks / Buy honey": "|Status: Done\nDue: May 6, 2024|From Ann.",
        "Home / Tasks / A long title that is cut in the name": "|Text.",
        "Other": "|no heading",
        "Home / Tasks / Sell wax": "|Status: Open",
    }
    where = found["Home / Tasks / Buy honey"][1]
    assert (where["Status"], where["Due"], where["database"]) == ("Done", "May 6, 2024", "Tasks")
    assert str(where["archive"]).endswith(f".zip!/Home/Tasks/Buy honey {ID}2.md")
    assert found["Home / Tasks / Sell wax"][1]["Status"] == "Open"
    news = next(item for item in read(path, Limits()) if isinstance(item, Block) and item.label == "News")
    assert (news.kind, news.level) == (BlockKind.HEADING, 3)


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    path = package(tmp_path / "a.zip", {"notes.md": "x", f"{ID}.md": "x"})
    assert recognise(path, BY_NAME["archive"]) is BY_NAME["archive"]
    with pytest.raises(Unreadable, match="no export of Notion"):
        list(read(path, Limits()))
    path.write_bytes(b"x")
    with pytest.raises(Unreadable, match="no zip file"):
        list(read(path, Limits()))


def rows_by_page(table: str, *pages: str) -> list[str]:
    """The column ``Key`` of the row that each page is given; "" where it is given none."""
    heads = [Head.parse(f"Tasks/A {ID}{n:x}.md", text) for n, text in enumerate(pages)]
    found = rows_of_pages([Database.parse(f"Tasks {ID}f_all.csv", table)], heads)
    return [found[head.name].cells["Key"] if head.name in found else "" for head in heads]


@pytest.mark.parametrize(
    ("rows", "pages", "keys"),
    [
        # Pages stand in another order than rows.
        ("A,Done,1\nA,Open,2", ["# A\n\nStatus: Open\nKey: 2\n", "# A\n\nStatus: Done\nKey: 1\n\nText"], ["2", "1"]),
        # A line that is missing says that the cell is empty.
        ("A,,1\nA,Open,1", ["# A\n\nKey: 1\n", "# A\n\nStatus: Open\nKey: 1\n"], ["1", "1"]),
        ("A,Done,1\nA,Open,2", ["# A\n\nSome text.\n", "# A\n\nStatus: Done\nKey: 2"], ["", ""]),
        # One row for two pages: it is that of which all cells are said.
        ("A,Done,1", ["# A\n\nAnother page.\n", "# A\n\nKey: 1\nStatus: Done\n"], ["", "1"]),
        ("A,Done,1", ["# A\n\nStatus: Done\nKey: 1\n"] * 2, ["", ""]),
        # Equal rows are one to their pages; a row and a page that are alone are one another's.
        ("A,Done,1\nA,Done,1", ["# A\n\nStatus: Done\nKey: 1\n"] * 2, ["1", "1"]),
        ("A,Done,1", ["# A\n\nText.\n"], ["1"]),
        # Names of pages as values are linked otherwise in a page; a value may go on over lines.
        ("A,B (https://www.notion.so/B-1),1\nA,C,2", ["# A\n\nKey: 1\nStatus: B (../B%201.md)\n", "# A\nStatus: C\nKey: 2"], ["1", "2"]),
        ('A,"one\ntwo",1\nA,one,2', ["# A\n\nStatus: one\ntwo\n\nx", "# A\n\nStatus: one\nKey: 2"], ["", "2"]),
        ('A,"one\ntwo",1\nA,one,2', ["# A\n\nKey: 1\nStatus: one\ntwo\n\nx"], ["1"]),
    ],
)  # fmt: skip
def test_a_row_is_that_of_the_page_that_says_its_cells(rows: str, pages: list[str], keys: list[str]) -> None:
    assert rows_by_page(f"Name,Status,Key\n{rows}\n", *pages) == keys


def test_databases_of_one_title_are_told_by_ids_and_cells() -> None:
    first, second = (Database.parse(f"Home/Tasks {ID}{n}.csv", f"Name,Key\nA,{n}\n") for n in range(2))
    old = [Head.parse(f"Home/Tasks {ID}{n}/A {ID}{n + 2}.md", "# A\n") for n in (1, 0)]
    new = [Head.parse(f"Home/Tasks/A {ID}{n}.md", f"# A\n\nKey: {n}\n") for n in (1, 0, 2)]
    for heads in (old, new):
        found = rows_of_pages([first, second], heads)
        assert [found[head.name].database[-5] for head in heads if head.name in found] == ["1", "0"]


@pytest.fixture
def as_python_starts() -> Iterator[None]:
    """The limit of cells as it is before anything has raised it."""
    before = csv.field_size_limit(131_072)
    yield
    csv.field_size_limit(before)


@pytest.mark.usefixtures("as_python_starts")
def test_long_cells_are_read_and_rows_that_are_not_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(characters: int) -> tuple[list[str], dict[str, int]]:
        tasks = f"Name,Text\nA,b\nLong,{'y ' * (characters // 2)}\nBehind,c\n"
        path = package(tmp_path / "export.zip", {f"Tasks {ID}1_all.csv": tasks})
        notes = {note: n for item in read(path, Limits()) if isinstance(item, Facts) for note, n in item.notes.items()}
        return list(passages(path)), notes

    assert made(140_000) == (["Tasks / A", "Tasks / Long", "Tasks / Behind"], {})
    assert csv.field_size_limit() == MOST_CHARACTERS
    monkeypatch.setattr("searchapp.corpus.cells.MOST_CHARACTERS", 150_000)
    csv.field_size_limit(131_072)
    assert made(160_000) == (["Tasks / A"], {"databases read in part": 1})


def test_a_column_takes_the_place_of_nothing_that_a_passage_says_itself(tmp_path: Path) -> None:
    names = [*RESERVED, "database", "id", "_id", "text", "metadata"]
    table = f"Name,{','.join(names)}\nA,{','.join(f'own {name}' for name in names)}\nB\n"
    path = package(tmp_path / "export.zip", {f"T {ID}1.csv": table, f"T/B {ID}2.md": "# B\n\nText.\n"})
    source = find_source(str(path), selection=Selection(include=("*.zip=notion",)))
    items = [record.item for record in source.records(Cutter(CutRule(), estimate))]
    page, row = (dict(item.metadata) for item in items if isinstance(item, Document))
    assert {name: row.pop(f"source.{name}") for name in names} == {name: f"own {name}" for name in names}
    assert set(row) == set(page) and row["database"] == "T" and row["mime"] == "application/zip"


def test_a_name_that_a_file_has_already_is_not_taken_from_it() -> None:
    own = {"page": 1, "source.page": 2, "source.source.page": 3, "Status": 4}
    found = kept(own, frozenset(("page",)))
    assert found == {"source.source.source.page": 1, "source.page": 2, "source.source.page": 3, "Status": 4}
