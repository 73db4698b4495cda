"""The randomisation test, Holm's correction and the interval, against scipy, hand counts and chance."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import permutation_test

from searchapp.evaluate import bootstrap_mean
from searchapp.evaluate.significance import holm, paired_randomisation


@pytest.mark.parametrize(("mean", "count"), [(0.0, 40), (0.03, 60), (0.05, 200), (-0.02, 12)])
def test_p_values_agree_with_scipy(mean: float, count: int) -> None:
    differences = np.round(np.random.default_rng(count).normal(mean, 0.1, count), 2)
    theirs = permutation_test(
        (differences, np.zeros(count)),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        n_resamples=9_999,
        vectorized=True,
        alternative="two-sided",
        rng=np.random.default_rng(5),
    ).pvalue
    [ours] = paired_randomisation(differences)
    # ours has the variance p (1 - p) / n; scipy doubles a one-sided p-value, which has twice that
    p = max(ours, theirs)
    assert ours == pytest.approx(theirs, abs=4 * (3 * p * (1 - p) / 10_000) ** 0.5 + 2e-4)


def test_few_queries_give_the_exact_p_value() -> None:
    # of the 32 signs of five equal differences, two are as far out
    [p] = paired_randomisation(np.full(5, 0.1), permutations=200_000)
    assert p == pytest.approx(2 / 32, abs=0.003)
    # one query that did not move changes nothing
    [same] = paired_randomisation(np.array([0.1] * 5 + [0.0]), permutations=200_000)
    assert same == pytest.approx(2 / 32, abs=0.003)


def test_no_difference_is_certain_chance_and_no_p_value_is_zero() -> None:
    assert paired_randomisation(np.zeros(30)).tolist() == [1.0]
    assert paired_randomisation(np.full(300, 0.5)).tolist() == [1 / 10_001]


def test_metrics_share_the_draws_and_do_not_disturb_each_other() -> None:
    differences = np.random.default_rng(0).normal(0.01, 0.1, (80, 3))
    together = paired_randomisation(differences)
    assert together.tolist() == [paired_randomisation(differences[:, column])[0] for column in range(3)]
    # the sign of the difference does not matter
    assert together.tolist() == paired_randomisation(-differences).tolist()


def test_under_the_null_hypothesis_p_is_uniform() -> None:
    random = np.random.default_rng(11)
    p_values = paired_randomisation(random.normal(0, 1, (50, 2_000)), permutations=500)
    for level in (0.05, 0.2, 0.5):
        assert np.mean(p_values <= level) == pytest.approx(level, abs=0.05)


def test_ten_thousand_draws_of_a_thousand_queries_take_less_than_a_second() -> None:
    differences = np.random.default_rng(0).normal(size=1_000)
    paired_randomisation(differences, permutations=10)
    began = time.process_time()
    paired_randomisation(differences)
    assert time.process_time() - began < 1


def test_holm_by_hand() -> None:
    # 0.01 x 4, 0.02 x 3, then 0.03 x 2 and 0.04, neither below the one before
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]


def test_nothing_to_test_is_refused() -> None:
    with pytest.raises(ValueError, match="0 differences"):
        paired_randomisation(np.zeros(0))


def test_intervals_of_a_difference_cover_it_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        # bounded, skewed and full of ties, as differences of nDCG are
        differences = np.where(random.random(100) < 0.5, 0.0, random.beta(2, 5, 100) - 0.2)
        low, high = bootstrap_mean(differences, resamples=500, seed=int(random.integers(1 << 30)))
        covered += low <= 0.5 * (2 / 7 - 0.2) <= high
    assert 0.91 <= covered / 400 <= 0.98
