"""Rows of Arrow with vectors, taken many at once, beside the same rows taken one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import searchapp
from searchapp.corpus import memory
from searchapp.corpus.batch import plain_batch
from searchapp.index.storage.writer import Writer

COUNT, DIM = 60, 8
VECTORS = np.random.default_rng(0).normal(size=(COUNT, DIM)).astype(np.float32)
PLAIN = {
    "bare": {"id": [f"n{i}" for i in range(COUNT)]},
    "numbers as ids": {"_id": range(COUNT), "title": [""] * COUNT},
    "text": {"id": [f"ü{i}" for i in range(COUNT)], "text": [f'"quoted" \\ text\n{i} ☃' for i in range(COUNT)]},
    "title": {"id": [f"n{i}" for i in range(COUNT)], "Title": [f"t{i}" for i in range(COUNT)]},
    "metadata": {
        "id": [f"n{i}" for i in range(COUNT)],
        "text": ["a" if i % 2 else "" for i in range(COUNT)],
        "zone": [f"z{i % 3}\t" for i in range(COUNT)],
        "year": [i % 7 for i in range(COUNT)],
        "share": [i / 7 for i in range(COUNT)],
        "big": [1e300 * i for i in range(COUNT)],
        "is": [i % 2 == 0 for i in range(COUNT)],
    },
}
OTHER = {
    "a null": {"id": [f"n{i}" for i in range(COUNT)], "year": [None, *range(1, COUNT)]},
    "a list": {"id": [f"n{i}" for i in range(COUNT)], "tags": [["a"]] * COUNT},
    "not finite": {"id": [f"n{i}" for i in range(COUNT)], "share": [float("inf"), *[1.0] * (COUNT - 1)]},
    "a blank": {"id": ["n ", *[f"n{i}" for i in range(1, COUNT)]]},
    "an empty id": {"id": ["", *[f"n{i}" for i in range(1, COUNT)]]},
    "a NUL": {"id": [f"n{i}" for i in range(COUNT)], "text": ["a\0", *["b"] * (COUNT - 1)]},
    "twice": {"id": ["n1", *[f"n{i}" for i in range(1, COUNT)]]},
    "no id": {"text": ["a"] * COUNT},
}


def stored(index: searchapp.Index) -> tuple:
    """All that is stored of the documents, as it is stored."""
    snapshot = index.vectors.snapshot
    rows = [snapshot.documents.batch(number) for number in range(len(snapshot.segments))]
    table = pa.Table.from_batches(rows)
    vectors = index.vectors.vectors.stored(np.arange(table.num_rows)).tobytes()
    manifest = index.vectors.manifest
    return table, snapshot.hashes().tolist(), vectors, manifest.rejected, manifest.build.reasons


@pytest.mark.parametrize("name", [*PLAIN, *OTHER])
def test_many_at_once_are_stored_as_one_by_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TOGETHER", 25)
    table = pa.table({**PLAIN, **OTHER}[name])
    many = searchapp.build(table, tmp_path / "many", vectors=VECTORS, segment_size=25)
    single = searchapp.build(table.to_batches(), tmp_path / "single", vectors=VECTORS, segment_size=25)
    assert stored(many) == stored(single)
    assert (plain_batch(table.to_batches()[0], VECTORS) is not None) == (name in PLAIN or name == "twice")


@pytest.mark.parametrize("name", PLAIN)
def test_they_are_added_as_one_by_one(name: str, tmp_path: Path) -> None:
    table = pa.table(PLAIN[name])
    documents = {}
    for way in ("many", "single"):
        index = searchapp.build(table.slice(50), tmp_path / way, vectors=VECTORS[50:])
        for part, vectors in ((table.slice(0, 30), VECTORS[:30]), (table.slice(20), VECTORS[20:])):
            done = index.add(part if way == "many" else part.to_batches(), vectors=vectors)
        assert (done.added, done.changed, done.unchanged) == (20, 0, 20)
        documents[way] = sorted(map(repr, index)), [len(index.like(document.id)) for document in index]
        assert len(index) == COUNT
    assert documents["many"] == documents["single"]


def test_a_build_of_many_at_once_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TOGETHER", 25)
    table = pa.table(PLAIN["metadata"])
    commit, count = Writer.commit, 0

    def stops(self, manifest):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return commit(self, manifest)

    monkeypatch.setattr(Writer, "commit", stops)
    with pytest.raises(KeyboardInterrupt):
        searchapp.build(table, tmp_path / "x", vectors=VECTORS)
    monkeypatch.setattr(Writer, "commit", commit)
    monkeypatch.setattr(memory, "TOGETHER", 20)  # cut elsewhere than before
    whole = searchapp.build(table, tmp_path / "x", vectors=VECTORS)
    at_once = searchapp.build(table, tmp_path / "y", vectors=VECTORS)
    assert list(whole) == list(at_once) and len(whole) == COUNT
    ids = [document.id for document in whole]
    assert np.array_equal(whole.vectors_of(ids), at_once.vectors_of(ids))


def test_without_folding_they_are_found_all_the_same(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(9_000, 32)).astype(np.float32)
    table = pa.table({"id": [str(i) for i in range(9_000)]})
    index = searchapp.build(table.slice(0, 200), tmp_path / "x", vectors=vectors[:200])
    done = index.add(table.slice(200), vectors=vectors[200:], fold=False)
    assert not done.folded and index.vectors.manifest.unindexed_rows == 8_800
    assert index.search(vectors[8_888], k=1)[0].id == "8888"
