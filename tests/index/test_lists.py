"""Lists that were spilled and merged are the file that FAISS writes of an index it made in memory."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from searchapp.index.ann.files import open_ann
from searchapp.index.ann.ivf_writer import shufflable, write_lists


@pytest.mark.parametrize("run_bytes", [1, 5_000, 1 << 30])
@pytest.mark.parametrize(
    "factory",
    [
        "IVF16,Flat",
        "IVF16,SQ8",
        "RR,IVF16,RaBitQ",
        "PCA16,IVF16,SQ4",
        "IVF16,PQ8x4",
        "IVF400,SQ8",
        "OPQ8_16,IVF4_HNSW8,PQ8x4",
    ],
)
def test_the_merged_file_is_the_one_faiss_writes(tmp_path: Path, factory: str, run_bytes: int) -> None:
    import faiss

    vectors = np.random.default_rng(0).normal(size=(500, 32)).astype(np.float32)
    index = faiss.index_factory(32, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    assert shufflable(index)
    whole = faiss.clone_index(index)
    few = vectors[:150] if "400" in factory else vectors  # most lists stay empty
    for block in np.array_split(few, 4):
        whole.add(block)
    draft = io.BytesIO()
    write_lists(draft, index, iter(np.array_split(few, 4)), tmp_path, run_bytes)
    assert draft.getvalue() == faiss.serialize_index(whole).tobytes()
    (tmp_path / "ix").write_bytes(draft.getvalue())
    opened = open_ann(tmp_path / "ix", {"nprobe": 16})
    whole_parameters = faiss.ParameterSpace()
    whole_parameters.set_index_parameter(whole, "nprobe", 16)
    np.testing.assert_array_equal(opened.search(vectors[:9], 5)[1], whole.search(vectors[:9], 5)[1])
    assert index.ntotal == 0 and list(tmp_path.iterdir()) == [tmp_path / "ix"]


@pytest.mark.parametrize("factory", ["IVF8,PQ8x4fs", "RR,IVF8,RaBitQfs", "SQ8", "HNSW8"])
def test_other_kinds_are_told_apart(factory: str) -> None:
    import faiss

    index = faiss.index_factory(32, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(np.random.default_rng(0).normal(size=(500, 32)).astype(np.float32))
    assert not shufflable(index)
