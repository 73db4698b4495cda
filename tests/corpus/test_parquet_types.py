"""Columns of every type that other programs write to Parquet, against what was put in."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import tempfile
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.records import read

ROWS = 2


def _read(columns: dict[str, pa.Array], **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
    count = len(next(iter(columns.values())))
    base = {"id": pa.array([f"d{row}" for row in range(count)]), "text": pa.array(["t"] * count)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        pq.write_table(pa.table({**base, **columns}), path, **options)
        found, rejected = read(path)
    return [dict(document.metadata) for document in found], [item.reason for item in rejected]


TIMES = st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59))


@given(st.lists(TIMES, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_int96_reaches_every_year_that_python_has(times: list[dt.datetime]) -> None:
    columns = {"t": pa.array(times, pa.timestamp("us"))}
    found, rejected = _read(columns, use_deprecated_int96_timestamps=True)
    assert ([item["t"] for item in found], rejected) == ([time.isoformat() for time in times], [])


DECIMALS = st.integers(0, 6).flatmap(
    lambda scale: st.tuples(
        st.just(scale),
        st.lists(st.integers(-(10**30), 10**30).map(lambda n: decimal.Decimal(n).scaleb(-scale)), min_size=1),
    )
)


@given(DECIMALS)
@settings(max_examples=60, deadline=None)
def test_decimals_keep_their_value(drawn: tuple[int, list[decimal.Decimal]]) -> None:
    scale, values = drawn
    with decimal.localcontext(prec=60):
        found, rejected = _read({"n": pa.array(values, pa.decimal128(38, scale))})
        assert not rejected
        for row, value in zip(found, values, strict=True):
            read = row["n"]
            assert decimal.Decimal(repr(read) if isinstance(read, float) else read) == value
            assert isinstance(read, int) == (scale == 0)


@given(st.lists(st.one_of(st.binary(max_size=12), st.text(max_size=8).map(str.encode)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_bytes_come_back_as_text_or_base64(values: list[bytes]) -> None:
    found, rejected = _read({"b": pa.array(values), "s": pa.array([{"x": [value]} for value in values])})
    assert not rejected
    for row, value in zip(found, values, strict=True):
        assert row["b"] == row["s"]["x"][0]
        assert row["b"].encode() in (value, base64.b64encode(value))


NANO = 1_577_836_800_123_456_789
CUT = "2020-01-01T00:00:00.123456"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (pa.timestamp("ns"), NANO, CUT),
        (pa.timestamp("ns", "UTC"), NANO, f"{CUT}+00:00"),
        (pa.timestamp("us", "Mars/Base"), NANO // 1000, f"{CUT}+00:00"),  # a zone that no machine knows: the instant
        (pa.timestamp("us", "+05:30"), NANO // 1000, "2020-01-01T05:30:00.123456+05:30"),
        (pa.list_(pa.timestamp("ns")), [NANO], [CUT]),
        (pa.large_list(pa.timestamp("ns")), [NANO], [CUT]),
        (pa.list_(pa.timestamp("ns"), 1), [NANO], [CUT]),
        (pa.list_view(pa.timestamp("ns")), [NANO], [CUT]),
        (
            pa.struct([("x", pa.list_(pa.struct([("y", pa.timestamp("ns"))])))]),
            {"x": [{"y": NANO}]},
            {"x": [{"y": CUT}]},
        ),
        (pa.map_(pa.string(), pa.timestamp("ns")), [("k", NANO)], [["k", CUT]]),
        (pa.time64("ns"), 1_999, "00:00:00.000001"),
        (pa.duration("ns"), 1_500_000_000, 1.5),
        (pa.duration("ms"), 1_500, 1.5),
        (pa.date64(), 0, "1970-01-01"),
        (pa.uint64(), 2**64 - 1, 2**64 - 1),
        (pa.int64(), -(2**63), -(2**63)),
        (pa.float16(), np.float16(1.5), 1.5),
        (pa.large_string(), "é", "é"),
        (pa.string_view(), "é", "é"),
        (pa.binary_view(), b"ab", "ab"),
        (pa.binary(4), b"\xff\0\0\1", "/wAAAQ=="),
        (pa.dictionary(pa.int8(), pa.string()), "é", "é"),
        (pa.bool_(), True, True),
    ],
)
def test_types(kind: pa.DataType, value: Any, expected: Any) -> None:
    assert _read({"v": pa.array([value, None], kind)}) == ([{"v": expected}, {}], [])


def test_columns_of_nulls_and_numbers_that_are_none_are_left_out() -> None:
    found, rejected = _read({"n": pa.nulls(3), "f": pa.array([float("nan"), 1.0, float("inf")])})
    assert [item.get("f") for item in found] == [None, 1.0]
    assert all("n" not in item for item in found)
    assert ["inf" in reason for reason in rejected] == [True]


@pytest.mark.parametrize(
    ("kind", "value", "id"),
    [
        (pa.decimal128(38, 0), decimal.Decimal(12345678901234567890123), "12345678901234567890123"),
        (pa.uint64(), 2**64 - 1, str(2**64 - 1)),
        (pa.binary(), b"ab", "ab"),
        (pa.dictionary(pa.int8(), pa.string()), "ab", "ab"),
    ],
)
def test_ids(tmp_path: Path, kind: pa.DataType, value: Any, id: str) -> None:
    pq.write_table(pa.table({"id": pa.array([value], kind), "text": ["t"]}), tmp_path / "a.parquet")
    ((document,), rejected) = read(tmp_path / "a.parquet")
    assert (document.id, rejected) == (id, [])


def test_a_uuid_is_read_as_one_is_written(tmp_path: Path) -> None:
    value = uuid.UUID(int=5)
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([value.bytes], pa.binary(16)))
    pq.write_table(pa.table({"id": ids, "text": ["t"]}), tmp_path / "a.parquet")
    assert [document.id for document in read(tmp_path / "a.parquet")[0]] == [str(value)]


def test_a_map_of_metadata_is_an_object(tmp_path: Path) -> None:
    kind = pa.map_(pa.string(), pa.string())
    found, _ = _read({"metadata": pa.array([[("lang", "en"), ("k", "v")], [], [("a", "1"), ("a", "2")]], kind)})
    assert found == [{"lang": "en", "k": "v"}, {"metadata": []}, {"metadata": [["a", "1"], ["a", "2"]]}]
