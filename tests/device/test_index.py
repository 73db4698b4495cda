"""FAISS and PyTorch on the device find what FAISS finds on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from searchapp.bench.vectors import Synthetic, index_of
from searchapp.index import VectorIndex, reindex
from searchapp.index.ann.gpu import ExactSearch, devices, faiss_gpus, sharded
from tests.device import DEVICE

faiss = pytest.importorskip("faiss")
pytestmark = pytest.mark.gpu
ROWS, DIM, K = 6_000, 64, 10


@pytest.fixture(scope="module")
def made() -> tuple[np.ndarray, np.ndarray]:
    synthetic = Synthetic(ROWS, DIM, topics=60)
    return np.concatenate([*synthetic.blocks()]), synthetic.queries(60)


def same(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), expected.tolist(), strict=True)]))


def test_exact_search_of_pytorch_is_faiss_on_the_cpu(made: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, queries = made
    index = faiss.IndexFlatIP(DIM)
    index.add(vectors)
    scores, rows = ExactSearch(iter([vectors]), ROWS, devices(DEVICE)).search(queries, K)
    expected = index.search(queries, K)
    assert same(rows, expected[1]) >= 0.98  # half precision tells near-ties apart otherwise
    np.testing.assert_allclose(scores, expected[0], atol=2e-3)


@pytest.mark.parametrize("factory", ["Flat", "IVF32,Flat", "IVF32,SQ8", "IVF32,PQ16np"])
def test_faiss_on_the_device_is_faiss_on_the_cpu(made: tuple[np.ndarray, np.ndarray], factory: str) -> None:
    if DEVICE == "cuda" and not faiss_gpus():
        pytest.skip("FAISS sees no GPU: it is a CPU build")
    vectors, queries = made
    index = faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    moved = sharded(index)
    if factory != "Flat":
        index.nprobe = 8
        faiss.GpuParameterSpace().set_index_parameter(moved, "nprobe", 8) if DEVICE == "cuda" else None
    assert same(moved.search(queries, K)[1], index.search(queries, K)[1]) >= 0.97


@pytest.mark.parametrize("factory", ["auto", "Flat", "IVF32,SQ8", "RR,RaBitQ"])
def test_an_index_made_on_the_device_is_searched_on_both(
    tmp_path: Path, made: tuple[np.ndarray, np.ndarray], factory: str
) -> None:
    vectors, queries = made
    index_of(tmp_path / "ix", iter([vectors]), DIM, queries)
    reindex(tmp_path / "ix", factory=factory, device=DEVICE)
    here = VectorIndex.open(tmp_path / "ix").search_vectors(queries, K)
    there = VectorIndex.open(tmp_path / "ix", device=DEVICE).search_vectors(queries, K)
    assert same(here[1], there[1]) >= 0.97
    flat = faiss.IndexFlatIP(DIM)
    flat.add(vectors)
    assert same(there[1], flat.search(queries, K)[1]) >= 0.97
