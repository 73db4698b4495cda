"""How far a mean over queries can be trusted, had other queries of the same kind been asked."""

from __future__ import annotations

import numpy as np

BLOCK = 1 << 20
"""Draws held at once: 8 MiB of indices and 8 MiB of values (one resample at least, however many values it has)."""


def bootstrap_mean(
    values: np.ndarray, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean (Efron & Tibshirani 1993, section 13.3).

    The ``(1 ± level) / 2`` quantiles, linearly interpolated, of the means of ``resamples`` samples drawn from
    ``values``, (n,), one number a query, with replacement. The same values and ``seed`` give the same interval. It
    covers the true mean in about ``level`` of all cases, and in somewhat fewer where queries are few.

    Returns the low and the high end. One value says nothing of its spread: both are that value. No value: both are
    NaN. Raises ValueError where ``level`` is not between 0 and 1, ``resamples`` is below 1, or ``values`` has not one
    dimension.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1:
        raise ValueError(f"values have shape {values.shape}, expected one dimension")
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"level is {level} and resamples {resamples}, expected a level in (0, 1) and resamples >= 1")
    count = len(values)
    if count == 0:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, BLOCK // count)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        means[start : start + rows] = values[random.integers(0, count, (rows, count))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
