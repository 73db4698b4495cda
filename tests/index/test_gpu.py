"""What runs on a GPU gives what FAISS gives: on "cpu" here, on the device of the tests with ``-m gpu``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from searchapp.bench.vectors import Synthetic, index_of
from searchapp.index import VectorIndex, reindex
from searchapp.index.ann.calibration import CalibrationQueries
from searchapp.index.ann.gpu import ExactSearch, faiss_gpus, fits, kmeans, seed_lists, train_on
from searchapp.index.ann.pca import fit, leading_axes, moments
from tests.device import DEVICE

ROWS, DIM = 3_000, 32
PLACES = ["cpu", pytest.param(DEVICE, marks=pytest.mark.gpu, id="device")]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.concatenate([*Synthetic(ROWS, DIM, topics=40).blocks()])


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return Synthetic(ROWS, DIM, topics=40).queries(30)


def flat(vectors: np.ndarray):
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shards", [1, 3])
def test_exact_search_in_shards_is_faiss_flat(
    vectors: np.ndarray, queries: np.ndarray, place: str, shards: int
) -> None:
    ours = ExactSearch(iter(np.array_split(vectors, 7)), ROWS, [place] * shards)
    scores, rows = ours.search(queries, 12)
    wanted, expected = flat(vectors).search(queries, 12)
    if place == "cpu":
        np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(scores, wanted, atol=1e-6 if place == "cpu" else 2e-3)
    allowed = np.arange(ROWS) % 500 == 0
    _, rows = ours.search(queries, 12, allowed)
    assert {row for row in rows.ravel().tolist() if row >= 0} <= set(np.flatnonzero(allowed).tolist())
    assert ((rows >= 0).sum(1) == allowed.sum()).all()
    assert ours.search(queries[:2], ROWS + 5)[1][:, ROWS:].tolist() == [[-1] * 5] * 2


@pytest.mark.parametrize("place", PLACES)
def test_kmeans_is_as_good_as_faiss(vectors: np.ndarray, place: str) -> None:
    import faiss

    theirs = faiss.Kmeans(DIM, 40, niter=10, spherical=True, seed=3)
    theirs.train(vectors)
    ours = kmeans(vectors, 40, place)
    near, by_faiss = ((vectors @ centroids.T).max(1).mean() for centroids in (ours, theirs.centroids))
    assert ours.shape == (40, DIM) and near >= by_faiss - 0.01


@pytest.mark.parametrize("factory", ["IVF16,SQ8", "RR,IVF16,RaBitQfs", "OPQ8,IVF16,PQ8x4"])
def test_lists_trained_elsewhere_are_taken_by_faiss(vectors: np.ndarray, queries: np.ndarray, factory: str) -> None:
    import faiss

    index = faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT)
    inner = faiss.extract_index_ivf(index)
    seed_lists(index, inner, vectors, "cpu")
    centroids = faiss.downcast_index(inner.quantizer).reconstruct_n(0, 16)
    index.train(vectors)
    index.add(vectors)
    np.testing.assert_array_equal(faiss.downcast_index(inner.quantizer).reconstruct_n(0, 16), centroids)
    inner.nprobe = 16
    _, rows = index.search(queries, 200)
    _, truth = flat(vectors).search(queries, 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, truth, strict=True)]) >= 0.95


@pytest.mark.parametrize("place", PLACES)
def test_probes_find_the_exact_hits(vectors: np.ndarray, queries: np.ndarray, place: str) -> None:
    probes = CalibrationQueries.over(queries, iter(np.array_split(vectors, 5)), place)
    np.testing.assert_allclose(probes.least, flat(vectors).search(queries, 10)[0][:, -1], atol=1e-5)


@pytest.mark.parametrize("place", PLACES)
def test_few_axes_of_many_span_what_a_full_decomposition_does(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    rows = np.concatenate([*Synthetic(4_000, 300, topics=50).blocks()])
    moment, _ = moments(np.array_split(rows, 3), 300, place)
    stored = rows.astype(np.float64)
    spectrum = np.linalg.eigvalsh(stored.T @ stored / len(rows))[::-1]
    monkeypatch.setattr("searchapp.index.ann.pca.WHOLE", 100)
    axes = leading_axes(moment, 40).cpu().numpy()
    np.testing.assert_allclose(axes.T @ axes, np.eye(40), atol=1e-6)
    kept = np.trace(axes.T @ (stored.T @ stored / len(rows)) @ axes)
    assert kept >= 0.999 * spectrum[:40].sum()


def test_an_index_searched_on_a_device_finds_the_same(tmp_path: Path, queries: np.ndarray) -> None:
    made = Synthetic(ROWS, DIM, topics=40)
    index_of(tmp_path / "ix", made.blocks(), DIM, queries)
    reindex(tmp_path / "ix", pca=24, factory="Flat")
    plain, held = VectorIndex.open(tmp_path / "ix"), VectorIndex.open(tmp_path / "ix")
    held.__dict__["ann"] = ExactSearch(held.vectors.blocks(), ROWS, ["cpu", "cpu"])
    assert held.reduction is None
    scores, rows = held.search_vectors(queries, 10)
    wanted, expected = plain.search_vectors(queries, 10, candidates=ROWS)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(scores, wanted)
    assert not fits(1, 1, "cpu")


@pytest.mark.gpu
def test_what_a_gpu_trains_loads_on_a_cpu(tmp_path: Path, vectors: np.ndarray, queries: np.ndarray) -> None:
    import faiss

    index_of(tmp_path / "ix", Synthetic(ROWS, DIM, topics=40).blocks(), DIM, queries)
    reindex(tmp_path / "ix", factory="IVF16,SQ8", device=DEVICE)
    on_cpu = VectorIndex.open(tmp_path / "ix").search_vectors(queries, 10)
    on_gpu = VectorIndex.open(tmp_path / "ix", device=DEVICE).search_vectors(queries, 10)
    assert (on_cpu[1] == on_gpu[1]).mean() >= 0.98
    assert fits(ROWS, DIM, DEVICE) == (DEVICE == "cuda")
    index = faiss.index_factory(DIM, "IVF16,SQ8", faiss.METRIC_INNER_PRODUCT)
    train_on(index, vectors, DEVICE)
    assert index.is_trained and faiss_gpus() >= 0


@pytest.mark.gpu
def test_a_projection_fitted_on_a_gpu_is_the_one_of_a_cpu(tmp_path: Path, queries: np.ndarray) -> None:
    index_of(tmp_path / "ix", Synthetic(ROWS, DIM, topics=40).blocks(), DIM, queries)
    reindex(tmp_path / "ix", factory="Flat")
    vectors = VectorIndex.open(tmp_path / "ix").vectors
    there, here = fit(vectors, 8, device=DEVICE).pca(8), fit(vectors, 8).pca(8)
    assert there.explained_variance == pytest.approx(here.explained_variance, abs=1e-4)
