"""The second stage against plain float64 arithmetic: exact cosines, an order that never changes, only the pages asked."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.index.ann.calibration import MeasuredIndex
from searchapp.index.ann.rescore import TIE, best, exact_scores
from searchapp.index.ann.searcher import AnnIndex
from searchapp.index.storage.manifest import Segment
from searchapp.index.storage.vectors import Vectors


def store(folder: Path, whole: np.ndarray, sizes: list[int]) -> Vectors:
    segments, base = [], 0
    for number, size in enumerate(sizes):
        (folder / f"v{number}").write_bytes(whole[base : base + size].astype("<f2").tobytes())
        segments.append(Segment("r", f"v{number}", base, size))
        base += size
    return Vectors(folder, segments, whole.shape[1])


def unit_rows(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    rows = rng.normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cosines(stored: np.ndarray, queries: np.ndarray) -> np.ndarray:
    rows = stored.astype(np.float16).astype(np.float64)
    return queries.astype(np.float64) @ (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T


def test_scores_are_the_cosines_of_the_stored_vectors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole, queries = unit_rows(rng, 90, 48), unit_rows(rng, 7, 48)
    rows = rng.integers(-1, 90, size=(7, 33))
    expected = np.where(rows < 0, -np.inf, np.take_along_axis(cosines(whole, queries), np.maximum(rows, 0), 1))
    np.testing.assert_allclose(exact_scores(store(tmp_path, whole, [40, 50]), queries, rows), expected, atol=3e-7)


@pytest.mark.parametrize("chunk", [1, 100, 5_000])
def test_the_size_of_the_chunks_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    rng = np.random.default_rng(1)
    vectors, queries = store(tmp_path, unit_rows(rng, 60, 32), [60]), unit_rows(rng, 5, 32)
    rows = rng.integers(0, 60, size=(5, 20))
    whole = exact_scores(vectors, queries, rows)
    monkeypatch.setattr("searchapp.index.ann.rescore.CHUNK", chunk)
    np.testing.assert_array_equal(exact_scores(vectors, queries, rows), whole)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), copies=st.integers(1, 60), k=st.integers(1, 30), batch=st.sampled_from([1, 3, 25]),
    exact=st.booleans(),
)  # fmt: skip
def test_equal_documents_stand_in_their_order(
    tmp_path_factory, seed: int, copies: int, k: int, batch: int, exact
) -> None:
    import faiss

    rng = np.random.default_rng(seed)
    whole = unit_rows(rng, 40, 16)
    whole = np.concatenate([whole, np.repeat(whole[:2], copies, axis=0)])[rng.permutation(40 + 2 * copies)]
    vectors = store(tmp_path_factory.mktemp("v"), whole, [len(whole)])
    queries = np.tile(whole[:1] + 0.1 * unit_rows(rng, 1, 16), (batch, 1)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(16)
    index.add(np.concatenate([*vectors.blocks()]))
    first = MeasuredIndex(AnnIndex(index, {}), None, vectors)
    scores, rows = best(first, vectors, queries, k, k + 2, len(whole), exact=exact)
    truth = cosines(whole, queries[:1])[0]
    k = min(k, len(whole))
    order = np.lexsort((np.arange(len(whole)), -np.round(truth, 6)))[:k]
    clear = np.abs(np.diff(np.sort(truth)))
    if ((clear > 1e-9) & (clear < 10 * TIE)).any():
        return  # different vectors that rounding cannot tell apart
    for found in rows:
        assert found[:k].tolist() == order.tolist()
    np.testing.assert_allclose(scores[:, :k], np.tile(truth[order], (batch, 1)), atol=1e-6)


def test_only_the_pages_of_the_candidates_are_read(tmp_path: Path) -> None:
    whole = unit_rows(np.random.default_rng(2), 4_000, 1_024)
    vectors = store(tmp_path, whole, [len(whole)])
    with (tmp_path / "v0").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if pages_in_memory(tmp_path / "v0"):
        pytest.skip("this file system keeps its pages in memory")
    exact_scores(vectors, whole[:1], np.arange(0, 4_000, 400)[None])
    assert 0 < pages_in_memory(tmp_path / "v0") <= 20  # ten rows of half a page, of 2,000 pages


def pages_in_memory(path: Path) -> int:
    """How many pages of a file the kernel holds (mincore)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as pages:
        held = (ctypes.c_ubyte * -(-len(pages) // mmap.PAGESIZE))()
        start = ctypes.c_char.from_buffer(pages)
        assert libc.mincore(ctypes.byref(start), ctypes.c_size_t(len(pages)), held) == 0
        del start
    return sum(page & 1 for page in held)
