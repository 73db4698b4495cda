"""Several devices: results in order and the same, a dead worker named with its cause, nothing before it lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.encoder import streaming, window
from searchapp.errors import ModelError
from tests.progress import Counted

TEXTS = [f"bees fly {number} times and make {'honey ' * (number % 7)}" for number in range(60)]


@pytest.fixture
def pair(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(window, "FIRST", 8)
    monkeypatch.setattr(streaming, "SHARD", 8)
    encoder = Encoder.load(str(tiny_model), devices=["cpu", "cpu"])
    yield encoder
    encoder._pool.close()


def test_two_devices_give_the_vectors_of_one_and_a_killed_worker_is_named(pair: Encoder, tiny_encoder: Encoder) -> None:
    progress = Counted()
    got = pair.encode_counted(TEXTS, progress=progress)
    want = tiny_encoder.encode_counted(TEXTS)
    np.testing.assert_allclose(got.vectors, want.vectors, atol=1e-5)
    assert got.tokens == want.tokens
    assert progress.count == len(TEXTS)
    [worker] = pair._pool.workers
    stream = pair.encode_stream(iter(TEXTS), dtype=np.float32)
    first = next(stream)
    np.testing.assert_allclose(first, want.vectors[: len(first)], atol=1e-5)
    os.kill(worker.process_id, signal.SIGKILL)
    kept = len(first)
    with pytest.raises(ModelError, match=rf"worker of cpu \(process {worker.process_id}\) was killed by SIGKILL"):
        for part in stream:
            np.testing.assert_allclose(part, want.vectors[kept : kept + len(part)], atol=1e-5)
            kept += len(part)
        pair.encode(TEXTS)
        pair.encode(TEXTS)
    assert not pair._pool.workers


def test_a_worker_that_cannot_load_says_why(tiny_model: Path, pair: Encoder, monkeypatch) -> None:
    monkeypatch.setattr(type(pair), "reference", {"model": str(tiny_model / "gone")})
    with pytest.raises(ModelError, match=r"worker of cpu failed: .*does not exist"):
        pair.encode(TEXTS * 2)
        pair.encode(["more"] + [f"{text}!" for text in TEXTS * 4])


def test_one_window_starts_no_process(pair: Encoder) -> None:
    pair.encode(TEXTS[:8])
    assert not pair._pool.workers


def test_devices_are_checked(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="device 'tpu' is unknown"):
        Encoder.load(str(tiny_model), device="cpu,tpu")
    with pytest.raises(ModelError, match="backend 'onnx' is unknown"):
        Encoder.load(str(tiny_model), backend="onnx")
