"""Tables of SQLite databases as records, and databases that would do more than be read."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from searchapp.corpus.document import Document, Rejected
from searchapp.corpus.source import open_source
from searchapp.corpus.sqlite import SqliteTable
from searchapp.errors import CorpusError


def made(path: Path, *statements: str) -> Path:
    with sqlite3.connect(path) as database:
        for statement in statements:
            database.execute(statement)
    database.close()
    return path


def rows(source: str) -> list[Document | Rejected]:
    records = list(open_source(source).records())
    assert not records or records[-1].progress == 1.0
    return [record.item for record in records]


def test_columns_by_their_names(tmp_path: Path) -> None:
    path = made(
        tmp_path / "a#b.db",
        "CREATE TABLE posts (ID INTEGER PRIMARY KEY, Title TEXT, text TEXT, stars REAL, picture BLOB, gone TEXT)",
        "INSERT INTO posts VALUES (7, 'Bees', 'They fly.', 4.5, x'00ff', NULL), (8, NULL, 'Wasps', 1e999, x'6869', 'no')",
    )
    first, second = rows(f"sqlite:{path.parent}/a%23b.db?table=posts")
    assert isinstance(first, Document) and isinstance(second, Rejected | Document)
    assert (first.id, first.title, first.text, first.metadata) == ("7", "Bees", "They fly.", {"stars": 4.5})
    assert isinstance(second, Document)
    assert (second.title, second.metadata) == ("", {"picture": "hi", "gone": "no"})


def test_columns_that_are_named_and_rows_without_an_id(tmp_path: Path) -> None:
    path = made(
        tmp_path / "a.db",
        'CREATE TABLE "my ""notes" (head TEXT, body VARCHAR(9), more TEXT, n INT, k TEXT)',
        "INSERT INTO \"my \"\"notes\" VALUES ('H', 'one', 'two', 3, 'x'), (NULL, NULL, '', 4, 'y')",
    )
    table = "my%20%22notes"
    named = rows(f"sqlite:{path}?table={table}&id=k&title=head&text=body,more")
    assert [(d.id, getattr(d, "text", None)) for d in named] == [("x", "one\n\ntwo"), ("y", None)]
    assert isinstance(named[1], Rejected) and named[1].line == 2
    numbered = rows(f"sqlite:{path}?table={table}")
    assert isinstance(numbered[0], Document)
    assert (numbered[0].id, numbered[0].text, numbered[0].metadata) == ("1", "H\n\none\n\ntwo\n\nx", {"n": 3})


def test_a_column_whose_name_another_takes_is_kept(tmp_path: Path) -> None:
    path = made(
        tmp_path / "a.db",
        "CREATE TABLE notes (id INT, _id INT, title TEXT, text TEXT, k TEXT, head TEXT, body TEXT)",
        "INSERT INTO notes VALUES (1, 2, 't', 'own', 'x', 'H', 'one')",
    )
    (found,) = rows(f"sqlite:{path}?table=notes&id=k&title=head&text=body")
    assert isinstance(found, Document) and (found.id, found.title, found.text) == ("x", "H", "one")
    assert found.metadata == {"source.id": 1, "source._id": 2, "source.title": "t", "source.text": "own"}


def test_a_text_that_is_no_utf8_spoils_its_row_alone(tmp_path: Path) -> None:
    path = made(
        tmp_path / "a.db", "CREATE TABLE t (id, text TEXT)", "INSERT INTO t VALUES (1, CAST(x'ff41' AS TEXT)), (2, 'b')"
    )
    bad, good = rows(f"sqlite:{path}?table=t")
    assert isinstance(bad, Rejected) and "UTF-8" in bad.reason
    assert isinstance(good, Document)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("sqlite:", "names no file"),
        ("sqlite:{0}", "names no table"),
        ("sqlite:{0}?table=x", "no table 'x'; expected one of its tables: t, v"),
        ("sqlite:{0}?table=t&text=x", "no column 'x'; expected one of id, n"),
        ("sqlite:{0}?table=t", "no column holds text"),
        ("sqlite:{0}?table=t&where=1", "'where' is not understood"),
        ("sqlite:{0}?table", "is not understood"),
        ("sqlite:{0}.none?table=t", "no such file"),
        ("sqlite:{1}?table=t", "file is not a database"),
    ],
)
def test_refused(tmp_path: Path, source: str, found: str) -> None:
    path = made(tmp_path / "a.db", "CREATE TABLE t (id INT, n INT)", "CREATE VIEW v AS SELECT 1 AS text")
    (tmp_path / "b.db").write_bytes(b"no database" * 100)
    with pytest.raises(CorpusError, match=found):
        rows(source.format(path, tmp_path / "b.db"))


def test_a_view_can_neither_load_nor_go_on_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = (
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n AS id, 'x' AS text FROM c WHERE n < 0"
    )
    path = made(
        tmp_path / "a.db",
        "CREATE VIEW loads AS SELECT 1 AS id, load_extension('/tmp/x') AS text",
        f"CREATE VIEW endless AS {endless}",
    )
    monkeypatch.setattr("searchapp.corpus.sqlite._MOST_LOOKS", 3)
    for view in ("loads", "endless"):
        with pytest.raises(CorpusError, match="not authorized|prohibited|unsafe|interrupted"):
            rows(f"sqlite:{path}?table={view}")


def test_parse() -> None:
    table = SqliteTable.parse("sqlite:/a b/c%3F.db?table=t&text=x,y")
    assert (str(table.path), table.table, table.text, table.label) == ("/a b/c?.db", "t", ("x", "y"), "c?.db:t")
