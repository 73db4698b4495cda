"""Training data: what the files of people hold comes out, what is wrong is said by its line."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.adapt.data import PairFile, TrainingPair, hash_file, read_pairs, read_texts
from searchapp.adapt.dataset import as_pair, pair_dataset, text_dataset
from searchapp.errors import AdaptError

prose = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
texts = prose.filter(str.strip)
numbers = st.floats(-1e6, 1e6)


@st.composite
def pairs(draw: st.DrawFn) -> TrainingPair:
    pair = TrainingPair(
        draw(texts), tuple(draw(st.lists(texts, min_size=1, max_size=3))), tuple(draw(st.lists(texts, max_size=3)))
    )
    count = len(pair.positives) + len(pair.negatives)
    scores = draw(st.none() | st.lists(numbers, min_size=count, max_size=count))
    return pair if scores is None else replace(pair, scores=tuple(scores))


def _write(path: Path, lines: list[str] | bytes) -> Path:
    data = lines if isinstance(lines, bytes) else "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def _rows(path: Path, *rows: Any) -> Path:
    return _write(path, [json.dumps(row) for row in rows])


def test_texts_of_every_kind_of_file_in_order(tmp_path: Path) -> None:
    plain = _write(tmp_path / "a.txt", "\ufeffone\r\n\n \u00a0\n two \u2028 and a half\nthree".encode())
    packed = _write(tmp_path / "b.txt.gz", ["four"])
    lines = _rows(tmp_path / "c.jsonl", {"text": "five"}, {"title": "T", "text": "six", "_id": 3}, {"text": ""})
    table = tmp_path / "d.parquet"
    pq.write_table(pa.table({"title": ["", None, "U"], "x": [1, 2, 3], "text": ["seven", "eight", "nine"]}), table)
    found = list(read_texts([plain, packed, lines, table]))
    assert found == ["one", "two \u2028 and a half", "three", "four", "five", "T six", "seven", "eight", "U nine"]


@given(st.lists(pairs(), min_size=1, max_size=6), st.sampled_from([".jsonl", ".jsonl.gz"]), st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_pairs_come_back_under_every_spelling(
    tmp_path_factory: pytest.TempPathFactory, written: list[TrainingPair], ending: str, spelling: int
) -> None:
    query, positive, negative = [
        ("query", "positive", "negative"), ("anchor", "positives", "negatives"), ("query", "pos", "neg"),
    ][spelling]  # fmt: skip
    path = tmp_path_factory.mktemp("pairs") / f"a{ending}"
    rows = []
    for pair in written:
        row: dict[str, Any] = {query: pair.query, positive: list(pair.positives), "other": 1}
        if len(pair.positives) == 1:
            row[positive] = pair.positives[0]
        if pair.negatives:
            row[negative] = list(pair.negatives)
        if pair.scores is not None:
            row["scores"] = list(pair.scores)
        rows.append(row)
    assert list(read_pairs(PairFile(_rows(path, *rows)))) == written


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"query" "q"}', "invalid JSON at column 10"),
        (b'{"query": "q"', "invalid JSON at column 14"),
        (b"[1]", "found [1], expected a JSON object"),
        (b"[" * 100_000, "JSON that cannot be read"),
        (b'{"query": ' + b"9" * 5000 + b"}", "JSON that cannot be read"),
        (b'{"query": "\xff"}', "invalid UTF-8: 0xff"),
        (b'{"positive": "p"}', "no query"),
        (b'{"query": null, "positive": "p"}', "no query"),
        (b'{"query": ["i", "q"], "positive": "p"}', 'the query is ["i", "q"]; expected a string'),
        (b'{"query": " ", "positive": "p"}', "the query is blank"),
        (b'{"query": "q"}', "no positive"),
        (b'{"query": "q", "positive": []}', "no positive"),
        (b'{"query": "q", "positive": 3}', "`positive` is 3; expected a text or a list"),
        (b'{"query": "q", "positive": ["p", null]}', "positive 2 is null"),
        (b'{"query": "q", "positive": "p", "negative": ["n", ""]}', "negative 2 is blank"),
        (b'{"query": "q", "positive": "a\\u0000b"}', "the positive holds a NUL at character 2"),
        (b'{"query": "q\\ud800", "positive": "p"}', "the query holds a lone surrogate at character 2"),
        (b'{"query": "q", "anchor": "a", "positive": "p"}', "both `query` and `anchor`"),
        (b'{"query": "q", "positive": "p", "negative": "n", "scores": [1]}', "`scores` holds 1; expected a number"),
        (b'{"query": "q", "positive": "p", "scores": ["1"]}', '`scores` holds "1"'),
        (b'{"query": "q", "positive": "p", "scores": [true]}', "`scores` holds true"),
        (b'{"query": "q", "positive": "p", "scores": [NaN]}', "`scores` holds NaN"),
        (b'{"query": "q", "positive": "p", "scores": [1e999]}', "`scores` holds Infinity"),
        (b'{"query": "q", "positive": "p", "scores": 1}', "`scores` is 1"),
    ],
)
def test_a_bad_pair_is_said_with_its_line(tmp_path: Path, line: bytes, words: str) -> None:
    path = _write(tmp_path / "a.jsonl", b'{"query": "q", "positive": "p"}\n\n' + line + b"\n")
    stream = read_pairs(PairFile(path))
    assert next(stream) == TrainingPair("q", ("p",))
    with pytest.raises(AdaptError) as caught:
        next(stream)
    message = str(caught.value)
    assert message.startswith(f"{path}: line 3: ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.txt", b"fine\na\0b\n", "line 2: the text holds a NUL at character 2"),
        ("a.txt", b"fine\n\xff\n", "line 2: invalid UTF-8"),
        ("a.txt", b"\n \n", "found no text"),
        ("a.txt.gz", b"plain", "not gzip data"),
        ("a.jsonl", b'{"text": "fine"}\n{"txt": "x"}\n', "line 2: `text` is null"),
        ("a.jsonl", b'{"text": "fine"}\n{"text": "x", "title": 3}\n', "line 2: `title` is 3"),
        ("a.jsonl", b'{"text": ""}\n', "found no text"),
        ("a.parquet", b"no parquet", "cannot be read as Parquet"),
    ],
)
def test_bad_texts_are_said_with_their_line(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(AdaptError) as caught:
        list(read_texts([path]))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_bad_parquet_is_said_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["fine", None]}), path)
    with pytest.raises(AdaptError, match="row 2: `text` is null"):
        list(read_texts([path]))
    spoiled = pa.Array.from_buffers(
        pa.string(), 2, pa.array(["ab", "cd"]).buffers()[:2] + [pa.py_buffer(b"ab\xff\xff")]
    )
    pq.write_table(pa.table({"text": spoiled}), path)
    with pytest.raises(AdaptError, match="row 2: invalid UTF-8"):
        list(read_texts([path]))
    pq.write_table(pa.table({"body": ["x"]}), path)
    with pytest.raises(AdaptError, match="found the columns body; expected one named `text`"):
        list(read_texts([path]))


def test_a_missing_or_strange_file_is_said_before_anything_is_read(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "none.txt", "no such file"),
        (tmp_path, "a folder"),
        (_write(tmp_path / "a.pdf", ["x"]), "a file ending in .pdf"),
    ):
        with pytest.raises(AdaptError, match=words):
            read_texts([path])
        with pytest.raises(AdaptError, match=words):
            read_pairs(PairFile(path))
    with pytest.raises(AdaptError, match="no file of texts"):
        read_texts([])
    with pytest.raises(AdaptError, match="found no pair"):
        list(read_pairs(PairFile(_write(tmp_path / "a.jsonl", ["", " "]))))


def test_reading_holds_a_few_rows_and_not_the_file(tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    with path.open("w") as out:
        for number in range(20_000):
            out.write(json.dumps({"query": f"{number}", "positive": "x" * 1000}) + "\n")
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_pairs(PairFile(path)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 2**20  # the file has 20


def test_a_data_set_has_a_name_and_instructions(tmp_path: Path) -> None:
    file = PairFile(tmp_path / "some.set.jsonl.gz", "find it:", "passage:")
    assert (file.name, file.candidate_instruction) == ("some.set", "passage:")
    assert PairFile(tmp_path / "a.jsonl", "same:", symmetric=True).candidate_instruction == "same:"
    for wrong in ({"share": 0}, {"share": float("nan")}, {"symmetric": True, "document_instruction": "x"}):
        with pytest.raises(AdaptError):
            PairFile(tmp_path / "a.jsonl", **wrong)


def test_a_file_is_known_by_its_sha256(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_file(path) == {"path": str(path), "bytes": 3, "sha256": known}
    with pytest.raises(AdaptError, match="cannot be read"):
        hash_file(tmp_path / "none")


def test_tables_give_rows_by_number_and_are_made_once(tmp_path: Path) -> None:
    path = _rows(
        tmp_path / "a.jsonl",
        {"query": "q0", "positive": "p0"},
        {"query": "q1", "positive": ["p1", "p2"], "negative": "n1", "scores": [3, 2.5, -1]},
    )
    cache, file = tmp_path / "cache", PairFile(path)
    table = pair_dataset(file, cache)
    assert len(table) == 2
    assert as_pair(table[1]) == TrainingPair("q1", ("p1", "p2"), ("n1",), (3.0, 2.5, -1.0))
    assert as_pair(table[0]) == TrainingPair("q0", ("p0",))
    place = Path(table.cache_files[0]["filename"])
    assert cache in place.parents
    made = place.stat().st_mtime_ns
    moved = path.rename(tmp_path / "b.jsonl")
    assert Path(pair_dataset(PairFile(moved), cache).cache_files[0]["filename"]).stat().st_mtime_ns == made

    before = moved.stat()
    _rows(moved, {"query": "Q0", "positive": "p0"}, {"query": "q1", "positive": ["p1", "p2"]})
    os.utime(moved, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert as_pair(pair_dataset(PairFile(moved), cache)[0]).query == "Q0"

    one, two = _write(tmp_path / "1.txt", ["a", "b"]), _write(tmp_path / "2.txt.gz", ["c"])
    assert text_dataset([one, two], cache)["text"][:] == ["a", "b", "c"]
    assert text_dataset([two, one], cache)[0] == {"text": "c"}


def test_a_bad_row_is_said_by_a_table_too_and_leaves_none(tmp_path: Path) -> None:
    path = _rows(tmp_path / "a.jsonl", {"query": "q", "positive": "p"}, {"query": "q"})
    with pytest.raises(AdaptError, match="line 2: no positive"):
        pair_dataset(PairFile(path), tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    blocked = _write(tmp_path / "blocked", ["x"])
    with pytest.raises(AdaptError, match="cannot be copied there"):
        pair_dataset(PairFile(_rows(path, {"query": "q", "positive": "p"})), blocked / "cache")


def test_missing_extra_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path / "a.txt", ["x"])
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(AdaptError, match=r"pip install 'searchapp\[adapt\]'"):
        text_dataset([path], tmp_path / "cache")


def test_the_shared_pairs_are_read_whole(shared: Path) -> None:
    path = shared / "data" / "pairs" / "medical-question-pairs.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines()
    found = list(read_pairs(PairFile(path)))
    assert len(found) == len(lines) == 1_524
    last = json.loads(lines[-1])
    assert found[-1] == TrainingPair(last["query"], tuple(last["positive"]), tuple(last.get("negative", ())))
    assert hash_file(path)["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
