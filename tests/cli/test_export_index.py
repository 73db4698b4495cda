"""An index written for other programs, read by them, and built again without encoding."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import searchapp
from tests.search.test_python import contents

ROWS = [
    {
        "id": f"d{i}",
        "title": "T" * (i % 2),
        "text": f"text of number {i}",
        "n": i,
        "tags": ["a", {"b": None}],
        "n2": i / 3,
    }
    for i in range(40)
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> searchapp.Index:
    made = searchapp.build(ROWS, tmp_path_factory.mktemp("made") / "x", model=str(tiny_model), segment_size=15)
    made.delete(["d3", "d17"])
    return made


def test_parquet_is_read_by_others_and_built_without_encoding(index, tmp_path: Path, run, monkeypatch) -> None:
    out, root = tmp_path / "out.parquet", index.vectors.snapshot.root
    said = run("export-index", root, out)
    assert said.code == 0 and "38 documents" in said.out
    for frame in (pd.read_parquet(out), pl.read_parquet(out).to_pandas()):
        assert list(frame["id"]) == [document.id for document in index]
        assert json.loads(frame["metadata"][5]) == dict(list(index)[5].metadata)
        assert np.allclose(np.stack(frame["vector"]), index.vectors_of(list(frame["id"])), atol=1e-3)

    def encodes(*_, **__):
        raise AssertionError("a document was encoded")

    monkeypatch.setattr("searchapp.encoder.Encoder.encode_counted", encodes)
    said = run("build", out, "--index", tmp_path / "copy")
    assert said.code == 0 and "as they were exported" in said.err, said.err
    copy = searchapp.Index.open(tmp_path / "copy")
    assert list(copy) == list(index)
    ids = [document.id for document in index]
    stored = [one.vectors.vectors.stored(one_rows) for one, one_rows in ((copy, np.arange(38)), (index, alive(index)))]
    assert stored[0].tobytes() == stored[1].tobytes() and len(ids) == 38
    again = searchapp.build(out, tmp_path / "again", progress=False)
    assert contents(again)[:3] == contents(copy)[:3]
    said = run("build", out, "--index", tmp_path / "other", "--model", "bundled", "--max-length", 100)
    assert said.code == 2 and "the exported vectors are of" in said.err
    assert again.add(out).unchanged == 38


def alive(index: searchapp.Index) -> np.ndarray:
    return np.flatnonzero(index.vectors.alive)


def test_vectors_of_ones_own_go_out_and_in(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 7))
    index = searchapp.build([{"id": str(i)} for i in range(30)], tmp_path / "x", vectors=vectors)
    from searchapp.index.exchange import export_parquet

    assert export_parquet(index.vectors, tmp_path / "o.parquet") == 30
    copy = searchapp.build(tmp_path / "o.parquet", tmp_path / "y", progress=False)
    assert contents(copy)[:3] == contents(index)[:3]


def test_faiss_finds_the_same(index, tmp_path: Path, run) -> None:
    out = tmp_path / "out.faiss"
    assert run("export-index", index.vectors.snapshot.root, out).code == 0
    drawn = np.random.default_rng(0).normal(size=(20, index.vectors.manifest.dim)).astype(np.float32)
    queries = np.concatenate([index.vectors_of([document.id for document in index]), drawn])
    np.save(tmp_path / "q.npy", queries)
    code = (  # in a process that has faiss and nothing of ours
        "import sys, faiss, numpy as np\n"
        "flat = faiss.read_index('out.faiss')\n"
        "np.save('rows.npy', flat.search(np.load('q.npy'), 10)[1])\n"
        "sys.exit(any(name.startswith('searchapp') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    names = (tmp_path / "out.ids").read_text().splitlines()
    found = [[names[row] for row in rows] for rows in np.load(tmp_path / "rows.npy")]
    assert found == [[hit.id for hit in hits] for hits in index.search(queries, k=10)]
    assert len(names) == 38


def test_what_cannot_be_written_is_said(index, tmp_path: Path, run) -> None:
    root = index.vectors.snapshot.root
    (tmp_path / "there.parquet").write_text("x")
    for name, message in (
        ("there.parquet", "is there already"),
        ("out.csv", "ends in .csv; expected one of .parquet, .faiss"),
        ("no/out.parquet", "cannot be written: No such file"),
    ):
        said = run("export-index", root, tmp_path / name)
        assert said.code == 2 and message in said.err
