from __future__ import annotations

import csv
import gzip
import io
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.corpus import Document, lines, open_source
from searchapp.errors import CorpusError
from tests.corpus.records import read

ids = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
prose = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
numbers = st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False, width=32)
# Words that no one could take for a number or a truth value.
values = st.booleans() | numbers | prose.map(lambda word: "w" + word)
rows = st.tuples(ids, prose.filter(str.strip), prose, values, st.none() | values)


@given(st.lists(rows, max_size=5), st.sampled_from([".csv", ".tsv", ".csv.gz", ".tsv.gz"]))
@settings(max_examples=60, deadline=None)
def test_what_csv_writes_comes_back(written: list[tuple[Any, ...]], ending: str) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter="\t" if "tsv" in ending else ",")
    writer.writerow(["id", "text", "title", "one", "two"])
    writer.writerows(written)
    data = buffer.getvalue().encode()
    expected = [
        Document(id, text, title, {"one": one} if two is None else {"one": one, "two": two})
        for id, text, title, one, two in written
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        path.write_bytes(gzip.compress(data) if ending.endswith(".gz") else data)
        assert read(path) == (expected, [])


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("2020", 2020),
        ("-3", -3),
        ("1.5", 1.5),
        ("-0.5", -0.5),
        ("1e-05", 1e-05),
        ("true", True),
        ("False", False),
        ("0", 0),
    ]
    + [
        (same, same)
        for same in [
            "007",
            "1,5",
            "nan",
            "inf",
            "1e999",
            "2020-01-01",
            "+3",
            " 3",
            "9" * 19,
            "٣",
            "-",
            "3.",
            "-2e3",
            "3.10",
            "12e5",
            "-0",
            "1E5",
            "0.0000001",
        ]
    ],
)
def test_cells_become_values_only_where_nothing_is_lost(tmp_path: Path, cell: str, value: Any) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'id,text,k,,empty\n007,true,"{cell}",unnamed,\n')
    (document,) = read(path)[0]
    assert (document.id, document.text) == ("007", "true")
    assert document.metadata == {"k": value}
    assert type(document.metadata["k"]) is type(value)


def test_bad_rows_are_rejected_at_the_line_where_they_start(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"\xef\xbb\xbf_id,text,k\r\n"  # 1
        b'1,"two\nlines",\r\n'  # 2 and 3
        b"\r\n"  # 4
        b"2,x\r\n"  # 5: a cell short
        b"3,x,y,z\r\n"  # 6: a cell too many
        b"4,\xff,\r\n"  # 7
        b"5,  ,\r\n"  # 8
        b",x,\r\n"  # 9
        b'6,"x"y,\r\n'  # 10: text after the closing quote
        b"7,x,\xc3\xa9\r\n"  # 11
        b"8,a\x00b,\r\n"  # 12
        b'9,"never\nclosed,\r\n'  # 13 and 14
    )
    found, rejected = read(path)
    assert found == [Document("1", "two\nlines"), Document("7", "x", "", {"k": "é"})]
    reasons = {item.line: item.reason for item in rejected}
    assert list(reasons) == [5, 6, 7, 8, 9, 10, 12, 13]
    assert reasons[5] == "2 cells, the header names 3"
    assert reasons[6] == "4 cells, the header names 3"
    assert reasons[7] == "invalid UTF-8 in `text`: save the file as UTF-8"
    assert reasons[8] == "empty text"
    assert reasons[9] == "`_id` is empty"
    assert reasons[10].startswith("not a row of the table: ")
    assert reasons[12] == "`text` holds a NUL character at character 2"
    assert reasons[13].startswith("not a row of the table (the row runs on to line 14): ")


def test_a_quote_never_closed_does_not_swallow_a_big_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,"open\n' + ("x" * 999 + "\n") * 18_000 + "2,fine\n")
    found, rejected = read(path)
    assert [document.id for document in found] == ["2"]
    assert rejected[0].line == 2
    assert "field larger than field limit" in rejected[0].reason
    assert rejected[-1].line == 18_002


def test_a_line_too_long_to_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    path = tmp_path / "a.csv"
    path.write_text(f"id,text\n1,{'x' * 200}\n2,x\n")
    found, rejected = read(path)
    assert [document.id for document in found] == ["2"]
    assert [(item.line, item.reason) for item in rejected] == [(2, "a line that is too long was cut")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"id,title\n1,x\n", "no text column: found id, title; expected `text`"),
        (b"name,text\n1,x\n", "no id column: found name, text; expected `_id` or `id`"),
        (b"id;name\n1;x\n", "found id;name"),
        (b"id,text,text\n", "the column `text` stands twice"),
        (b"", "empty; expected a header row"),
        (b"\n \n", "empty; expected a header row"),
        (b"id,text,\xff\n", "not valid UTF-8"),
        (b"sep=;\nid,text\n1,x\n", "found id,text"),
    ],
)
def test_a_table_without_its_columns(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(CorpusError) as caught:
        open_source(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
