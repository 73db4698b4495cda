"""An index of some rows' codes gives the scores that the whole index gives these rows; filtered searches find them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from searchapp.index.ann.faiss_lib import import_faiss
from searchapp.index.ann.files import open_ann
from searchapp.index.ann.first_stage import Unindexed
from searchapp.index.ann.masked import Masked, best_passing
from searchapp.index.ann.restricted import Restricted, restricted
from searchapp.index.storage.manifest import Segment
from searchapp.index.storage.vectors import Vectors

ROWS, DIM = 1_500, 24
FACTORIES = ["HR,PQ16x4fs", "RR22,PQ11x4fs", "RaBitQfs", "IVF4,PQ12x4fs", "RR,IVF4,RaBitQfs", "RaBitQ", "SQ8",
             "IVF4,SQ8", "IVF4,RaBitQ", "Flat", "HNSW8,SQ8"]  # fmt: skip


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS, DIM)).astype(np.float32) + rng.normal(size=(8, DIM))[rng.integers(0, 8, ROWS)]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def stored(folder: Path, vectors: np.ndarray, factory: str) -> Path:
    faiss = import_faiss()
    index = faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(folder / "index"))
    return folder / "index"


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("share", [0.19, 0.03, 0.001])
def test_the_scores_are_those_of_the_whole_index(
    tmp_path: Path, vectors: np.ndarray, factory: str, share: float
) -> None:
    path = stored(tmp_path, vectors, factory)
    whole = open_ann(path, {"nprobe": 4} if "IVF" in factory else {"efSearch": ROWS} if "HNSW" in factory else {})
    rows = np.unique([ROWS - 1, *np.flatnonzero(np.random.default_rng(1).random(ROWS) < share)])
    alone = restricted(whole, path, rows, 1 << 30)
    assert alone is not None
    scores, found = alone.search(vectors[:7], len(rows))
    every_score, every_row = whole.search(vectors[:7], ROWS)
    for mine, names, theirs, of in zip(scores, found, every_score, every_row, strict=True):
        expected = dict(zip(of.tolist(), theirs.tolist(), strict=True))
        assert sorted(names.tolist()) == rows.tolist()
        np.testing.assert_allclose(mine, [expected[name] for name in names.tolist()], rtol=1e-5, atol=1e-6)


def test_no_more_memory_is_taken_than_allowed_and_no_index_of_nothing(tmp_path: Path, vectors: np.ndarray) -> None:
    path = stored(tmp_path, vectors, "SQ8")
    whole = open_ann(path, {})
    assert restricted(whole, path, np.arange(100), 100 * DIM - 1) is None
    assert restricted(whole, path, np.arange(0), 1 << 20) is None
    made = restricted(whole, path, np.arange(100), 100 * DIM)
    assert made is not None and made.nbytes == 100 * DIM


@pytest.mark.parametrize("factory", ["PQ12x4fs", "IVF4,PQ12x4fs", "RaBitQfs"])
@pytest.mark.parametrize("kept", ["anywhere", "far", "nearly all"])
def test_hits_far_from_the_queries_are_found(tmp_path: Path, vectors: np.ndarray, factory: str, kept: str) -> None:
    path = stored(tmp_path, vectors, factory)
    whole = open_ann(path, {"nprobe": 2} if "IVF" in factory else {})
    (tmp_path / "v").write_bytes(vectors.astype("<f2").tobytes())
    reader = Vectors(tmp_path, [Segment("r", "v", 0, ROWS)], DIM)
    rng = np.random.default_rng(2)
    queries = vectors[rng.choice(ROWS, 60)] + 0.05 * rng.normal(size=(60, DIM)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    along = vectors @ queries[0]
    mask = {
        "anywhere": rng.random(ROWS) < 0.2, "far": along < np.quantile(along, 0.2), "nearly all": along < 0.9
    }[kept]  # fmt: skip
    rows, made = np.flatnonzero(mask), []

    def alone() -> Restricted | None:
        made.append(restricted(whole, path, rows, 1 << 30))
        return made[-1]

    nothing = Unindexed(None, np.zeros(0, dtype=np.int64))  # type: ignore[arg-type]
    first = Masked(whole, None, mask, len(rows), alone, nothing, exact=False, k=10)
    scores, found = best_passing(first, reader, queries, 10, 40, len(rows))
    assert mask[found].all()
    truth = np.sort(np.where(mask, queries @ np.concatenate([*reader.blocks()]).T, -2), axis=1)[:, -10:]
    assert np.mean(scores >= truth[:, :1] - 4e-6) >= 0.97
    assert (np.diff(scores, axis=1) <= 0).all()
