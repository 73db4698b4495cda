"""Filters equal plain Python on the same metadata, and refuse what they do not know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.corpus import Document
from searchapp.errors import SearchAppError
from searchapp.index import Filter, VectorIndex, build
from searchapp.index.storage.documents import _columns
from tests.index.conftest import HashEncoder

ROWS = [
    {"lang": "en", "year": 2019, "ok": True}, {"lang": "de", "year": 2021}, {"lang": "en", "year": 2022.5, "ok": False},
    {"year": 2020}, {"lang": "fr", "odd key": 1}, {},
]  # fmt: skip


def mask(expression: str, rows: list[dict] = ROWS, cut: int = 3) -> list[bool]:
    documents = [Document(str(i), "x", metadata=row) for i, row in enumerate(rows)]
    segments = [_columns(part) for part in (documents[:cut], documents[cut:]) if part]
    return Filter(expression).mask(segments).tolist()


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ('lang == "en"', [0, 2]),
        ('lang == "en" and year >= 2020', [2]),
        ("year >= 2020 or ok", None),
        ('year >= 2020 or lang == "fr"', [1, 2, 3, 4]),
        ("2019 < year <= 2021", [1, 3]),
        ('not lang == "en"', [1, 3, 4, 5]),
        ('lang != "en"', [1, 3, 4, 5]),
        ('lang in ["de", "fr"]', [1, 4]),
        ('lang not in ["de", "fr"]', [0, 2, 3, 5]),
        ("ok == true", [0]),
        ("ok == False", [2]),
        ('meta["odd key"] == 1', [4]),
        ("2020 <= year", [1, 2, 3]),
        ('lang == "en" and (year < 2020 or year > 2022)', [0, 2]),
        ("year == -1", []),
        ('year == "2020"', []),
    ],
)
def test_expressions(expression: str, wanted: list[int] | None) -> None:
    if wanted is None:
        with pytest.raises(SearchAppError):
            mask(expression)
        return
    assert np.flatnonzero(mask(expression)).tolist() == wanted


@pytest.mark.parametrize(
    "expression",
    ["", "lang", "lang = 'en'", "lang ==", "len(lang) == 2", "lang == other", "__import__('os')", "1 == 1", "lang is None",
     "year in 3", 'lang == ["en"]', "lang.upper() == 'EN'", "lambda: 1", "year + 1 == 2"],
)  # fmt: skip
def test_what_the_language_has_not_is_refused_in_one_line(expression: str) -> None:
    with pytest.raises(SearchAppError) as caught:
        Filter(expression)
    assert "\n" not in str(caught.value)
    assert "works" in str(caught.value)


def test_an_unknown_key_is_named_with_the_known_ones() -> None:
    with pytest.raises(SearchAppError, match="'yeer'.*lang.*year"):
        mask("yeer > 3")


VALUES = st.none() | st.integers(-5, 5) | st.sampled_from(["a", "b", "1"]) | st.booleans()


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["x", "y"]), VALUES), min_size=1, max_size=8),
    operator=st.sampled_from(["==", "!=", "<", ">="]),
    value=st.integers(-5, 5),
)
def test_numbers_compare_as_in_python(rows: list[dict], operator: str, value: int) -> None:
    rows = [
        {**row, "x": row.get("x") if isinstance(row.get("x"), int) and not isinstance(row.get("x"), bool) else None}
        for row in rows
    ]
    rows.append({"x": 0})
    truth = {
        "==": lambda x: x is not None and x == value, "!=": lambda x: x is None or x != value,
        "<": lambda x: x is not None and x < value, ">=": lambda x: x is not None and x >= value,
    }[operator]  # fmt: skip
    assert mask(f"x {operator} {value}", rows, cut=len(rows) // 2) == [truth(row.get("x")) for row in rows]


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "HNSW16"])
@pytest.mark.parametrize("few", [0, 20_000])
def test_a_filtered_search_equals_brute_force_on_what_passes(
    tmp_path: Path, corpus, factory: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("searchapp.index.reader.FEW", max(few, 1))
    encoder = HashEncoder()
    build([str(corpus(200))], tmp_path / "ix", encoder, factory=factory, segment_size=64)
    index = VectorIndex.open(tmp_path / "ix")
    query = encoder.vector("anything")
    _, rows = index.search_vectors(query, 15, filter=Filter('lang == "de" and year >= 2010'))
    stored = np.concatenate([*index.vectors.blocks()])
    passing = [i for i in range(200) if i % 3 == 0 and 2000 + i % 30 >= 2010]
    best = sorted(passing, key=lambda row: -float(stored[row] @ query[0]))[:15]
    assert rows[0].tolist() == best
    _, none = index.search_vectors(query, 5, filter=Filter("year > 3000"))
    assert none.tolist() == [[-1] * 5]


TAGGED: list[dict] = [
    {"tags": ["bees", "honey"]}, {"tags": "bees"}, {"tags": []}, {"tags": {"bees": 1}}, {}, {"tags": [1, True, "ü\\\""]},
    {"tags": 1}, {"tags": ["beeswax", ["bees"]], "other": "bees"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ('"bees" in tags', [0, 1]),
        ('"bees" not in tags', [2, 3, 4, 5, 6, 7]),
        ('"bees" in tags and "honey" in tags', [0]),
        ("1 in tags", [5, 6]),
        ("true in tags", [5]),
        ('"ü\\\\\\"" in tags', [5]),
        ('"bees" in other', [7]),
        ('"bees" in meta["tags"] or tags == 1', [0, 1, 6]),
    ],
)
def test_lists_are_asked_for_what_they_hold(
    tmp_path: Path, hash_encoder: HashEncoder, expression: str, wanted: list[int]
) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"id": str(n), "text": "x", **row}, ensure_ascii=False) for n, row in enumerate(TAGGED)]
    path.write_text("\n".join(lines))
    build([str(path)], tmp_path / "ix", hash_encoder, segment_size=3)
    index = VectorIndex.open(tmp_path / "ix")
    assert np.flatnonzero(index.passing(Filter(expression)).mask).tolist() == wanted


@pytest.mark.parametrize(
    "expression", ['["bees"] in tags', '"bees" in "bees"', '"a" in tags in tags', '"bees" in nothing']
)
def test_what_cannot_be_asked_of_lists_is_refused(expression: str) -> None:
    with pytest.raises(SearchAppError):
        mask(expression, TAGGED)
