"""Whether a difference between two runs over the same queries could be chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PERMUTATIONS = 10_000
BLOCK = 1 << 20
"""Signs drawn at once."""


def paired_randomisation(differences: np.ndarray, *, permutations: int = PERMUTATIONS, seed: int = 0) -> np.ndarray:
    """Return the two-sided p-value of the paired randomisation test (Fisher's; Smucker, Allan & Carterette 2007).

    ``differences`` is (n, m), one row a query and one column a metric, or (n,) for one metric. Were the runs equally
    good, each query's difference could as well have had the other sign: of ``permutations`` draws of signs, the same
    draws for every metric, p counts those whose mean is at least as far from 0 as the one observed, and the observed
    one itself: (hits + 1) / (permutations + 1).

    Returns float64 (m,). Raises ValueError where there is no query, or ``permutations`` is below 1.
    """
    values = np.asarray(differences, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    count = len(values)
    if count == 0 or permutations < 1:
        raise ValueError(f"{count} differences and {permutations} permutations, expected at least one of both")
    total = values.sum(axis=0)
    # Two sums of the same numbers in another order may differ in their last digits: such a draw is a hit too.
    least = np.abs(total) - 1e-12 * np.abs(values).sum(axis=0)
    random = np.random.default_rng(seed)
    hits = np.zeros(values.shape[1], np.int64)
    step = max(1, BLOCK // count)
    for start in range(0, permutations, step):
        kept = random.integers(0, 2, (min(step, permutations - start), count), dtype=np.int8).astype(np.float64)
        hits += (np.abs(2 * (kept @ values) - total) >= least).sum(axis=0)
    return (hits + 1) / (permutations + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for having tested several hypotheses (Holm 1979), in the order given."""
    order = np.argsort(np.asarray(p_values, np.float64), kind="stable")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(order.tolist()):
        highest = max(highest, min(1.0, (len(p_values) - place) * float(p_values[index])))
        adjusted[index] = highest
    return adjusted
