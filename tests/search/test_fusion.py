"""Fusion against its formula in plain Python, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapp.errors import SearchAppError
from searchapp.search import Fusion, Stage
from searchapp.search.fusion import fuse, normalise


def stage(name: str, *rankings: list[tuple[int, float]], width: int = 8) -> Stage:
    """A stage from lists of (row, score), best first."""
    rows = np.full((len(rankings), width), -1, dtype=np.int64)
    scores = np.full((len(rankings), width), -np.inf, dtype=np.float32)
    for number, ranking in enumerate(rankings):
        for place, (row, score) in enumerate(ranking):
            rows[number, place], scores[number, place] = row, score
    return Stage(name, rows, scores)


lists = st.lists(
    st.tuples(st.integers(0, 12), st.floats(-5, 5, width=32)), max_size=8, unique_by=lambda hit: hit[0]
).map(lambda hits: sorted(hits, key=lambda hit: (-hit[1], hit[0])))


@given(lists, lists, st.floats(0, 1), st.integers(1, 20))
def test_reciprocal_ranks_are_the_formula(one, other, weight: float, k: int) -> None:
    expected: dict[int, float] = {}
    for ranking, share in ((one, weight), (other, 1 - weight)):
        for rank, (row, _) in enumerate(ranking, 1):
            expected[row] = expected.get(row, 0.0) + share / (60 + rank)
    scores, rows = fuse(stage("exact", one), stage("bm25", other), Fusion(weight=weight), k)
    order = sorted(expected, key=lambda row: (-np.float32(expected[row]), row))[:k]
    assert rows[0].tolist() == order + [-1] * (k - len(order))
    assert scores[0, : len(order)] == pytest.approx([expected[row] for row in order], rel=1e-6)
    assert scores.dtype == np.float32 and (scores[0, len(order) :] == -np.inf).all()


@given(lists, lists, st.floats(0, 1), st.sampled_from(["minmax", "zscore"]))
def test_weighted_scores_are_bounded_and_total(one, other, weight: float, how: str) -> None:
    fusion = Fusion("weighted", weight, how)
    scores, rows = fuse(stage("exact", one), stage("bm25", other), fusion, 30)
    real = rows[0] >= 0
    assert set(rows[0, real].tolist()) == {row for row, _ in one + other}
    low, high = (0, 1 + 1e-6) if how == "minmax" else (-3, 3)  # the square root of 8 candidates, at most
    assert ((scores[0, real] >= low) & (scores[0, real] <= high)).all()
    pairs = list(zip((-scores[0, real]).tolist(), rows[0, real].tolist(), strict=True))
    assert pairs == sorted(pairs)


@given(lists, lists)
def test_a_weight_of_one_or_nought_is_that_side_s_order(one, other) -> None:
    for how in ("minmax", "zscore"):
        for weight, side in ((1.0, one), (0.0, other)):
            _, rows = fuse(stage("exact", one), stage("bm25", other), Fusion("weighted", weight, how), 30)
            scores = dict(side)
            ranked = [row for row in rows[0].tolist() if row in scores]
            values = [
                normalise(np.array([scores[row] for row in scores]), how)[list(scores).index(row)] for row in ranked
            ]
            assert values == pytest.approx(sorted(values, reverse=True), abs=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("constant", [1.0, 60.0])
def test_the_first_of_long_rankings_are_those_of_all(weight: float, constant: float) -> None:
    """Where only the first ranks of each side can matter; short sides and rows that both have among them."""
    rng = np.random.default_rng(int(10 * weight + constant))
    for turn in range(12):
        few = int(rng.choice([300, 2_000]))
        sides = [
            [(int(row), 0.0) for row in rng.permutation(few)[: rng.choice([0, 7, 300])]] for _ in range(2)
        ]  # fused by ranks alone, so the scores do not matter
        expected: dict[int, float] = {}
        for ranking, share in zip(sides, (weight, 1 - weight), strict=True):
            for rank, (row, _) in enumerate(ranking, 1):
                expected[row] = expected.get(row, 0.0) + share / (constant + rank)
        k = int(rng.integers(1, 40))
        stages = [stage(name, ranking, width=300) for name, ranking in zip(("exact", "bm25"), sides, strict=True)]
        scores, rows = fuse(*stages, Fusion(weight=weight, constant=constant), k)
        order = sorted(expected, key=lambda row: (-np.float32(expected[row]), row))[:k]
        assert rows[0].tolist() == order + [-1] * (k - len(order)), turn
        assert scores[0, : len(order)] == pytest.approx([expected[row] for row in order], rel=1e-6)


@pytest.mark.parametrize("scored", [None, 2])
def test_the_places_of_rows_in_a_stage(scored: int | None) -> None:
    one = stage("reranked", [(4, 3.0), (9, 2.0), (1, 1.0)], [])
    one = Stage(one.name, one.rows, one.scores, scored=scored)
    expected = [(1, 3.0), (None, None), (3, None if scored else 1.0), (2, 2.0)]
    assert one.places(0, np.array([4, 5, 1, 9])) == expected
    assert [(one.rank(0, row), one.score(0, row)) for row in (4, 5, 1, 9)] == expected
    assert [one.place(0, row) for row in (4, 5, 1, 9)] == expected
    assert one.places(1, np.array([4])) == [(None, None)] and one.rank(1, 4) is None
    assert one.cut(0).places(0, np.array([4])) == [(None, None)] and one.cut(0).rank(0, 4) is None


def test_by_hand() -> None:
    dense = stage("exact", [(4, 0.9), (2, 0.5), (7, 0.1)])
    lexical = stage("bm25", [(2, 12.0), (9, 4.0)])
    scores, rows = fuse(dense, lexical, Fusion("weighted", 0.25), 10)
    assert rows[0, :4].tolist() == [2, 4, 7, 9]
    assert scores[0, :4] == pytest.approx([0.25 * 0.5 + 0.75, 0.25, 0.0, 0.0], abs=1e-6)
    _, rows = fuse(dense, lexical, Fusion(), 2)
    assert rows[0].tolist() == [2, 4]


def test_one_side_may_be_empty() -> None:
    dense, nothing = stage("exact", [(3, 0.2), (1, 0.1)], []), stage("bm25", [], [])
    for fusion in (Fusion(), Fusion("weighted"), Fusion("weighted", normalisation="zscore")):
        _, rows = fuse(dense, nothing, fusion, 3)
        assert rows.tolist() == [[3, 1, -1], [-1, -1, -1]]


def test_scores_that_are_all_equal_say_nothing() -> None:
    assert normalise(np.array([3.0, 3.0]), "minmax").tolist() == [1.0, 1.0]
    assert normalise(np.array([3.0, 3.0]), "zscore").tolist() == [0.0, 0.0]
    outlier = normalise(np.array([0.0] * 998 + [1e6, 2e6]), "zscore")
    assert outlier[-2] < outlier[-1] < np.sqrt(1000), "the best two are told apart, and bounded"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "magic"}, "expected one of rrf, weighted"),
        ({"normalisation": "magic"}, "expected one of minmax, zscore"),
        ({"weight": 1.5}, "weight is 1.5; expected 0"),
        ({"weight": float("nan")}, "weight is nan"),
        ({"constant": 0}, "constant of reciprocal ranks is 0"),
        ({"depth": 0}, "depth is 0"),
    ],
)
def test_what_cannot_be_fused_is_refused(options, words: str) -> None:
    with pytest.raises(SearchAppError, match=words):
        Fusion(**options)
