from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.corpus import Document
from searchapp.corpus.cells import typed
from tests.corpus.records import read

TWO = ([Document("1", "a b", "T"), Document("2", "c d", "U")], [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "id;title;text\n1;T;a b\n2;U;c d\n"),
        ("a.csv", "sep=;\nid;title;text\n1;T;a b\n2;U;c d\n"),
        ("a.csv", "sep=;\r\n\r\nid;title;text\r\n1;T;a b\r\n2;U;c d\r\n"),
        ("a.csv", '"sep=|"\nid|title|text\n1|T|a b\n2|U|c d\n'),
        ("a.csv", "id\ttitle\ttext\n1\tT\ta b\n2\tU\tc d\n"),
        ("a.tsv", "id,title,text\n1,T,a b\n2,U,c d\n"),
        ("a.csv", "id, title, text\n1, T, a b\n2, U, c d\n"),
        ("a.csv", 'id, "title", text\n1, "T", "a b"\n2, "U", c d\n'),
        ("a.csv", "ID,Title,TEXT\n1,T,a b\n2,U,c d\n"),
        ("a.csv", " _id ,title ,Text\n1,T,a b\n2,U,c d\n"),
        ("a.csv", "id,title,text\r1,T,a b\r2,U,c d\r"),
        ("a.tsv", "id\ttitle\ttext\r1\tT\ta b\r2\tU\tc d"),
        ("a.jsonl", '{"id": 1, "title": "T", "text": "a b"}\r{"id": 2, "title": "U", "text": "c d"}\r'),
    ],
)
def test_dialects_that_are_certain(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert read(path) == TWO


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quotes", [(0,), (0, 3), (2,), (1, 2), (4,)])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_no_row_vanishes_behind_a_stray_quote(tmp_path: Path, name: str, quotes: tuple[int, ...], ending: str) -> None:
    delimiter = "\t" if name.endswith("tsv") else ","
    quote = '"'
    texts = [quote * (row in quotes[:1]) + f"row {row}" + quote * (row in quotes[1:]) for row in range(5)]
    path = tmp_path / name
    path.write_bytes(
        "".join(f"{id}{delimiter}{text}{ending}" for id, text in [("id", "text"), *enumerate(texts)]).encode()
    )
    found, rejected = read(path)
    assert len(found) + len(rejected) == 5
    assert {document.id: document.text for document in found}.items() <= {
        str(row): text for row, text in enumerate(texts)
    }.items()
    if delimiter == "\t":
        assert not rejected


def test_quoted_cells_over_several_lines_stay_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    cells = ["Dear Bob, hello\nI am here, and there\nYours, Al", "one\n\ntwo", "x,y\n1,2"]
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("id", "text"), *((f"d{row}", cell) for row, cell in enumerate(cells))])
    path.write_text(buffer.getvalue(), newline="")
    found, rejected = read(path)
    assert [document.text for document in found] == cells
    assert not rejected


objects = st.lists(
    st.fixed_dictionaries({"text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9).map(lambda t: "w" + t), "m": st.recursive(st.none() | st.integers(0, 9) | st.text("ab[]{},\"\\\n", max_size=5), lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text("a]", max_size=2), part, max_size=2), max_leaves=5)}),
    min_size=1,
    max_size=5,
)  # fmt: skip


@given(objects, st.sampled_from([None, 0, 1, 4]), st.booleans())
@settings(max_examples=100, deadline=None)
def test_an_array_of_objects_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], indent: int | None, escaped: bool
) -> None:
    rows = [{"_id": f"d{number}", **row} for number, row in enumerate(rows)]
    path = tmp_path_factory.mktemp("array") / "a.jsonl"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=escaped), "utf-8", newline="")
    found, rejected = read(path)
    assert [{"_id": item.id, "text": item.text, **item.metadata} for item in found] == rows
    assert not rejected


@pytest.mark.parametrize(
    ("text", "ids", "reasons"),
    [
        ('[\n{"_id": "1", "text": "a"},\n{"_id": "2", "text": "b"}\n]\n', ["1", "2"], []),
        ('[{"_id": "1", "text": "a"},\n {"_id": "2", "text": }]\n', ["1"], ["invalid JSON"]),
        ('[{"_id": "1", "text": "a"},\n {"_id": "2", "text": "b"}\n', ["1"], ["not closed"]),
        ('[{"_id": "1", "text": "a"}]\n{"_id": "2", "text": "b"}\n', ["1", "2"], []),
        ('[1, 2]\n{"_id": "2", "text": "b"}\n', ["2"], ["a JSON list"]),
        ('[]\n{"_id": "2", "text": "b"}\n', ["2"], ["a JSON list"]),
        ('[\n{"_id": "1", "text": "a"}\n] x\n', ["1"], ["after the end"]),
    ],
)
def test_arrays_in_part(tmp_path: Path, text: str, ids: list[str], reasons: list[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    found, rejected = read(path)
    assert [document.id for document in found] == ids
    assert len(rejected) == len(reasons)
    assert all(reason in item.reason for reason, item in zip(reasons, rejected, strict=True))


@given(st.text("0123456789.eE+-tTrRuUfFaAlLsS", max_size=8))
def test_a_number_comes_back_as_it_was_written(cell: str) -> None:
    value = typed(cell)
    assert str(value) == cell or (isinstance(value, bool) and cell.lower() == str(value).lower())


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize("id", [" a", "a ", "  a  "])
def test_ids_with_outer_blanks_are_rejected(tmp_path: Path, name: str, id: str) -> None:
    path = tmp_path / name
    path.write_text(
        f"id,text\n{id},x\nb,y\n"
        if name == "a.csv"
        else "".join(json.dumps({"id": i, "text": "x"}) + "\n" for i in (id, "b"))
    )
    found, rejected = read(path)
    assert [document.id for document in found] == ["b"]
    assert [item.reason for item in rejected] == ["`id` begins or ends with a blank: remove it"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_the_header_again_is_no_document(tmp_path: Path, name: str) -> None:
    part = "ID,Title,text\n{},T,a b\n".replace(",", "\t" if name.endswith("tsv") else ",")
    path = tmp_path / name
    path.write_text(part.format(1) + part.format(2))
    found, rejected = read(path)
    assert [document.id for document in found] == ["1", "2"]
    assert [(item.line, "header row again" in item.reason) for item in rejected] == [(3, True)]


def test_quotes_behind_backslashes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,"he said \\"hi\\" to me"\n2,"a\\", b"\n3,ok\n')
    found, rejected = read(path)
    assert [document.id for document in found] == ["3"]
    assert ["backslash" in item.reason for item in rejected] == [True, True]


@given(
    st.recursive(
        st.integers(), lambda inner: st.lists(st.tuples(st.sampled_from("abc"), inner), max_size=3), max_leaves=8
    )
)
@settings(max_examples=200, deadline=None)
def test_a_name_that_stands_twice_is_never_guessed(tmp_path_factory: pytest.TempPathFactory, drawn: Any) -> None:
    doubled = False

    def written(value: Any) -> str:
        nonlocal doubled
        if not isinstance(value, list):
            return json.dumps(value)
        doubled |= len({name for name, _ in value}) != len(value)
        return "{" + ",".join(f"{json.dumps(name)}: {written(part)}" for name, part in value) + "}"

    path = tmp_path_factory.mktemp("twice") / "a.jsonl"
    path.write_text(f'{{"id": 1, "text": "t", "m": {written(drawn)}}}\n')
    found, rejected = read(path)
    assert (len(found), len(rejected)) == (not doubled, doubled)
    assert all("stands twice" in item.reason for item in rejected)
