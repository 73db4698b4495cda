"""Builds on the device: two at once, and one that is killed and goes on."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from searchapp.index import Store, VectorIndex
from tests.device import DEVICE
from tests.program import start

pytestmark = pytest.mark.gpu
DOCUMENTS, SEGMENT = 160, 8


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "docs.jsonl"
    rng = np.random.default_rng(0)
    words = "bees fly make honey hives search engine quality measure fox dog quick brown lazy".split()
    rows = [{"_id": str(number), "text": " ".join(rng.choice(words, 30))} for number in range(DOCUMENTS)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


def begin(corpus: Path, model: Path, index: Path):
    return start(
        "build", corpus, "--model", model, "--device", DEVICE, "--dtype", "float32", "--segment-size", SEGMENT,
        "--factory", "Flat", "--no-lexical", "--index", index,
    )  # fmt: skip


def stored(index: Path) -> np.ndarray:
    return np.concatenate([*VectorIndex.open(index).vectors.blocks()])


@pytest.fixture(scope="module")
def two(corpus: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Indexes that two processes built on one device at the same time."""
    places = [tmp_path_factory.mktemp("two") / name for name in ("one", "other")]
    processes = [begin(corpus, tiny_model, place) for place in places]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    return places


def test_two_processes_on_one_device_make_the_same(two: list[Path]) -> None:
    one, other = map(stored, two)
    assert len(one) == DOCUMENTS
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_killed_build_goes_on_to_the_same(
    corpus: Path, tiny_model: Path, two: list[Path], tmp_path: Path
) -> None:
    index = tmp_path / "killed"
    process = begin(corpus, tiny_model, index)
    deadline = time.time() + 200
    while len([*(index / "data").glob("vectors-*")]) < 4 and time.time() < deadline and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the build was over before it could be killed"
    before = [segment.vectors for segment in Store.open(index).manifest.segments]
    assert 0 < len(before) < DOCUMENTS // SEGMENT
    process = begin(corpus, tiny_model, index)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    after = [segment.vectors for segment in Store.open(index).manifest.segments]
    assert after[: len(before)] == before, "a finished segment was encoded again"
    np.testing.assert_allclose(stored(index), stored(two[0]), atol=1e-3)
