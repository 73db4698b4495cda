"""Tables in memory: other documents have another digest, the same ones the same, however a table holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from searchapp.corpus.memory import memory_source

IDS = ["a", "b"]
NESTED = pa.list_(pa.struct([("t", pa.dictionary(pa.int8(), pa.string()))]))


def identity(table: Any, vectors: Any = None) -> str:
    return memory_source(table, vectors=vectors).identity()


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"id": IDS, **columns})


def table(kind: pa.DataType, *values: Any) -> pa.Table:
    return pa.table({"id": IDS, "text": ["x", "y"], "x": pa.array(values, kind)})


def documents(given: Any) -> list[tuple]:
    items = (record.item for record in memory_source(given).records())
    return [(item.id, item.title, item.text, repr(item.metadata)) for item in items]


LANGUAGES = pd.Categorical(["en", "de"])
OTHER = {
    "a column of another name": (frame(text="x", year=[1, 2]), frame(text="x", jahr=[1, 2])),
    "title and text exchanged": (
        frame(title=["t", "u"], text=["x", "y"]),
        frame(text=["t", "u"], title=["x", "y"])[["id", "text", "title"]],
    ),
    "categories of other names": (
        frame(text="x", lang=LANGUAGES),
        frame(text="x", lang=LANGUAGES.rename_categories({"en": "fr", "de": "it"})),
    ),
    "text of other categories": (
        frame(text=pd.Categorical(["honey bee", "train"])),
        frame(text=pd.Categorical(["money bee", "train"])),
    ),
    "a dictionary in structs in lists": (
        table(NESTED, [{"t": "p"}], [{"t": "q"}]),
        table(NESTED, [{"t": "p"}], [{"t": "r"}]),
    ),
    "a field of another name": (
        table(pa.struct([("a", pa.int64())]), {"a": 1}, None),
        table(pa.struct([("b", pa.int64())]), {"b": 1}, None),
    ),
    "another unit": (table(pa.timestamp("s"), 1, 2), table(pa.timestamp("ms"), 1, 2)),
    "another zone": (table(pa.timestamp("s", "UTC"), 1, 2), table(pa.timestamp("s", "Asia/Tokyo"), 1, 2)),
    "a zone and none": (table(pa.timestamp("s"), 1, 2), table(pa.timestamp("s", "UTC"), 1, 2)),
    "a null and an empty text": (table(pa.string(), None, "x"), table(pa.string(), "", "x")),
    "a null and zero": (table(pa.int64(), None, 1), table(pa.int64(), 0, 1)),
    "a null and an empty list": (table(pa.list_(pa.string()), None, []), table(pa.list_(pa.string()), [], None)),
    "nulls elsewhere": (table(pa.string(), None, "x"), table(pa.string(), "x", None)),
    "texts cut elsewhere": (table(pa.string(), "ab", "c"), table(pa.string(), "a", "bc")),
    "lists cut elsewhere": (table(pa.list_(pa.int8()), [1], [2, 3]), table(pa.list_(pa.int8()), [1, 2], [3])),
    "a key of a map": (
        table(pa.map_(pa.string(), pa.int8()), [("a", 1)], None),
        table(pa.map_(pa.string(), pa.int8()), [("b", 1)], None),
    ),
    "true and false": (table(pa.bool_(), True, None), table(pa.bool_(), False, None)),
    "a number and a text": (table(pa.int64(), 1, 2), table(pa.string(), "1", "2")),
    "a decimal": (table(pa.decimal128(9, 2), 1, 2), table(pa.decimal128(9, 2), 1, 3)),
}


@pytest.mark.parametrize("case", OTHER)
def test_other_documents_have_another_digest(case: str) -> None:
    one, other = OTHER[case]
    assert documents(one) != documents(other)
    assert identity(one) != identity(other)
    beside = np.eye(2, dtype=np.float32)
    assert identity(one, beside) != identity(other, beside)


def test_types_that_make_the_same_documents_have_one_digest() -> None:
    texts = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.large_string())]
    assert len({identity(table(kind, "long enough for a view", None)) for kind in texts}) == 1
    lists = [pa.list_(pa.int8()), pa.large_list(pa.int8()), pa.list_(pa.int8(), 2), pa.list_view(pa.int8())]
    assert len({identity(table(kind, [1, 2], None)) for kind in lists}) == 1
    categories = [["en", "de"], ["de", "en"], ["de", "en", "fr"]]
    given = [identity(frame(text="x", lang=pd.Categorical(["en", "de"], names))) for names in categories]
    assert len(set(given)) == 1


def test_frames_of_polars_are_told_apart() -> None:
    polars = pytest.importorskip("polars")
    given = [
        polars.DataFrame({"id": IDS, name: polars.Series(values, dtype=polars.Categorical)})
        for name, values in (("text", ["x", "y"]), ("text", ["x", "y"]), ("text", ["x", "z"]), ("title", ["x", "y"]))
    ]
    found = [identity(one) for one in given]
    assert found[0] == found[1] == identity(frame(text=["x", "y"])) and len(set(found)) == 3


@pytest.mark.parametrize("has_vectors", [False, True])
def test_the_same_rows_have_one_digest_however_they_are_cut(has_vectors: bool) -> None:
    """Against pyarrow's own slices, chunks and dictionaries; what lies below a null does not count."""
    rows = 40
    draw = np.random.default_rng(0)
    words = [None if i % 7 == 3 else "wörter" * int(draw.integers(0, 5)) for i in range(rows)]
    whole = pa.table(
        {
            "id": [f"n{i}" for i in range(rows)],
            "text": pa.array(words, pa.dictionary(pa.int8(), pa.string())),
            "flag": [None if i % 5 == 2 else i % 2 == 0 for i in range(rows)],
            "year": [None if i % 5 == 3 else i for i in range(rows)],
            "tags": pa.array([None if i % 3 == 0 else [{"t": words[i]}] * (i % 4) for i in range(rows)], NESTED),
            "map": pa.array([None if i % 4 == 0 else [("k", i)] for i in range(rows)], pa.map_(pa.string(), pa.int8())),
            "pair": pa.array([None if i % 6 == 1 else [i, i] for i in range(rows)], pa.list_(pa.int8(), 2)),
            "raw": pa.array([None if i % 6 == 2 else b"ab" for i in range(rows)], pa.binary(2)),
            "none": pa.nulls(rows),
        }
    )
    vectors = None
    if has_vectors:
        numbers = draw.normal(size=(rows, 999)).astype(np.float32)  # no whole number of words of 64 bits
        whole = whole.append_column("v", pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), 999))
        vectors = "v"
    expected = identity(whole, vectors)
    for cuts in ([0, 1, rows], [0, 9, 9, 24, rows], range(rows + 1)):
        parts = [whole.slice(begin, end - begin) for begin, end in zip(cuts, cuts[1:], strict=False)]
        assert identity(pa.concat_tables(parts), vectors) == expected
        assert identity([batch for part in parts for batch in part.to_batches()], vectors) == expected
    assert identity(pa.concat_tables([whole.slice(30), whole]).slice(10), vectors) == expected
    encoded = [pa.Table.from_pylist(whole.slice(i, 8).to_pylist(), schema=whole.schema) for i in range(0, rows, 8)]
    assert identity(pa.concat_tables(encoded), vectors) == expected  # each part has a dictionary of its own
    assert identity(whole.slice(1), vectors) != expected != identity(pa.concat_tables([whole, whole]), vectors)


def test_what_lies_below_a_null_does_not_count() -> None:
    mask = pa.py_buffer(b"\x01")
    numbers = [pa.Array.from_buffers(pa.int64(), 2, [mask, pa.py_buffer(np.array([1, x]))]) for x in (2, 3)]
    ends = pa.py_buffer(np.array([0, 1, 2], dtype=np.int32))
    lists = [pa.Array.from_buffers(pa.list_(pa.int64()), 2, [mask, ends], children=[pa.array([1, x])]) for x in (2, 3)]
    texts = [pa.Array.from_buffers(pa.string(), 2, [mask, ends, pa.py_buffer(x)]) for x in (b"ab", b"ac")]
    for given in (numbers, lists, texts):
        assert given[0].equals(given[1]) and given[0].to_pylist()[1] is None
        assert len({identity(pa.table({"id": IDS, "x": array})) for array in given}) == 1
