"""Vectors as they are stored, beside NumPy's own cast and a plain rendering of the rule."""

from __future__ import annotations

import numpy as np
import pytest

from searchapp.index.storage.halves import to_halves
from searchapp.index.storage.segment import NEAR_NUMBERS, as_stored


def test_halves_are_those_of_numpy_bit_by_bit() -> None:
    drawn = np.random.default_rng(0).integers(0, 0x3F800001, 200_000, dtype=np.uint32).view(np.float32)
    halves = np.arange(0, 0x3C01, dtype=np.uint16).view("<f2").astype(np.float32)
    ties = (halves[1:] + halves[:-1]) / np.float32(2)
    beside = np.concatenate([np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(1))])
    numbers = np.concatenate([drawn, halves, ties, beside, np.array([1e-45, 2**-25, 3 * 2**-26], dtype=np.float32)])
    numbers = np.concatenate([numbers, -numbers])
    made = np.empty(len(numbers), dtype="<f2")
    to_halves(numbers, made)
    np.testing.assert_array_equal(made.view(np.uint16), numbers.astype("<f2").view(np.uint16))


@pytest.mark.parametrize("dim", [1, 7, 3_000])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_vectors_are_made_unit_and_those_that_are_stored_stay(dim: int, scale: float) -> None:
    count = 2 * NEAR_NUMBERS // dim + 3 if dim > 1 else 50
    given = (np.random.default_rng(dim).normal(size=(count, dim)) * scale).astype(np.float32)
    given[1] = 0
    exact = given / np.maximum(np.linalg.norm(given.astype(np.float64), axis=1, keepdims=True), 1e-300)
    stored = as_stored(given, dim)
    np.testing.assert_allclose(stored, exact, rtol=1e-3, atol=1e-7)
    assert not stored[1].any()
    assert as_stored(list(given), dim).tobytes() == stored.tobytes()
    again = as_stored(stored.astype(np.float32), dim)
    assert again.tobytes() == stored.tobytes()
