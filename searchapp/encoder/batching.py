"""Which texts go through the model together: sorted by token count, cut by a budget of computed positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def plan(lengths: Sequence[int], budget: int, most: int | None = None) -> Iterator[np.ndarray]:
    """Yield index arrays that cover ``range(len(lengths))`` once.

    Longest first (a batch that does not fit shows at once). A batch of n texts costs n times its longest length;
    it stays within ``budget`` tokens unless a single text is longer. ``most`` bounds the texts in a batch.
    """
    sizes = np.asarray(lengths)
    order = np.argsort(-sizes, kind="stable")
    begin = 0
    while begin < len(order):
        count = max(1, budget // max(1, int(sizes[order[begin]])))
        if most is not None:
            count = min(count, most)
        yield order[begin : begin + count]
        begin += count
