from __future__ import annotations

import datetime as dt
import decimal
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.corpus import Document, open_source
from searchapp.errors import CorpusError
from tests.corpus.records import read

ids = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
prose = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
values = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.lists(prose, max_size=3),
    st.none() | st.datetimes(),
)
rows = st.tuples(ids, prose.filter(str.strip), prose, values)


@given(st.lists(rows, max_size=5))
@settings(max_examples=40, deadline=None)
def test_what_pyarrow_writes_comes_back(written: list[tuple[Any, ...]]) -> None:
    columns = {
        "_id": pa.array([row[0] for row in written], pa.string()),
        "text": pa.array([row[1] for row in written], pa.string()),
        "title": pa.array([row[2] for row in written], pa.large_string()),
        "n": pa.array([row[3][0] for row in written], pa.int64()),
        "tags": pa.array([row[3][1] for row in written], pa.list_(pa.string())),
        "when": pa.array([row[3][2] for row in written], pa.timestamp("us")),
    }
    expected = []
    for id, text, title, (n, tags, when) in written:
        metadata = {"n": n, "tags": tags, "when": when and when.isoformat()}
        expected.append(Document(id, text, title, {key: value for key, value in metadata.items() if value is not None}))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        pq.write_table(pa.table(columns), path)
        assert read(path) == (expected, [])


def test_every_type_becomes_a_json_value(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {
        "id": pa.array([5]),
        "text": pa.array(["x"]).dictionary_encode(),
        "date": pa.array([dt.date(2020, 1, 2)]),
        "nano": pa.array([1_577_836_800_000_000_123], pa.timestamp("ns", tz="UTC")),
        "time": pa.array([dt.time(3, 4)], pa.time64("ns")),
        "span": pa.array([dt.timedelta(minutes=1)], pa.duration("ns")),
        "price": pa.array([decimal.Decimal("1.50")]),
        "raw": pa.array([b"\xff"]),
        "nan": pa.array([float("nan")]),
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
        "metadata": pa.array([{"lang": "en", "day": dt.date(2020, 1, 2)}]),
    }
    pq.write_table(pa.table(columns), path)
    (document,) = read(path)[0]
    assert document.id == "5"
    assert document.metadata == {
        "date": "2020-01-02",
        "nano": "2020-01-01T00:00:00+00:00",
        "time": "03:04:00",
        "span": 60.0,
        "price": 1.5,
        "raw": "/w==",
        "nan": None,
        "map": [["k", 1]],
        "lang": "en",
        "day": "2020-01-02",
    }


def test_bad_rows_are_rejected_at_their_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    count = 700
    texts = [f"text {n}" for n in range(count)]
    ids: list[str | None] = [str(n) for n in range(count)]
    texts[299] = " "
    ids[300] = None
    weights = [1.0] * count
    weights[301] = float("inf")
    # The way to bytes that are not UTF-8 in a string column: other writers do not check either.
    notes = pa.array([b"\xff" if n == 600 else b"fine" for n in range(count)]).view(pa.string())
    pq.write_table(pa.table({"id": ids, "text": texts, "weight": weights, "note": notes}), path)
    found, rejected = read(path)
    assert len(found) == count - 4
    assert [item.line for item in rejected] == [300, 301, 302, 601]
    assert [item.id for item in rejected] == ["299", None, "301", None]
    reasons = [item.reason for item in rejected]
    assert reasons[:2] == ["empty text", "no `_id` or `id` field"]
    assert "inf, which is not valid JSON" in reasons[2]
    assert "invalid UTF-8" in reasons[3]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a"], "body": ["x"]}, "no text column: found id, body; expected `text`"),
        ({"text": ["x"]}, "no id column: found text"),
    ],
)
def test_a_table_without_its_columns(tmp_path: Path, columns: dict[str, list[str]], message: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(CorpusError, match=message):
        open_source(str(path))


@pytest.mark.parametrize("data", [b"", b"PAR1", b"this is no parquet file at all"])
def test_a_file_that_is_not_parquet(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(data)
    with pytest.raises(CorpusError, match="cannot be read as Parquet") as caught:
        open_source(str(path))
    assert "\n" not in str(caught.value)


def test_memory_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    count = 10_000
    texts = [f"{n} " + "word " * 1000 for n in range(count)]
    pq.write_table(pa.table({"id": [str(n) for n in range(count)], "text": texts}), path, row_group_size=count)
    del texts
    before = pa.total_allocated_bytes()
    peak = seen = 0
    for _ in open_source(str(path)).records():
        seen += 1
        if seen % 100 == 0:
            peak = max(peak, pa.total_allocated_bytes() - before)
    assert seen == count
    assert peak < 16 * 2**20  # the texts are 50 MB in one row group; 20,000 rows take no more
