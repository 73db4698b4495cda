"""Adding, deleting, compacting: any sequence of them is searched as a plain dict of vectors would be."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from searchapp.index import Filter, VectorIndex, add, build, compact, delete, verify
from searchapp.index.durable import Disk
from searchapp.index.store import Store
from tests.index.conftest import HashEncoder


class Unsynced(Disk):
    """Steps are not made durable: what is tested here is not durability, and an fsync takes milliseconds."""

    def sync_directory(self, path) -> None:
        """Do nothing."""

    def sync(self, file) -> None:
        """Do nothing."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("searchapp.index.store.Disk", Unsynced)


def write(path: Path, documents: dict[str, dict]) -> str:
    path.write_text("".join(json.dumps({"_id": key, **fields}) + "\n" for key, fields in documents.items()))
    return str(path)


class Model:
    """What an index must be: documents in the order of their last change, compared by brute force."""

    def __init__(self) -> None:
        self.documents: dict[str, dict] = {}

    def add(self, documents: dict[str, dict]) -> tuple[int, int, int]:
        counts = [0, 0, 0]
        for key, fields in documents.items():
            kind = 0 if key not in self.documents else 2 if self.documents[key] == fields else 1
            counts[kind] += 1
            if kind != 2:
                self.documents.pop(key, None)
                self.documents[key] = dict(fields)
        return tuple(counts)

    def search(self, query: np.ndarray, k: int, passes=lambda fields: True) -> list[tuple[str, float]]:
        encoder = HashEncoder()
        scored = []
        for place, (key, fields) in enumerate(self.documents.items()):
            if passes(fields):
                vector = encoder.vector(fields["text"])[0].astype(np.float16).astype(np.float64)
                cosine = vector @ query[0].astype(np.float64) / np.linalg.norm(vector)
                scored.append((-round(float(cosine), 6), place, key))
        return [(key, -score) for score, _, key in sorted(scored)[:k]]


def found(root: Path, query: np.ndarray, k: int, filter: str | None = None) -> list[tuple[str, float]]:
    index = VectorIndex.open(root)
    scores, rows = index.search_vectors(query, k, filter=Filter(filter) if filter else None)
    return [
        (index.rows.read(int(row)).id, float(score)) for score, row in zip(scores[0], rows[0], strict=True) if row >= 0
    ]


def require_same(root: Path, model: Model) -> None:
    manifest = Store.open(root).manifest
    assert manifest.documents == len(model.documents)
    encoder = HashEncoder()
    for text in ("alpha", "beta 3", "nothing like it"):
        query = encoder.vector(text)
        for filter, passes in ((None, lambda _: True), ("year >= 2", lambda fields: fields.get("year", 0) >= 2)):
            if filter and not any("year" in fields for fields in model.documents.values()):
                continue
            for k in (1, 4, 50):
                got, want = found(root, query, k, filter), model.search(query, k, passes)
                assert [key for key, _ in got] == [key for key, _ in want], (text, filter, k)
                np.testing.assert_allclose([score for _, score in got], [score for _, score in want], atol=2e-6)


texts = st.sampled_from([f"{word} {i}".strip() for word in ("alpha", "beta", "gamma") for i in ("", 1, 2, 3)])
years = st.integers(0, 4)
batch = st.dictionaries(
    st.sampled_from([f"d{i}" for i in range(12)]),
    st.fixed_dictionaries({"text": texts, "year": years}),
    max_size=8,
    min_size=1,
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), batch),
        st.tuples(st.just("delete"), st.lists(st.sampled_from([f"d{i}" for i in range(14)]), min_size=1, max_size=6)),
        st.tuples(st.just("filter"), years),
        st.tuples(st.just("compact"), st.none()),
        st.tuples(st.just("reindex"), st.none()),
    ),
    max_size=7,
)


@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(first=batch, steps=steps, segment=st.integers(1, 5), small=st.booleans())
def test_any_sequence_of_updates_is_searched_like_a_dict(first, steps, segment: int, small: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr("searchapp.index.fold.FRESH_NUMBERS", 48)  # three rows
        root = Path(tempfile.mkdtemp())
        try:
            _run_sequence(root, first, steps, segment)
        finally:
            shutil.rmtree(root)


def _run_sequence(root: Path, first: dict, steps: list, segment: int) -> None:
    model, index = Model(), root / "ix"
    model.add(first)
    build([write(root / "first.jsonl", first)], index, HashEncoder(), segment_size=segment)
    require_same(index, model)
    for number, (kind, what) in enumerate(steps):
        if kind == "add":
            encoder = HashEncoder()
            old = {key: fields["text"] for key, fields in model.documents.items()}
            counts = model.add(what)
            done = add([write(root / f"more{number}.jsonl", what)], index, encoder, segment_size=segment)
            assert (done.added, done.changed, done.unchanged) == counts
            new = [fields["text"] for key, fields in what.items() if old.get(key) != fields["text"]]
            assert sorted(encoder.encoded) == sorted(new), "only new and changed texts are encoded"
        elif kind == "delete":
            done = delete(index, what)
            gone = {key for key in what if model.documents.pop(key, None) is not None}
            assert done.deleted == len(gone)
            assert set(done.unknown) == set(what) - gone
        elif kind == "filter":
            if Store.open(index).manifest.rows:
                delete(index, filter=f"year == {what}")
            model.documents = {key: f for key, f in model.documents.items() if f["year"] != what}
        elif kind == "compact":
            compact(index, segment_size=segment)
            manifest = Store.open(index).manifest
            assert (manifest.rows, manifest.fresh, manifest.tombstones) == (len(model.documents), 0, None)
        elif model.documents:
            build([str(root / "first.jsonl")], index, HashEncoder(), pca=None, factory="Flat" if number % 2 else "auto")
        require_same(index, model)
    assert verify(index) == []
