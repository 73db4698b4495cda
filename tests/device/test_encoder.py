"""The encoder on the device gives the vectors of the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from tests.device import DEVICE

pytestmark = pytest.mark.gpu
TEXTS = [
    "bees",
    "",
    "the quick brown fox jumps over the lazy dog",
    *(" ".join(["how do you measure the quality of a search engine"] * count) for count in (1, 1, 3, 9, 40)),
    *(f"document {number} about honey and hives" for number in range(40)),
]


@pytest.fixture(scope="module", params=["tiny", "bundled"])
def model(request: pytest.FixtureRequest, tiny_model: Path) -> str:
    return str(tiny_model) if request.param == "tiny" else "bundled"


@pytest.fixture(scope="module")
def expected(model: str) -> np.ndarray:
    return Encoder.load(model, device="cpu", dtype="float32").encode(TEXTS, normalize=False)


@pytest.mark.parametrize("attention", ["auto", "sdpa", "eager"])
def test_float32_is_the_cpus(model: str, expected: np.ndarray, attention: str) -> None:
    found = Encoder.load(model, device=DEVICE, dtype="float32", attention=attention).encode(TEXTS, normalize=False)
    length = np.linalg.norm(expected, axis=1)
    assert (np.linalg.norm(found - expected, axis=1) <= 1e-4 * length).all()


@pytest.mark.parametrize("attention", ["packed", "auto", "sdpa"])
def test_bfloat16_points_where_float32_does(model: str, expected: np.ndarray, attention: str) -> None:
    encoder = Encoder.load(model, device=DEVICE, dtype="bfloat16", attention=attention)
    assert encoder.attention == ("sdpa" if attention == "sdpa" else "packed") and encoder.device == DEVICE
    found = encoder.encode(TEXTS)
    kept = np.linalg.norm(expected, axis=1) > 0
    cosines = (found * expected).sum(1)[kept] / np.linalg.norm(expected, axis=1)[kept]
    assert cosines.min() >= 0.999


def test_a_batch_does_not_decide_a_vector(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model), device=DEVICE, dtype="float32")
    whole, alone = encoder.encode(TEXTS), np.concatenate([encoder.encode(text) for text in TEXTS[:8]])
    np.testing.assert_allclose(whole[:8], alone, atol=1e-4)
