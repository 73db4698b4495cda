"""The direct way of queries against exact comparison in NumPy and against the general search."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from searchapp.bench.vectors import Synthetic, array_blocks, index_of
from searchapp.errors import IndexStoreError, SearchAppError
from searchapp.index import VectorIndex, delete, reindex
from searchapp.index.ann.predict import Sample, predict
from searchapp.index.ann.rules import CANDIDATES, TABLE, instantiate
from searchapp.index.storage import vectors as stored_vectors
from searchapp.index.storage.text_columns import TextColumn
from searchapp.search import Index

ROWS, DIM = 2_500, 48


@pytest.fixture(scope="module")
def made() -> Synthetic:
    return Synthetic(ROWS, DIM, topics=30)


@pytest.fixture(scope="module")
def rows(made: Synthetic) -> np.ndarray:
    """Vectors of which some are there several times."""
    found = np.concatenate([*made.blocks()])
    found[100:140] = found[7]
    found[900:903] = found[8]
    return found


def open_at(path: Path, rows: np.ndarray, queries: np.ndarray, factory: str, **options: int) -> VectorIndex:
    index_of(path, array_blocks(rows), rows.shape[1], queries)
    reindex(path, factory=factory, **options)
    return VectorIndex.open(path)


def generally(index: VectorIndex, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    indexed = index.manifest.rows - index.manifest.unindexed_rows
    return index.search_rows(queries, k, index.alive, indexed=indexed)


@pytest.mark.parametrize("factory", ["Flat", "RR,PQ16x4fs", "HR,RaBitQ", "SQ8", "IVF16,SQ8", "HNSW16,Flat"])
@pytest.mark.parametrize("pca", [0, 32])
def test_the_direct_way_finds_what_the_general_search_finds(
    tmp_path: Path, made: Synthetic, rows: np.ndarray, factory: str, pca: int
) -> None:
    """The same scores for the same rows, and the same rows but for candidates that codes cannot tell apart."""
    queries = np.concatenate([made.queries(60), rows[[7, 8]]])
    index = open_at(tmp_path / "ix", rows, made.queries(100), factory, pca=pca)
    assert index._direct is not None
    for k in (1, 10, 45):
        scores, found = generally(index, queries, k)
        alone = [index.search_vectors(query[None], k) for query in queries]
        ways = [index.search_vectors(queries, k), tuple(np.concatenate(part) for part in zip(*alone, strict=True))]
        for direct_scores, direct in ways:
            same = direct == found
            assert same.mean() >= (1 if factory in ("Flat", "SQ8") and not pca else 0.9)
            assert np.allclose(direct_scores[same], scores[same], rtol=0, atol=2e-6 if index.is_exact else 0)
            assert abs(direct_scores.mean() - scores.mean()) < 1e-3
            if k == 45:  # copies of one vector, in the order in which they stand
                assert direct[60].tolist()[:41] == [7, *range(100, 140)]


def test_rows_that_are_gone_and_rows_beside_are_met_directly(tmp_path: Path, made: Synthetic, rows: np.ndarray) -> None:
    queries = made.queries(40)
    index = open_at(tmp_path / "ix", rows, queries, "RR,PQ24x4fs")
    nearest = {str(row) for row in index.search_vectors(queries[:5], 3)[1].ravel()}
    delete(tmp_path / "ix", sorted(nearest))
    thinned = VectorIndex.open(tmp_path / "ix")
    assert thinned._direct is not None
    kept: list[float] = []
    exact = queries @ np.where(thinned.alive[:, None], thinned.vectors.gather(np.arange(ROWS)), -1).T
    for query, scores in zip(queries, exact, strict=True):
        found_scores, found = thinned.search_vectors(query[None], 10)
        assert not nearest & {str(row) for row in found[0]}
        best = np.sort(scores[thinned.alive])[::-1][:10]
        kept.append((found_scores[0] >= best[-1] - 1e-5).mean())
    assert np.mean(kept) >= 0.95
    delete(tmp_path / "ix", [str(row) for row in range(0, ROWS, 9)])
    assert VectorIndex.open(tmp_path / "ix")._direct is None  # too many candidates would be gone


def test_several_queries_at_once_meet_no_row_that_is_gone(tmp_path: Path, made: Synthetic, rows: np.ndarray) -> None:
    """Where FAISS compares exactly: the ranking of NumPy over what is there, equal ones in the order they stand in."""
    queries = np.concatenate([made.queries(40), rows[[7, 8]]])
    index = open_at(tmp_path / "ix", rows, made.queries(100), "Flat")
    gone = {str(row) for row in index.search_vectors(queries[:30], 4)[1].ravel()}
    delete(tmp_path / "ix", sorted(gone))
    thinned = VectorIndex.open(tmp_path / "ix")
    assert thinned._direct is not None and thinned.alive is not None
    stored = thinned.vectors.gather(np.arange(ROWS)).astype(np.float64)
    exact = np.where(thinned.alive, queries.astype(np.float64) @ stored.T, -np.inf)
    for k in (1, 10, 60, thinned.manifest.documents):
        found = thinned._direct.many(queries, k, 0)
        assert found is not None and (k > 10 or found[2][:30].mean() > 0.8)  # not left to the general search
        scores, ranked = thinned.search_vectors(queries, k)
        assert np.allclose(scores, np.take_along_axis(exact, ranked, 1), atol=2e-6)
        assert (np.sort(exact, axis=1)[:, ::-1][:, :k] <= scores + 2e-6).all()
        assert (np.sort(ranked, axis=1)[:, 1:] != np.sort(ranked, axis=1)[:, :-1]).all()
    _, (ranked,) = thinned.search_vectors(queries[40:41], 30)
    copies = [row for row in ranked.tolist() if 100 <= row < 140]
    assert len(copies) > 20 and copies == sorted(copies)


@pytest.mark.parametrize("torch", [True, False])
def test_fp16_is_widened_exactly(monkeypatch: pytest.MonkeyPatch, torch: bool) -> None:
    if torch:
        pytest.importorskip("torch")
    else:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    numbers = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    numbers = numbers[np.isfinite(numbers)]
    wide = stored_vectors.widen(numbers.reshape(2, -1))
    assert np.array_equal(wide.ravel().view(np.uint32), numbers.astype(np.float32).view(np.uint32))
    assert np.array_equal(stored_vectors.widen(numbers, np.zeros(1 << 17, dtype=np.float32)), numbers)


def test_what_is_predicted_is_what_faiss_needs(rows: np.ndarray, made: Synthetic) -> None:
    import faiss

    queries = made.queries(150)
    sample = Sample.of(rows, queries)
    least = np.sort(queries @ rows.T, axis=1)[:, -10]
    for rule in TABLE:
        if rule.factory != "{rotation},PQ{pairs}x4fs" or rule.kept < 1:
            continue
        config = instantiate(rule, ROWS, DIM, None)
        found = predict(rule, config, sample, ROWS, None, 0.95)
        made_by_faiss = faiss.index_factory(DIM, config.factory, faiss.METRIC_INNER_PRODUCT)
        made_by_faiss.train(rows)
        made_by_faiss.add(rows)
        _, order = made_by_faiss.search(queries, max(CANDIDATES))
        scores = np.take_along_axis(queries @ rows.T, order, 1)
        recalls = {
            k: float((scores[:, :k] >= least[:, None] - 4e-6).sum(1).clip(max=10).mean()) / 10 for k in CANDIDATES
        }
        needed = min(k for k in CANDIDATES if recalls[k] >= 0.95)
        assert abs(CANDIDATES.index(found.candidates) - CANDIDATES.index(needed)) <= 3


def test_vectors_are_queries_and_load_no_model(tmp_path: Path, made: Synthetic, rows: np.ndarray) -> None:
    queries = made.queries(3)
    open_at(tmp_path / "ix", rows, queries, "RR,PQ24x4fs")
    index = Index.open(tmp_path / "ix")
    expected = index.vectors.search_vectors(queries, 5)[1]
    hits = index.search(queries, 5)
    assert [[int(hit.id) for hit in line] for line in hits] == expected.tolist()
    assert [int(hit.id) for hit in index.search(queries[0], 5)] == expected[0].tolist()
    for wrong, said in [
        (queries[:, :5], "48 dimensions"),
        (queries[None], "expected numbers"),
        (np.array(["a"]), "expected numbers"),
        (queries * np.nan, "no number"),
    ]:
        with pytest.raises(SearchAppError, match=said):
            index.search(wrong)
    with pytest.raises(SearchAppError, match="no words"):
        index.search(queries, hybrid=True)


def test_a_process_that_searches_by_vectors_has_no_torch(tmp_path: Path, made: Synthetic, rows: np.ndarray) -> None:
    np.save(tmp_path / "q.npy", made.queries(2))
    open_at(tmp_path / "ix", rows, made.queries(50), "RR,PQ24x4fs")
    code = (
        "import sys, numpy, searchapp; q = numpy.load(sys.argv[2]); i = searchapp.Index.open(sys.argv[1]);"
        "i.search(q[0]); i.search(q);"
        "print([name for name in ('torch', 'transformers', 'pyarrow.parquet', 'pyarrow.compute', 'scipy')"
        " if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "ix", tmp_path / "q.npy"], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_a_damaged_text_is_refused_by_its_offsets() -> None:
    import pyarrow as pa

    whole = TextColumn(pa.array(["bees", "", "é"], pa.large_string()).slice(1))
    assert [whole.read(0), whole.read(1)] == ["", "é"]
    for offsets in ([0, 9, 4], [-1, 2, 4], [3, 1, 4]):
        buffers = [None, pa.py_buffer(np.array(offsets, dtype="<i8").tobytes()), pa.py_buffer(b"bees")]
        with pytest.raises(ValueError, match="bytes|[Nn]egative"):
            TextColumn(pa.Array.from_buffers(pa.large_string(), 2, buffers)).read(0)
    with pytest.raises(UnicodeDecodeError):
        TextColumn(
            pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
        ).read(0)


def test_documents_are_read_across_segments(tmp_path: Path) -> None:
    """In any order and repeated; a row that is not there is refused."""
    numbers = np.arange(20_000).reshape(-1, 2).astype(np.float32) + 1
    index_of(tmp_path / "ix", array_blocks(numbers), 2, numbers[:10])
    reindex(tmp_path / "ix", factory="Flat")
    stored = VectorIndex.open(tmp_path / "ix").rows
    assert len(stored.segments) == 2
    for places in ([], [5], [9_999, 0, 8_192, 8_191, 0], [3, 1, 2]):
        assert [stored.read(row).id for row in places] == [str(row) for row in places]
    for row in (10_000, -1):
        with pytest.raises((IndexStoreError, IndexError)):
            stored.read(row)


def test_a_first_query_is_exact_and_needs_no_faiss(
    tmp_path: Path, made: Synthetic, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = made.queries(2)
    open_at(tmp_path / "ix", rows, made.queries(100), "RR,PQ16x4fs")
    unit = rows.astype(np.float16).astype(np.float32)
    expected = np.sort(queries @ (unit / np.linalg.norm(unit, axis=1, keepdims=True)).T)[:, ::-1][:, :10]

    def opens_faiss(before: int = 0, imported: bool = False, **options: int) -> bool:
        index = VectorIndex.open(tmp_path / "ix")
        with monkeypatch.context() as patched:
            if not imported:
                patched.delitem(sys.modules, "faiss")
            for _ in range(before):
                index.search_vectors(queries[:1], 10)
            count = options.pop("count", 1)
            scores, _ = index.search_vectors(queries[:count], 10, **options)
        if count == 1 and not imported and not before and not options:
            np.testing.assert_allclose(scores[0], expected[0], atol=1e-5)
        return "ann" in index.__dict__

    assert not opens_faiss()
    assert opens_faiss(before=1)
    assert opens_faiss(count=2)
    assert opens_faiss(candidates=50)
    assert opens_faiss(imported=True)
    monkeypatch.setattr("searchapp.index.reader.ONCE_NUMBERS", rows.size - 1)
    assert opens_faiss()
