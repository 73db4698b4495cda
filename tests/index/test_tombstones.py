"""What is deleted, and not compacted yet, is no part of what an index is trained on, chosen by and measured against."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from searchapp.bench.sources import stored
from searchapp.bench.vectors import Synthetic, array_blocks, index_of
from searchapp.errors import IndexStoreError
from searchapp.index import VectorIndex, build, delete, reindex
from searchapp.index.ann.files import read_whole
from searchapp.index.ann.queries import read_queries, synthetic_queries
from searchapp.index.ann.request import Targets
from searchapp.index.ann.rules import Rule
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.tune import tune
from tests.index.conftest import HashEncoder

ROWS, DIM = 3_000, 64


@pytest.fixture(scope="module")
def made() -> Synthetic:
    return Synthetic(ROWS, DIM, topics=40)


@pytest.fixture
def thinned(tmp_path: Path, made: Synthetic) -> Path:
    """An index of which four rows in five are gone."""
    index_of(tmp_path / "ix", made.blocks(), DIM, made.queries(200))
    reindex(tmp_path / "ix", factory="Flat")
    delete(tmp_path / "ix", [str(row) for row in range(ROWS) if row % 5])
    return tmp_path / "ix"


def kept(path: Path) -> np.ndarray:
    return np.concatenate([*VectorIndex.open(path).vectors.blocks()])[::5]


def true_recall(path: Path, queries: np.ndarray) -> float:
    """Of what a user gets, by FAISS over the vectors of the documents that are there."""
    import faiss

    flat = faiss.IndexFlatIP(DIM)
    flat.add(np.ascontiguousarray(kept(path)))
    least = flat.search(queries, 10)[0][:, -1:]
    scores, rows = VectorIndex.open(path).search_vectors(queries, 10)
    assert (rows % 5 == 0).all()
    return float((scores >= least - 1e-5).mean())


@pytest.mark.parametrize("factory", ["IVF32,SQ4", "PQ16x4fs", "RR,RaBitQ", "PCA16,SQ8", "Flat"])
def test_what_is_measured_is_what_a_user_gets(thinned: Path, made: Synthetic, factory: str) -> None:
    ann = reindex(thinned, factory=factory, targets=Targets(recall=0.5)).ann
    assert ann is not None and ann.rows == ROWS
    index = VectorIndex.open(thinned)
    asked = read_queries(index.snapshot.path(index.manifest.probes), DIM)  # what it is measured by, in half precision
    np.testing.assert_allclose(asked, made.queries(200), atol=5e-4)
    true = true_recall(thinned, asked)
    assert ann.measured["recall"] == pytest.approx(true, abs=0.002)
    curve = tune(VectorIndex.open(thinned))
    assert curve.current.recall == pytest.approx(true, abs=0.002)


@pytest.fixture
def crossed(tmp_path: Path) -> Path:
    """Rows in two subspaces that have nothing in common; those in the second, nine of ten, are gone."""
    rows = np.random.default_rng(0).normal(size=(2_000, DIM)).astype(np.float32)
    rows[::10, 8:] = 0
    rows[np.arange(2_000) % 10 > 0, :8] = 0
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index_of(tmp_path / "ix", array_blocks(rows), DIM)
    reindex(tmp_path / "ix", factory="Flat")
    delete(tmp_path / "ix", [str(row) for row in range(2_000) if row % 10])
    return tmp_path / "ix"


def test_axes_lists_and_made_up_queries_come_from_what_is_there(crossed: Path) -> None:
    import faiss

    manifest = reindex(crossed, factory="Flat", pca=8)
    assert manifest.reduction is not None
    assert manifest.reduction.explained_variance == pytest.approx(1, abs=1e-4)
    ann = reindex(crossed, factory="IVF16,Flat", pca=0).ann
    assert ann is not None
    whole = read_whole(crossed / "data" / ann.file)
    centroids = faiss.downcast_index(whole.quantizer).reconstruct_n(0, 16)
    np.testing.assert_allclose(centroids[:, 8:], 0, atol=1e-6)
    index = VectorIndex.open(crossed)
    np.testing.assert_allclose(synthetic_queries(index.vectors.among(index.alive))[:, 8:], 0, atol=1e-6)
    source = stored(crossed)
    np.testing.assert_allclose(source.queries[:, 8:], 0, atol=1e-6)
    assert sum(map(len, source.blocks())) == 200


def test_a_sample_has_every_row_that_is_there_and_no_other(crossed: Path) -> None:
    index = VectorIndex.open(crossed)
    vectors = index.vectors.among(index.alive)
    assert vectors.count == 200
    np.testing.assert_array_equal(vectors.sampled(1_000), np.arange(0, 2_000, 10))
    some = vectors.sampled(50)
    assert len(set(some.tolist())) == 50 and (some % 10 == 0).all()
    np.testing.assert_array_equal(np.concatenate([*vectors.sample(50).blocks()]), index.vectors.gather(some))
    np.testing.assert_array_equal(np.concatenate([*vectors.living(1_001)]), kept_before(index, 1_001))


def kept_before(index: VectorIndex, end: int) -> np.ndarray:
    return index.vectors.gather(np.arange(0, end, 10))


def test_probe_queries_are_words_of_documents_that_are_there(tmp_path: Path) -> None:
    class Asked(HashEncoder):
        asked: list[str] = []

        def encode_queries(self, texts, instruction=None) -> np.ndarray:
            self.asked.extend(texts)
            return super().encode_queries(texts, instruction)

    path = tmp_path / "docs.jsonl"
    rows = [{"_id": f"d{i}", "text": f"{'kept' if i % 4 else 'gone'} {i} " * 6} for i in range(200)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    build([str(path)], tmp_path / "ix", HashEncoder(), factory="Flat")
    delete(tmp_path / "ix", [f"d{i}" for i in range(0, 200, 4)])
    build([str(path)], tmp_path / "ix", Asked(), factory="SQ8")
    assert len(Asked.asked) == 150
    assert all("kept" in text and "gone" not in text for text in Asked.asked)


def test_lists_are_as_many_as_what_is_there_can_train(crossed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = Rule("lists", "IVF{lists},SQ8", 1, 24, lists=4)
    monkeypatch.setattr("searchapp.index.ann.rules.EXACT_LIMIT", 0)
    monkeypatch.setattr("searchapp.index.ann.rules.TABLE", (lists,))
    delete(crossed, [str(row) for row in range(400, 2_000, 10)])
    memory = 2_000 * (DIM + 24 + 4 * DIM * 32 / 40)  # of which the last are the centroids
    ann = reindex(crossed, factory="auto", targets=Targets(memory=memory)).ann
    assert ann is not None and ann.factory == "IVF32,SQ8"  # 2,000 rows have 128; 40 documents cannot train them
    with pytest.raises(IndexStoreError, match="no index of 2,000 vectors"):
        reindex(crossed, factory="auto", targets=Targets(memory=memory - 100))


def test_an_index_of_which_all_is_gone_says_how_it_gets_documents(crossed: Path) -> None:
    reindex(crossed, factory="SQ8")
    delete(crossed, [str(row) for row in range(0, 2_000, 10)])
    assert Snapshot.open(crossed).manifest.rows == 2_000
    with pytest.raises(IndexStoreError, match="is empty; add documents first: searchapp add"):
        reindex(crossed, factory="SQ8")
    with pytest.raises(IndexStoreError, match=r"too few documents \(0\) .*searchapp add"):
        tune(VectorIndex.open(crossed))
