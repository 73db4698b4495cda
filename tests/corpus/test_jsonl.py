from __future__ import annotations

import gzip
import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.corpus import MAX_CHARACTERS, Document, Rejected, lines, open_source
from searchapp.errors import CorpusError
from tests.corpus.records import read

ids = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
prose = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
texts = prose.filter(str.strip)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | prose
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(prose, inner, max_size=3))
names = prose.filter(lambda name: name not in ("_id", "id", "text", "title", "metadata"))
metadata = st.dictionaries(names, values, max_size=3)
documents = st.builds(Document, id=ids, text=texts, title=prose, metadata=metadata)


@given(
    st.lists(documents, max_size=5), st.sampled_from([".jsonl", ".jsonl.gz", ".ndjson"]), st.booleans(), st.booleans()
)
@settings(max_examples=60, deadline=None)
def test_what_json_writes_comes_back(written: list[Document], ending: str, ascii: bool, nested: bool) -> None:
    rows = []
    for document in written:
        row: dict[str, Any] = {"_id": document.id, "text": document.text, "title": document.title}
        row |= {"metadata": dict(document.metadata)} if nested else document.metadata
        rows.append(json.dumps(row, ensure_ascii=ascii) + "\n")
    data = "".join(rows).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        path.write_bytes(gzip.compress(data) if ending.endswith(".gz") else data)
        assert read(path) == (written, [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"_id": "a", "text": "x"', "invalid JSON at column 25: Expecting ',' delimiter"),
        (b'["a"]', "a JSON list, expected an object"),
        (b"3", "a JSON int"),
        (b'{"_id": "a", "text": "\xff"}', "invalid UTF-8: 0xff at byte 23 of the line (byte offset 52"),
        (b'{"_id": "a"}', "no `text` field"),
        (b'{"text": "x"}', "no `_id` or `id` field"),
        (b'{"_id": null, "text": "x"}', "no `_id` or `id` field"),
        (b'{"_id": "a", "text": 3}', "`text` is a number, expected a string"),
        (b'{"_id": "a", "text": null}', "`text` is null"),
        (b'{"_id": "a", "text": "x", "title": ["t"]}', "`title` is a list, expected a string"),
        (b'{"_id": "a", "text": " \\n\\t"}', "empty text"),
        (b'{"_id": "a", "title": " ", "text": ""}', "empty text"),
        (b'{"_id": " ", "text": "x"}', "`_id` is empty"),
        (b'{"_id": 1.5, "text": "x"}', "`_id` is a number, expected a string or an integer"),
        (b'{"_id": true, "text": "x"}', "`_id` is true or false"),
        (b'{"_id": "a\\nb", "text": "x"}', "`_id` holds the control character U+000A at character 2"),
        (b'{"_id": "a\\tb", "text": "x"}', "U+0009"),
        (b'{"id": "a\\u2028", "text": "x"}', "`id` holds the control character U+2028"),
        (b'{"_id": "a", "text": "x\\u0000"}', "`text` holds a NUL character at character 2"),
        (b'{"_id": "a", "text": "x\\ud800y"}', "`text` holds a lone surrogate at character 2"),
        (b'{"_id": "a", "text": "x", "k": ["\\udfff"]}', "metadata `k` holds a lone surrogate"),
        (b'{"_id": "a", "text": "x", "\\udfff": 1}', "holds a lone surrogate"),
        (b'{"_id": "a", "text": "x", "k": NaN}', "NaN is not in the language"),
        (b'{"_id": "a", "text": "x", "k": -Infinity}', "-Infinity is not in the language"),
        (b'{"_id": "a", "text": "x", "k": 1e999}', "metadata `k` holds inf, which is not valid JSON"),
        (b'{"_id": "a", "text": "x", "k": ' + b"9" * 5000 + b"}", "limit"),
        (b'{"_id": "a", "text": "x", "k": ' + b"[" * 200 + b"]" * 200 + b"}", "nested more than 100 deep"),
        (b"[" * 100_000, "nested too deep"),
        (json.dumps({"_id": "a", "text": "x" * (MAX_CHARACTERS + 1)}).encode(), "1,000,001 characters"),
    ],
)
def test_a_bad_line_is_rejected_at_its_line(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    good = b'{"_id": "%d", "text": "good"}\n'
    path.write_bytes(good % 1 + b"\n" + line + b"\r\n" + good % 2)
    found, rejected = read(path)
    assert [document.id for document in found] == ["1", "2"]
    assert [(item.file, item.line) for item in rejected] == [(str(path), 3)]
    assert reason in rejected[0].reason
    assert "\n" not in rejected[0].reason


def test_a_rejection_knows_a_sound_id(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 7, "text": ""}\n{"id": "a\\n", "text": "x"}\n')
    assert [item.id for item in read(path)[1]] == ["7", None]


def test_the_longest_text_and_a_line_of_ten_megabytes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    text = "é" * MAX_CHARACTERS
    path.write_text(json.dumps({"_id": 1, "text": text}) + "\n" + json.dumps({"_id": 2, "text": "x", "k": "y" * 10**7}))
    assert [(item.id, len(item.text)) for item in read(path)[0]] == [("1", MAX_CHARACTERS), ("2", 1)]


def test_a_line_too_long_to_hold_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    path = tmp_path / "a.jsonl"
    path.write_text('{"_id": 1, "text": "x"}\n' + "y" * 3_000_000 + '\n{"_id": 3, "text": "x"}')
    found, rejected = read(path)
    assert [item.id for item in found] == ["1", "3"]
    assert [(item.line, item.reason) for item in rejected] == [(2, "line longer than 100 bytes: split it")]


def test_byte_order_mark_blank_lines_and_both_ids(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"_id": "a", "id": "b", "text": "x", "metadata": {"k": 1, "m": 2}, "k": 3}\n\n  \r\n'
    )
    assert read(path) == ([Document("a", "x", "", {"id": "b", "k": 3, "m": 2})], [])


