from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from searchapp.evaluate import bootstrap, bootstrap_mean


def test_interval_agrees_with_scipy():
    values = np.random.default_rng(1).beta(0.5, 0.7, 80)
    low, high = bootstrap_mean(values, resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, confidence_level=0.95, method="percentile", rng=2
    ).confidence_interval
    width = theirs.high - theirs.low
    assert abs(low - theirs.low) < 0.03 * width
    assert abs(high - theirs.high) < 0.03 * width


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_interval_covers_the_true_mean_at_the_stated_rate(level: float):
    # Per-query values look like this: many at 0 and 1. True mean of Beta(a, b): a / (a + b).
    random = np.random.default_rng(3)
    trials = 600
    hits = 0
    for trial in range(trials):
        low, high = bootstrap_mean(random.beta(0.5, 0.5, 100), resamples=400, level=level, seed=trial)
        hits += low <= 0.5 <= high
    assert abs(hits / trials - level) < 0.035


def test_exact_distribution_of_two_values():
    # The mean of two draws from {0, 1} is 0, 1/2 or 1 with chance 1/4, 1/2, 1/4.
    assert bootstrap_mean(np.array([0.0, 1.0]), level=0.95) == (0.0, 1.0)
    assert bootstrap_mean(np.array([0.0, 1.0]), level=0.4) == (0.5, 0.5)


def test_no_value_one_value_equal_values():
    assert all(math.isnan(end) for end in bootstrap_mean(np.array([])))
    assert bootstrap_mean(np.array([0.3])) == (0.3, 0.3)
    tenths = np.full(37, 0.1)
    assert bootstrap_mean(tenths) == (tenths.mean(), tenths.mean())


def test_deterministic_and_seeded():
    values = np.random.default_rng(0).random(50)
    assert bootstrap_mean(values) == bootstrap_mean(values.tolist()) == bootstrap_mean(values, seed=0)
    assert bootstrap_mean(values) != bootstrap_mean(values, seed=1)


def test_blocks_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(0).random(33)
    whole = bootstrap_mean(values, resamples=501)
    monkeypatch.setattr(bootstrap, "BLOCK", 100)
    assert bootstrap_mean(values, resamples=501) == whole
    monkeypatch.setattr(bootstrap, "BLOCK", 1)
    assert bootstrap_mean(values, resamples=501) == whole


@pytest.mark.parametrize("wrong", [{"level": 0.0}, {"level": 1.0}, {"level": 95}, {"resamples": 0}])
def test_options_out_of_range(wrong: dict):
    with pytest.raises(ValueError, match="expected a level"):
        bootstrap_mean(np.array([1.0, 2.0]), **wrong)


def test_more_than_one_dimension():
    with pytest.raises(ValueError, match="expected one dimension"):
        bootstrap_mean(np.ones((2, 2)))
