"""Numbers in filters against Python's own integers, fractions and decimals, through a real index on disk too."""

from __future__ import annotations

import json
import operator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from searchapp.corpus import Document
from searchapp.errors import SearchAppError
from searchapp.index import Filter, VectorIndex, build, compact, delete
from searchapp.index.storage.documents import _columns

TESTS = {"==": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def mask(expression: str, rows: list[dict[str, Any]]) -> list[bool]:
    segment = _columns([Document(str(number), "x", metadata=row) for number, row in enumerate(rows)])
    texts = pa.array([json.dumps(row) for row in rows], pa.large_string())
    return Filter(expression).mask([segment], lambda _: texts).tolist()


EDGES = [base + step for base in (2**53, 2**63, 2**64, -(2**53), -(2**63), 10**400) for step in (-1, 0, 1)]
NUMBERS = (
    st.integers(-3, 3)
    | st.sampled_from(EDGES)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([2.0**53, 2.0**63, -(2.0**63), 0.1, -0.0, 2.5, 1e308, 1e22])
)


@settings(max_examples=400, deadline=None)
@example(values=[2**53 + 1, 0.5], value=2.0**53, symbol="==")
@example(values=[2**64 - 1, 2**64 - 2], value=2**64 - 2, symbol="==")
@example(values=[5, -(2**63)], value=-(2**63) - 1, symbol=">")
@example(values=[0, 7], value=10**400, symbol="==")
@example(values=[0, -7], value=-(10**400), symbol=">")
@example(values=[0, 10**400, 10**400 + 1], value=10**400, symbol="<=")
@given(values=st.lists(NUMBERS | st.none(), min_size=1, max_size=6), value=NUMBERS, symbol=st.sampled_from(list(TESTS)))
def test_numbers_of_any_size_compare_as_in_python(values: list, value: int | float, symbol: str) -> None:
    rows = [{"x": item} for item in [*values, 0]]
    wanted = [row["x"] is not None and TESTS[symbol](Fraction(row["x"]), Fraction(value)) for row in rows]
    assert mask(f"x {symbol} {value!r}", rows) == wanted
    assert mask(f"not x {symbol} {value!r}", rows) == [not item for item in wanted]
    assert mask(f"x in [{value!r}, 3]", rows) == [row["x"] is not None and row["x"] in (value, 3) for row in rows]


WRITTEN = st.sampled_from(
    ["3.10", "12e5", "-0", "0.10", "1E2", "100", "12345678901234567890.10", "1e-400"]
) | st.builds(lambda number, noughts: f"{number}.{'0' * noughts}", st.integers(), st.integers(1, 3))


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(WRITTEN, min_size=1, max_size=5), value=WRITTEN, symbol=st.sampled_from(list(TESTS)))
def test_text_that_is_a_number_compares_by_value_with_numbers_and_as_text_with_text(
    texts: list[str], value: str, symbol: str
) -> None:
    rows = [{"x": text} for text in texts]
    assert mask(f"x {symbol} {value}", rows) == [TESTS[symbol](Decimal(text), Decimal(value)) for text in texts]
    assert mask(f'x {symbol} "{value}"', rows) == [TESTS[symbol](text, value) for text in texts]


def test_what_is_no_number_stays_text() -> None:
    rows = [
        {"x": text} for text in ("007", "+7", "7", "7 ", "7_0", "０7", "nan", "inf", "0x7", "7e99999999999999999999")
    ]
    assert mask("x == 7", rows) == [text["x"] == "7" for text in rows]
    assert mask("x < 1e300", rows) == [text["x"] == "7" for text in rows]
    flags = [{"x": True}, {"x": 1}, {"x": "1"}, {"x": "true"}]
    assert mask("x == 1", flags) == [False, True, True, False]
    assert mask("x == true", flags) == [True, False, False, False]
    assert mask('x == "1"', flags) == [False, False, True, False]


def test_versions_and_numbers_in_one_key() -> None:
    rows = [{"v": 3.1}, {"v": "3.10"}, {"v": "3.2"}, {"v": 4}, {"v": "four"}, {}]
    assert mask("v == 3.1", rows) == [True, True, False, False, False, False]
    assert mask("v >= 3.15", rows) == [False, False, True, True, False, False]
    assert mask("v != 3.1", rows) == [False, False, True, True, True, True]


def test_delete_takes_the_one_document_before_and_after_a_compaction(tmp_path: Path, hash_encoder) -> None:
    numbers = [2**64 - 1, 2**64 - 2, 2**64 - 3, 0.5, 2**53, 2**53 + 1]
    lines = [json.dumps({"_id": f"d{place}", "text": "x y", "n": number}) for place, number in enumerate(numbers)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    build([str(tmp_path / "a.jsonl")], tmp_path / "ix", hash_encoder, segment_size=4)
    assert delete(tmp_path / "ix", [], filter=f"n == {2**64 - 2}").deleted == 1
    compact(tmp_path / "ix")
    assert delete(tmp_path / "ix", [], filter=f"n == {2**53 + 1}").deleted == 1
    index = VectorIndex.open(tmp_path / "ix")
    assert sorted(name for name in index.ids() if name) == ["d0", "d2", "d3", "d4"]
    assert index.allowed(Filter(f"n > {2**64 - 3}")).sum() == 1


KEYS = st.text(min_size=1, max_size=6).filter(lambda key: key.isprintable() or "\x00" not in key)


@settings(max_examples=300, deadline=None)
@example(keys={"and", "in", "not", "class", "true", "meta"})
@example(keys={"caf\u00e9", "cafe\u0301", "ﬁeld", "field"})
@example(keys={'say "a"', "back\\slash", "a-b", "a:b", "1", "line\nend"})
@given(keys=st.sets(KEYS, min_size=1, max_size=5))
def test_any_key_can_be_named_as_a_refusal_writes_it(keys: set[str]) -> None:
    from searchapp.index.filter import written

    rows = [{key: 1} for key in sorted(keys)]
    for number, key in enumerate(sorted(keys)):
        assert mask(f"{written(key)} == 1", rows) == [place == number for place in range(len(rows))]


def test_composed_and_decomposed_names_are_two_keys() -> None:
    rows = [{"caf\u00e9": 1}, {"cafe\u0301": 1}]
    assert mask("caf\u00e9 == 1", rows) == [True, False]
    assert mask("cafe\u0301 == 1", rows) == [False, True]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("yeer == 1", "near it: year;"),
        ("Year == 1", "near it: year;"),
        ("first == 1", 'meta["First Name"]'),
        ("First Name == 1", 'meta["First Name"]'),
        ("class == 1", 'meta["'),
        ("doc-type == 1", 'meta["'),
        ("cafe\u0301 == 1", "near it: meta[\"caf\u00e9\"]"),
    ],
)  # fmt: skip
def test_a_refusal_says_how_keys_are_written(expression: str, said: str) -> None:
    with pytest.raises(SearchAppError) as caught:
        mask(expression, [{"year": 1, "First Name": 1, "class": 1, "caf\u00e9": 1}])
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_list_in_a_list_is_refused() -> None:
    with pytest.raises(SearchAppError, match="cannot stand there"):
        Filter("x in [[1]]")
