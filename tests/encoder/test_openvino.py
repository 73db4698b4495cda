"""The OpenVINO backend: torch's vectors to rounding, whatever the batch, and an index that knows what made it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.encoder.devices import native_bfloat16
from searchapp.errors import IndexStoreError, ModelError
from searchapp.index import build
from searchapp.search import Index

pytest.importorskip("openvino")
TEXTS = ["bees", "", "the quick brown fox jumps " * 9, "bees fly and make honey", "how do you measure", "bees " * 90]


@pytest.fixture(scope="module")
def converted(tiny_model: Path) -> Encoder:
    return Encoder.load(str(tiny_model), backend="openvino", dtype="float32")


def test_its_vectors_are_torchs_alone_and_in_company(converted: Encoder, tiny_encoder: Encoder) -> None:
    want = tiny_encoder.encode(TEXTS)
    np.testing.assert_allclose(converted.encode(TEXTS), want, atol=2e-5)
    np.testing.assert_allclose(np.vstack([converted.encode(text) for text in TEXTS]), want, atol=2e-5)
    np.testing.assert_allclose(
        converted.encode(TEXTS[::-1], "find:"), tiny_encoder.encode(TEXTS[::-1], "find:"), atol=2e-5
    )
    assert converted.fingerprint == tiny_encoder.fingerprint
    assert "float32 on cpu by openvino, padded batches" in converted.description


def test_its_token_vectors_are_torchs(converted: Encoder, tiny_encoder: Encoder) -> None:
    texts = ["bees fly and make honey in their hives", "", "é👩‍🚀x", "the quick brown fox"]
    for ours, theirs in zip(converted.encode_tokens(texts), tiny_encoder.encode_tokens(texts), strict=True):
        assert np.array_equal(ours.spans, theirs.spans)
        np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=1e-4)


def test_bfloat16_stays_near_float32(tiny_model: Path, tiny_encoder: Encoder) -> None:
    import torch

    if not native_bfloat16(torch.cpu):
        pytest.skip("this CPU has no bfloat16")
    fast = Encoder.load(str(tiny_model), backend="openvino", dtype="bfloat16")
    cosines = (fast.encode(TEXTS) * tiny_encoder.encode(TEXTS)).sum(1)
    assert cosines[[0, 2, 3, 4, 5]].min() > 0.9995


def test_an_index_goes_on_with_its_own_backend_and_is_searched_by_any(
    converted: Encoder, tiny_encoder: Encoder, tmp_path: Path
) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    for number, text in enumerate(text for text in TEXTS if text):
        (source / f"{number}.txt").write_text(text)
    build([str(source)], tmp_path / "ix", converted)
    with pytest.raises(
        IndexStoreError, match=r"made by the backend openvino, this run is by torch; give --backend openvino"
    ):
        build([str(source)], tmp_path / "ix", tiny_encoder)
    build([str(source)], tmp_path / "same", tiny_encoder)
    got, want = (Index.open(tmp_path / name, encoder=tiny_encoder).search("make honey", 5) for name in ("ix", "same"))
    assert [hit.id for hit in got] == [hit.id for hit in want]
    assert [hit.score for hit in got] == pytest.approx([hit.score for hit in want], abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float16"}, "no float16"),
        ({"bidirectional": False}, "bidirectional encoders only"),
        ({"device": "cuda"}, "runs on the CPU"),
    ],
)
def test_what_it_cannot_do_is_refused(tiny_model: Path, options: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Encoder.load(str(tiny_model), backend="openvino", **options)
