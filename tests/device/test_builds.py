"""Builds on the device: two at once, and one that is killed and goes on."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from searchapp.index import Snapshot, VectorIndex
from tests.device import DEVICE
from tests.program import start

pytestmark = pytest.mark.gpu
DOCUMENTS, SEGMENT = 96, 6


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


def finish(process) -> None:
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


def test_a_killed_build_goes_on_beside_another_process(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    index, other = tmp_path / "killed", tmp_path / "other"
    process = begin(corpus, tiny_model, index)
    deadline = time.time() + 200
    while len([*(index / "data").glob("vectors-*")]) < 4 and time.time() < deadline and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the build was over before it could be killed"
    before = [segment.vectors_file for segment in Snapshot.open(index).manifest.segments]
    assert 0 < len(before) < DOCUMENTS // SEGMENT
    both = [begin(corpus, tiny_model, place) for place in (index, other)]  # two processes on one device
    for process in both:
        finish(process)
    after = [segment.vectors_file for segment in Snapshot.open(index).manifest.segments]
    assert after[: len(before)] == before, "a finished segment was encoded again"
    assert len(stored(index)) == DOCUMENTS
    np.testing.assert_allclose(stored(index), stored(other), atol=1e-3)