def test_metadata_that_is_no_object_stays_a_field(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "text": "x", "metadata": "m"}')
    assert read(path)[0][0].metadata == {"metadata": "m"}


def test_a_truncated_gzip_file_says_the_line_reached(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    rows = [json.dumps({"_id": n, "text": f"{n * n} {'ab'[n % 2]}"}) + "\n" for n in range(20_000)]
    data = gzip.compress("".join(rows).encode())
    path.write_bytes(data[: len(data) // 2])
    seen = 0
    source = open_source(str(path))
    with pytest.raises(CorpusError) as caught:
        for record in source.records():
            assert isinstance(record.item, Document)
            assert record.item.id == str(seen)
            seen += 1
    assert 0 < seen < 20_000
    assert f"{path}: damaged gzip data after line {seen} (" in str(caught.value)


@pytest.mark.parametrize("damage", ["checksum", "garbage behind"])
def test_damaged_gzip_data_is_an_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.jsonl.gz"
    data = gzip.compress(b'{"_id": 1, "text": "x"}\n')
    path.write_bytes(data[:-8] + b"\0" * 8 if damage == "checksum" else data + b"garbage")
    with pytest.raises(CorpusError, match="damaged gzip data after line 1 "):
        read(path)


@pytest.mark.parametrize(
    ("name", "data"), [("a.jsonl.gz", b"{}"), ("b.csv.gz", b""), ("c.jsonl", gzip.compress(b"{}", mtime=0))]
)
def test_a_name_that_lies_about_gzip(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CorpusError, match="gzip data"):
        open_source(str(tmp_path / name))


def test_memory_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    row = json.dumps({"_id": 1, "text": "word " * 2000}).encode() + b"\n"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(2000):
            file.write(row)
    tracemalloc.start()
    count = sum(not isinstance(record.item, Rejected) for record in open_source(str(path)).records())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 2000
    assert peak < 2 * 2**20


def test_a_title_alone_is_a_document(tmp_path: Path) -> None:
    """Half of the CACM collection has nothing but titles."""
    path = tmp_path / "c.jsonl"
    path.write_text('{"_id": "a", "title": "only a title", "text": ""}\n')
    [document], rejections = read(path)
    assert (document.title, document.text, document.place) == ("only a title", "", (str(path), 1))
    assert not rejections
