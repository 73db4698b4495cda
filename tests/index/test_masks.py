"""Filters over columns of several segments against an evaluator of single documents, and the masks that are kept."""

from __future__ import annotations

import json
import operator
import threading
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.corpus import Document
from searchapp.errors import SearchAppError
from searchapp.index import Filter
from searchapp.index.columns import Columns, Texts, as_mask
from searchapp.index.masks import Masks
from searchapp.index.storage.documents import _columns

TESTS = {"==": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
NUMERIC = {"3.10", "12", "1e2", "-0"}  # of the texts below, those that JSON writes as numbers
TEXTS = ["a", "b", "é", "", "007", "nan", *sorted(NUMERIC)]
NUMBERS = [0, 1, -3, 12, 2.5, 3.1, 100, 2**53, 2**53 + 1, 2**63, -(2**63) - 1, 2**64 - 1]
VALUES = st.sampled_from([*TEXTS, *NUMBERS, True, False, None]) | st.just(["list"])
ROWS = st.lists(st.dictionaries(st.sampled_from(["x", "y"]), VALUES), min_size=1, max_size=14)
LITERALS = st.sampled_from([*TEXTS, *NUMBERS, True, False])


def holds(value: Any, symbol: str, literal: Any) -> bool:
    """One value against one literal, by the rules of the language, in plain Python."""
    if value is None or isinstance(value, list):
        return False
    if isinstance(value, bool) or isinstance(literal, bool):
        return isinstance(value, bool) and isinstance(literal, bool) and TESTS[symbol](value, literal)
    if isinstance(literal, str):
        return isinstance(value, str) and TESTS[symbol](value.encode(), literal.encode())
    if isinstance(value, str):
        written = Decimal(repr(literal)) if isinstance(literal, float) else Decimal(literal)
        return value in NUMERIC and TESTS[symbol](Decimal(value), written)
    return TESTS[symbol](Fraction(value), Fraction(literal))


def written(literal: Any) -> str:
    return json.dumps(literal, ensure_ascii=False)


@st.composite
def expressions(draw: st.DrawFn, depth: int = 2) -> tuple[str, Any]:
    """An expression, and a function that says whether it holds for a document's metadata."""
    kind = draw(st.sampled_from(["compare", "in", "not in", "!="] + ["and", "or", "not"] * (depth > 0)))
    if kind in ("and", "or"):
        (left, one), (right, two) = draw(expressions(depth - 1)), draw(expressions(depth - 1))
        return f"({left}) {kind} ({right})", lambda row: (all if kind == "and" else any)([one(row), two(row)])
    if kind == "not":
        inner, one = draw(expressions(depth - 1))
        return f"not ({inner})", lambda row: not one(row)
    key = draw(st.sampled_from(["x", "y"]))
    if kind == "compare":
        symbol, literal = draw(st.sampled_from(list(TESTS))), draw(LITERALS)
        return f"{key} {symbol} {written(literal)}", lambda row: holds(row.get(key), symbol, literal)
    items = [draw(LITERALS)] if kind == "!=" else draw(st.lists(LITERALS, max_size=3))
    text = written(items[0]) if kind == "!=" else f"[{', '.join(map(written, items))}]"
    negated = kind != "in"
    return f"{key} {kind} {text}", lambda row: negated != any(holds(row.get(key), "==", item) for item in items)


@settings(max_examples=150, deadline=None)
@given(rows=ROWS, asked=st.lists(expressions(), min_size=1, max_size=3), cuts=st.sets(st.integers(1, 13)))
def test_a_mask_is_what_each_document_alone_gives(rows: list[dict], asked: list, cuts: set[int]) -> None:
    rows = [*rows, {"x": "a"}, {"x": 1}, {"y": True}, {"y": "b"}]  # every key is known
    bounds = [0, *sorted(cut for cut in cuts if cut < len(rows)), len(rows)]
    parts = [rows[begin:end] for begin, end in zip(bounds, bounds[1:], strict=False)]
    segments = [_columns([Document("d", "t", metadata=row) for row in part]) for part in parts]
    texts = [pa.array([json.dumps(row) for row in part], pa.large_string()) for part in parts]
    columns = Columns(segments)
    for expression, truth in asked * 2:  # the second time texts are encoded
        assert Filter(expression).mask(columns, texts.__getitem__).tolist() == [truth(row) for row in rows], expression


def test_texts_that_repeat_are_encoded_and_others_are_not() -> None:
    few = pa.chunked_array([pa.array(["a", "b", None, "a"] * 100), pa.nulls(3, pa.string())])
    encoded = Texts.of(few)
    assert encoded.codes is not None and encoded.codes.dtype == np.uint8 and len(encoded.values) == 2
    wanted = as_mask(pa.array([True, False])), [text == "a" for text in few.to_pylist()]
    assert encoded.spread(wanted[0]).tolist() == wanted[1]
    assert Texts.of(pa.chunked_array([pa.array([str(number) for number in range(400)])])).codes is None


def test_only_the_columns_of_a_filter_are_read_and_a_damaged_one_is_refused() -> None:
    segment = _columns([Document("d", "t", metadata={"x": "a", "y": 1})])
    seen: list[str] = []

    def check(_: int, part: pa.Array) -> None:
        seen.append(str(part.type))
        if pa.types.is_string(part.type):
            raise SearchAppError("damaged")

    columns = Columns([segment], check)
    assert Filter("y == 1").mask(columns).tolist() == [True]
    assert seen == ["int64"]
    for _ in range(2):
        with pytest.raises(SearchAppError, match="damaged"):
            Filter('x == "a"').mask(columns)


@pytest.mark.parametrize("offset", [0, 1, 7, 9])
def test_truth_values_of_any_offset(offset: int) -> None:
    values = [None if number % 5 == 0 else number % 3 == 0 for number in range(40)]
    assert as_mask(pa.array(values)[offset:]).tolist() == [bool(value) for value in values[offset:]]
    assert as_mask(pa.chunked_array([pa.array(values)[offset:], pa.array([True])])).tolist()[-1]


def test_masks_are_made_once_and_the_oldest_given_up() -> None:
    masks, made = Masks(limit=3_000), []

    def ask(name: str) -> np.ndarray:
        return masks.passing(name, lambda: (made.append(name), np.zeros(1_000, dtype=bool))[1]).mask

    for name in ("a", "b", "a", "c", "d", "a", "b"):
        assert not ask(name).flags.writeable
    assert made == ["a", "b", "c", "d", "b"]
    assert len(masks) == 3
    big = masks.passing("a", lambda: np.zeros(0, dtype=bool))
    assert big.once("codes", lambda: (1, 10_000)) == big.once("codes", lambda: (2, 0)) == 1
    ask("d")
    assert len(masks) == 1 and made == ["a", "b", "c", "d", "b"]


def test_threads_share_what_was_made_once() -> None:
    passing, made = Masks().passing("a", lambda: np.ones(5, dtype=bool)), []
    threads = [
        threading.Thread(target=lambda: passing.once("x", lambda: (made.append(1), 0))) for _ in range(8)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1] and passing.rows.tolist() == [0, 1, 2, 3, 4] and passing.before(3) == 3
