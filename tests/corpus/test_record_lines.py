"""The lines of records against those that the readers give, and against numbers written down by hand."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from searchapp.corpus import Document, open_source
from searchapp.corpus.delimited import header_end
from searchapp.corpus.record_lines import LARGEST, record_lines

JSONL = [
    json.dumps({"_id": "a", "text": 'the id "b" is in here, {"_id": "b"} too'}),
    "",
    json.dumps({"title": "x", "text": "after a blank line", "id": "b"}),
    json.dumps({"_id": 17, "text": "a number is an id, and 17 is in the text of others"}),
    json.dumps({"_id": "zoë", "text": "escaped"}),
    json.dumps({"_id": "日本", "text": "as it stands"}, ensure_ascii=False),
    json.dumps({"_id": 'qu"ote\\', "text": "signs"}),
]
CSV = (
    'title,id,text\none,a,"first, of two lines\nb,b,not a row"\n"two",b,second\nthree,"c ""d""",third\n'
    "four,17,fourth\nfive, e ,fifth\n"
)


def by_reader(path: Path) -> dict[str, int]:
    items = [record.item for record in open_source(str(path)).records()]
    return {item.id: item.place[1] for item in items if isinstance(item, Document)}


@pytest.mark.parametrize("name, content", [("x.jsonl", "\n".join(JSONL)), ("x.csv", CSV), ("x.csv", "\ufeff" + CSV)])
def test_lines_are_those_of_the_reader(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    expected = by_reader(path)
    assert len(expected) >= 4
    assert record_lines(path, name.partition(".")[2], [*expected, "none of them"]) == expected


def test_lines_by_hand(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("\n".join(JSONL), encoding="utf-8")
    found = record_lines(tmp_path / "x.jsonl", "jsonl", ["a", "b", "17", "zoë", "日本", 'qu"ote\\', "c"])
    assert found == {"a": 1, "b": 3, "17": 4, "zoë": 5, "日本": 6, 'qu"ote\\': 7}
    (tmp_path / "x.tsv").write_text("id\ttext\na\tone\nb\ttwo\n", encoding="utf-8")
    assert record_lines(tmp_path / "x.tsv", "tsv", ["b"]) == {"b": 3}
    (tmp_path / "semi.csv").write_text("id;text\na;one, two\n", encoding="utf-8")
    assert record_lines(tmp_path / "semi.csv", "csv", ["a"]) == {"a": 2}


def test_what_cannot_be_looked_through_has_no_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps({"_id": "a", "text": "x"})
    with gzip.open(tmp_path / "x.jsonl.gz", "wt") as file:
        file.write(line)
    assert record_lines(tmp_path / "x.jsonl.gz", "jsonl", ["a"]) == {}
    assert record_lines(tmp_path / "gone.jsonl", "jsonl", ["a"]) == {}
    assert record_lines(tmp_path, "jsonl", ["a"]) == {}
    (tmp_path / "x.jsonl").write_text(line)
    assert record_lines(tmp_path / "x.jsonl", "parquet", ["a"]) == {}
    assert record_lines(tmp_path / "x.jsonl", "csv", ["a"]) == {}
    monkeypatch.setattr("searchapp.corpus.record_lines.LARGEST", len(line) - 1)
    assert len(line) < LARGEST
    assert record_lines(tmp_path / "x.jsonl", "jsonl", ["a"]) == {}


def test_cells_that_csv_refuses_unless_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"id,text\na,{'long ' * 30_000}\nb,short\n")
    headed = tmp_path / "headed.csv"
    headed.write_text(f"id,text,{'c' * 140_000}\na,b,c\n")
    before = csv.field_size_limit(131_072)  # as Python starts
    try:
        assert record_lines(path, "csv", ["a", "b"]) == {"a": 2, "b": 3}
        csv.field_size_limit(131_072)
        assert header_end(headed, "headed.csv", ",") == 140_009
    finally:
        csv.field_size_limit(before)
