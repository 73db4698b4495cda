"""The batches of an epoch are whole, fair and repeatable."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.adapt.data import PairFile
from searchapp.adapt.sampler import epoch_batches
from searchapp.errors import AdaptError


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[PairFile], list[int], int, int, int]:
    batch = draw(st.integers(1, 12))
    files, sizes = [], []
    for number in range(draw(st.integers(1, 4))):
        size = draw(st.integers(batch, 80))
        least = batch / size + 0.01
        files.append(PairFile(Path(f"{number}.jsonl"), share=draw(st.just(1.0) | st.floats(least, least + 3))))
        sizes.append(size)
    return files, sizes, batch, draw(st.integers(0, 2**40)), draw(st.integers(0, 50))


@given(plans())
@settings(max_examples=150, deadline=None)
def test_batches_are_whole_fair_and_repeatable(plan: tuple[list[PairFile], list[int], int, int, int]) -> None:
    files, sizes, batch, seed, epoch = plan
    found = epoch_batches(*plan)
    seen = [Counter[int]() for _ in files]
    for number, rows in found:
        assert len(rows) == batch == len(set(rows.tolist()))
        assert rows.min() >= 0 and rows.max() < sizes[number]
        seen[number].update(rows.tolist())
    for file, size, rows in zip(files, sizes, seen, strict=True):
        assert rows.total() == round(file.share * size) // batch * batch
        if file.share <= 1:
            assert not rows or max(rows.values()) == 1
    again = epoch_batches(files, sizes, batch, seed, epoch)
    assert [(n, r.tolist()) for n, r in again] == [(n, r.tolist()) for n, r in found]
    fewer = epoch_batches(files[:-1], sizes[:-1], batch, seed, epoch) if len(files) > 1 else []
    own = {(n, tuple(r.tolist())) for n, r in found if n < len(files) - 1}
    assert {(n, tuple(r.tolist())) for n, r in fewer} == own


def test_every_row_is_as_likely_to_be_dropped_and_order_tells_nothing() -> None:
    file, other = PairFile(Path("a.jsonl")), PairFile(Path("b.jsonl"))
    kept = np.zeros(11)
    first_data_set = 0
    for epoch in range(2_000):
        plan = epoch_batches([file, other], [11, 50], 10, 7, epoch)
        kept[next(rows for number, rows in plan if number == 0)] += 1
        first_data_set += plan[0].file == 0
    # 10 of 11 rows stay; six standard deviations of a binomial either way
    assert np.abs(kept / 2_000 - 10 / 11).max() < 6 * (10 / 11 / 11 / 2_000) ** 0.5
    assert abs(first_data_set / 2_000 - 1 / 6) < 6 * (5 / 36 / 2_000) ** 0.5
    one, two = (epoch_batches([file], [1_000], 10, seed, 0)[0].rows for seed in (1, 2))
    assert one.tolist() != two.tolist()


def test_a_share_above_one_goes_round_more_than_once() -> None:
    rows = np.concatenate(
        [batch.rows for batch in epoch_batches([PairFile(Path("a.jsonl"), share=2.5)], [40], 10, 0, 0)]
    )
    counts = np.bincount(rows, minlength=40)
    assert len(rows) == 100
    assert set(counts) == {2, 3}
    plan = epoch_batches([PairFile(Path("a.jsonl"), share=3)], [40], 10, 0, 0)
    assert len({frozenset(batch.rows.tolist()) for batch in plan}) == 12  # each round is shuffled anew


def test_a_data_set_smaller_than_a_batch() -> None:
    small, large = PairFile(Path("small.jsonl")), PairFile(Path("large.jsonl"))
    (alone,) = epoch_batches([small], [5], 8, 0, 0)
    assert sorted(alone.rows.tolist()) == [0, 1, 2, 3, 4]
    assert [len(batch.rows) for batch in epoch_batches([replace(small, share=2)], [5], 8, 0, 0)] == [5, 5]
    with pytest.raises(AdaptError, match="small has 5 rows; a batch takes 8 different ones"):
        epoch_batches([large, small], [100, 5], 8, 0, 0)
    with pytest.raises(AdaptError, match="small has 10 rows with a share of 0.5, 5 an epoch"):
        epoch_batches([large, replace(small, share=0.5)], [100, 10], 8, 0, 0)
    with pytest.raises(AdaptError, match="small has 5 rows with a share of 2, 10 an epoch; a batch takes 8 different"):
        epoch_batches([large, replace(small, share=2)], [100, 5], 8, 0, 0)
    with pytest.raises(AdaptError, match="small has 1 row; expected at least 2"):
        epoch_batches([small], [1], 8, 0, 0)
    for wrong in (([small], [9], 0, 0, 0), ([small], [9], 2, -1, 0), ([small], [9], 2, 0, -1), ([], [], 2, 0, 0)):
        with pytest.raises(AdaptError):
            epoch_batches(*wrong)
