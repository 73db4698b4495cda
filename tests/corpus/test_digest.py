"""Digests of documents in memory: the same for the same, another for any change."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from searchapp.corpus.digest import TOGETHER, WORDS, sums
from searchapp.corpus.memory import memory_source


@pytest.mark.parametrize("count", [0, 1, 3, 2 * WORDS, 2 * WORDS + 1, 2 * WORDS * (TOGETHER + 1) + 5])
def test_any_change_of_numbers_shows(count: int) -> None:
    numbers = np.random.default_rng(0).normal(size=count).astype(np.float32)
    made = sums(numbers)
    assert sums(numbers.copy()) == made == sums(np.repeat(numbers, 2)[::2])
    assert sums(np.append(numbers, np.float32(0))) != made
    for place in {0, 1, count // 2, count - 1} & set(range(count)):
        for value in (-numbers[place], np.nextafter(numbers[place], np.float32(9)), np.float32(0)):
            changed = numbers.copy()
            changed[place] = value
            assert sums(changed) != made
    if count > 2 * WORDS:
        for one, other in ((0, 1), (0, 2), (0, 2 * WORDS)):
            changed = numbers.copy()
            changed[[one, other]] = numbers[[other, one]]
            assert sums(changed) != made


def test_a_table_with_vectors_is_told_from_others() -> None:
    def identity(ids: list[str], vectors: np.ndarray, name: str = "v") -> str:
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), vectors.shape[1])
        return memory_source(pa.table({"id": ids, name: column}), vectors=name).identity()

    given = np.arange(6).reshape(2, 3)
    first = identity(["a", "b"], given)
    assert identity(["a", "b"], given) == first
    others = [identity(["a", "c"], given), identity(["a", "b"], given + 1), identity(["a", "b"], given[::-1])]
    beside = [memory_source([("a", "x")], vectors=np.full((1, 2), value)).identity() for value in (1, 2, 1)]
    assert len({first, *others}) == 4 and beside[0] == beside[2] != beside[1]
