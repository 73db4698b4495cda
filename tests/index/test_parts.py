"""The parts of an index against independent truth: FAISS, scikit-learn's definition of PCA, a plain dict."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.index.ann.files import open_ann, write_flat
from searchapp.index.ann.pca import fit
from searchapp.index.storage.ids import IdTable
from searchapp.index.storage.manifest import Segment
from searchapp.index.storage.vectors import Vectors


class Buffer(io.BytesIO):
    """A draft in memory."""


@pytest.mark.parametrize("rows", [1, 5, 300])
@pytest.mark.parametrize("dim", [3, 64])
def test_the_streamed_flat_file_is_the_one_faiss_writes(tmp_path: Path, rows: int, dim: int) -> None:
    import faiss

    vectors = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)
    index = faiss.IndexFlatIP(dim)
    index.add(vectors)
    draft = Buffer()
    write_flat(draft, iter(np.array_split(vectors, min(rows, 3))), rows, dim)
    assert draft.getvalue() == faiss.serialize_index(index).tobytes()
    (tmp_path / "flat").write_bytes(draft.getvalue())
    scores, found = open_ann(tmp_path / "flat", {}).search(vectors[:1], 1)
    assert scores[0, 0] == pytest.approx(float((vectors @ vectors[0]).max()), rel=1e-5)


def _stored(folder: Path, vectors: np.ndarray) -> Vectors:
    (folder / "v").write_bytes(vectors.astype("<f2").tobytes())
    return Vectors(folder, [Segment("r", "v", 0, len(vectors))], vectors.shape[1])


def test_pca_keeps_the_best_subspace_and_says_its_share(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    vectors = rng.normal(size=(2000, 24)) * np.geomspace(1, 0.01, 24) @ basis
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pca = fit(_stored(tmp_path, vectors), 5).pca(5)
    stored = vectors.astype(np.float16).astype(np.float64)
    spectrum = np.linalg.eigvalsh(stored.T @ stored)[::-1]
    kept = np.trace(pca.components.T @ (stored.T @ stored) @ pca.components)
    assert kept == pytest.approx(spectrum[:5].sum(), rel=1e-4)
    np.testing.assert_allclose(pca.components.T @ pca.components, np.eye(5), atol=1e-5)
    centred = stored - stored.mean(0)
    share = np.linalg.norm(centred @ pca.components) ** 2 / np.linalg.norm(centred) ** 2
    assert pca.explained_variance == pytest.approx(share, rel=1e-4)
    np.testing.assert_allclose(np.linalg.norm(pca.apply(vectors), axis=1), 1, atol=1e-5)


def test_full_pca_changes_no_cosine(tmp_path: Path) -> None:
    vectors = np.random.default_rng(2).normal(size=(100, 12)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pca = fit(_stored(tmp_path, vectors), 12).pca(12)
    reduced = pca.apply(vectors)
    np.testing.assert_allclose(reduced @ reduced.T, vectors @ vectors.T, atol=1e-5)
    assert pca.explained_variance == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(ids=st.lists(st.text(max_size=3), max_size=60), merge_at=st.integers(1, 20))
def test_ids_are_told_apart_like_in_a_dict(ids: list[str], merge_at: int) -> None:
    kept: list[str] = []
    table = IdTable(lambda row: kept[row], merge_at)
    model: dict[str, int] = {}
    for identifier in ids:
        assert table.find(identifier) == model.get(identifier)
        if identifier not in model:
            model[identifier] = len(kept)
            table.add(identifier, len(kept))
            kept.append(identifier)
    assert all(table.find(identifier) == row for identifier, row in model.items())


def test_ids_that_share_a_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("searchapp.index.storage.ids.digest", lambda _: 7)
    kept = ["a", "b", "c"]
    table = IdTable(lambda row: kept[row], merge_at=2)
    for row, identifier in enumerate(kept):
        table.add(identifier, row)
    assert [table.find(identifier) for identifier in "abcd"] == [0, 1, 2, None]


def test_gather_and_sample_read_the_right_rows(tmp_path: Path) -> None:
    parts = [np.random.default_rng(i).normal(size=(n, 4)).astype("<f2") for i, n in enumerate((3, 9, 2))]
    segments, base = [], 0
    for number, part in enumerate(parts):
        (tmp_path / f"v{number}").write_bytes(part.tobytes())
        segments.append(Segment("r", f"v{number}", base, len(part)))
        base += len(part)
    vectors, whole = Vectors(tmp_path, segments, 4), np.concatenate(parts).astype(np.float32)
    wanted = [13, 0, 3, 3, 4, 11, 7, 2]
    np.testing.assert_array_equal(vectors.stored(np.array(wanted)), whole[wanted])
    lengths = np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors.gather(np.array(wanted)), (whole / lengths)[wanted], rtol=1e-6)
    np.testing.assert_allclose(np.concatenate([*vectors.blocks(2)]), whole / lengths, rtol=1e-6)
    assert vectors.sample(4).count == 4
