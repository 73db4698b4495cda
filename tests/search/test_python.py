"""``searchapp.build`` and what an index is asked from Python: every form of documents, changes, vectors of one's own."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import searchapp
from searchapp.corpus import Document
from searchapp.corpus.memory import memory_source
from searchapp.errors import CorpusError, IndexStoreError, ModelError, SearchAppError
from searchapp.index import add as add_to
from searchapp.index import add_run, verify
from searchapp.index import build as build_index
from searchapp.index.storage.writer import Writer
from searchapp.search import Index
from tests.index.conftest import HashEncoder
from tests.progress import Counted

ROWS = [
    {"id": f"d{i}", "title": f"title {i}", "text": f"text number {i} of many", "year": 2000 + i, "kind": "ab"[i % 2]}
    for i in range(20)
]
FORMS = {
    "list": lambda: ROWS,
    "iterator": lambda: iter(ROWS),
    "documents": lambda: [
        Document(row["id"], row["text"], row["title"], {"year": row["year"], "kind": row["kind"]}) for row in ROWS
    ],
    "pandas": lambda: pd.DataFrame(ROWS),
    "pandas index": lambda: pd.DataFrame(ROWS).set_index("id"),
    "polars": lambda: pl.DataFrame(ROWS),
    "arrow": lambda: pa.Table.from_pylist(ROWS),
    "batches": lambda: pa.Table.from_pylist(ROWS).to_batches(max_chunksize=7),
    "reader": lambda: pa.Table.from_pylist(ROWS).to_reader(max_chunksize=7),
    "datasets": lambda: datasets.Dataset.from_list(ROWS),
    "streamed": lambda: datasets.Dataset.from_list(ROWS).to_iterable_dataset(),
}
WORDS = ["bees make honey", "ants dig tunnels", "a spider spins", "wasps build of paper"]


def contents(index: Index) -> tuple:
    """Everything that an index keeps of its documents, and how they are searched."""
    vectors = index.vectors.vectors.stored(np.arange(index.vectors.manifest.rows))
    manifest = index.vectors.manifest
    settings = manifest.encoder, manifest.dim, manifest.cut, manifest.build.pca, manifest.build.factory
    return list(index), vectors.tobytes(), settings, manifest.lexical and manifest.lexical.stemmer


@pytest.fixture(scope="module")
def from_file(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    folder = tmp_path_factory.mktemp("files")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    build_index([str(folder / "rows.jsonl")], folder / "index", HashEncoder())
    return contents(Index.open(folder / "index", encoder=HashEncoder()))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_documents_of_the_file(form: str, tmp_path: Path, from_file: tuple) -> None:
    index = searchapp.build(FORMS[form](), tmp_path / "index", model=HashEncoder(), progress=False)
    assert contents(index) == from_file


def test_documents_are_looked_at_like_records(tmp_path: Path) -> None:
    documents = [
        Document(
            "a", "one", "", {"day": pd.Timestamp("2026-01-02"), "metadata": {"x": 1}, "text": "t", "n": np.int64(3)}
        ),
        Document("b", "two", "", {"what": object}),
        Document("", "three"),
    ]
    index = searchapp.build(documents, tmp_path / "x", model=HashEncoder())
    assert [document.id for document in index] == ["a", "b"]
    kept = dict(next(iter(index)).metadata)
    assert kept == {"day": "2026-01-02T00:00:00", "metadata": {"x": 1}, "text": "t", "n": 3}


def test_three_lines_from_a_frame_to_hits(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": WORDS})
    index = searchapp.build(frame, tmp_path / "x", model=HashEncoder())
    hits = index.search("who makes honey", k=2, mode="bm25")
    assert hits[0].text == WORDS[0]
    assert list(pd.DataFrame(hits)["id"]) == [hit.id for hit in hits]
    assert "bees make honey" in hits._repr_html_()


def test_texts_get_ids_of_their_own(tmp_path: Path) -> None:
    index = searchapp.build(["one", "two", "one"], tmp_path / "x", model=HashEncoder())
    first, second, again = (document.id for document in index)
    assert again == f"{first}-2"
    index.add(["three", "two"])
    assert {document.text for document in index} == {"one", "two", "three"}
    assert len(index) == 4  # what is gone from the source stays without sync
    index.add(["three", "two"], sync=True, prune=True)
    assert sorted(document.text for document in index) == ["three", "two"]
    assert second in index and first not in index


def test_fields_of_other_names(tmp_path: Path) -> None:
    frame = pd.DataFrame({"key": [7, 8], "body": ["a b", "c d"], "head": ["A", "B"], "title": ["x", "y"]})
    index = searchapp.build(frame, tmp_path / "x", model=HashEncoder(), id="key", text="body", title="head")
    assert [(one.id, one.title, one.text, dict(one.metadata)) for one in index] == [
        ("7", "A", "a b", {"source.title": "x"}), ("8", "B", "c d", {"source.title": "y"})
    ]  # fmt: skip
    with pytest.raises(CorpusError, match="no column 'nothing'; found key"):
        searchapp.build(frame, tmp_path / "y", model=HashEncoder(), text="nothing")


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (5, "the documents are a int; expected texts"),
        ({"train": [1]}, "one split of a data set"),
        ([3, 4], "no usable document: all 2 rejected.*a int, expected a text"),
        ([], "holds no documents"),
    ],
)
def test_what_is_no_documents(documents: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=message):
        searchapp.build(documents, tmp_path / "x", model=HashEncoder())


def test_names_of_files_are_not_taken_for_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text here")
    with pytest.raises(CorpusError, match="is the name of a file"):
        searchapp.build([str(tmp_path / "a.txt")], tmp_path / "x", model=HashEncoder())
    index = searchapp.build(tmp_path / "a.txt", tmp_path / "x", model=HashEncoder())
    assert [document.text for document in index] == ["some text here"]
    assert contents(searchapp.build([tmp_path / "a.txt"], tmp_path / "x", model=HashEncoder())) == contents(index)


def test_a_build_that_was_stopped_goes_on(tmp_path: Path) -> None:
    class Stops(HashEncoder):
        def encode_counted(self, texts, *rest, **more):
            if len(self.encoded) >= 8:
                raise KeyboardInterrupt
            return super().encode_counted(texts, *rest, **more)

    with pytest.raises(KeyboardInterrupt):
        searchapp.build(ROWS, tmp_path / "x", model=Stops(), segment_size=4)
    again = HashEncoder()
    index = searchapp.build(list(ROWS), tmp_path / "x", model=again, segment_size=4)
    assert len(index) == 20 and not any("number 7 " in text for text in again.encoded)
    with pytest.raises(IndexStoreError, match=r"memory:documents has changed .*`Index.add` takes in what changed"):
        searchapp.build(ROWS[:5], tmp_path / "x", model=HashEncoder())
    with pytest.raises(IndexStoreError, match="has changed since"):
        searchapp.build(iter(ROWS), tmp_path / "x", model=HashEncoder())
    assert len(searchapp.build(iter(ROWS[:5]), tmp_path / "x", model=HashEncoder(), overwrite=True)) == 5


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def given() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(300, 24)).astype(np.float32) * 1e3


@pytest.mark.parametrize("as_column", [False, True])
def test_vectors_of_ones_own(as_column: bool, given: np.ndarray, tmp_path: Path) -> None:
    names = [f"n{i}" for i in range(len(given))]
    if as_column:
        table = pa.table({"id": names, "v": pa.FixedSizeListArray.from_arrays(pa.array(given.ravel()), 24)})
        index = searchapp.build(table, tmp_path / "x", vectors="v")
    else:
        index = searchapp.build([{"id": name} for name in names], tmp_path / "x", vectors=given)
    assert index.vectors.manifest.lexical is None  # there is no text
    queries = np.random.default_rng(4).normal(size=(5, 24)).astype(np.float32)
    exact = unit(queries.astype(np.float64)) @ unit(given.astype(np.float64)).T
    for query, cosines, hits in zip(queries, exact, index.search(queries, k=10), strict=True):
        best = np.argsort(-cosines)[:10]
        assert [hit.id for hit in hits] == [names[place] for place in best]
        assert np.allclose([hit.score for hit in hits], cosines[best], atol=2e-3)
        assert [hit.id for hit in index.search(query, k=10)] == [hit.id for hit in hits]
    assert np.allclose(index.vectors_of(["n5", "n2"]), unit(given[[5, 2]]), atol=1e-3)
    with pytest.raises(ModelError, match="no model embeds a query"):
        index.search("words", mode="dense")


def test_words_beside_vectors_of_ones_own(tmp_path: Path) -> None:
    index = searchapp.build(WORDS, tmp_path / "x", vectors=np.eye(4))
    assert index.search("honey of bees")[0].text == WORDS[0]  # by its words
    [answer] = index.answer(["honey of bees"], vectors=np.eye(4)[3], mode="hybrid")
    assert answer.mode == "hybrid" and {hit.text for hit in answer.hits[:2]} == {WORDS[0], WORDS[3]}
    with pytest.raises(SearchAppError, match=r"expected numbers \(dim,\)"):
        index.answer(["a", "b"], vectors=np.eye(4)[:1])
    with pytest.raises(SearchAppError, match="vectors already"):
        index.answer(np.eye(4)[:1], vectors=np.eye(4)[:1])


def test_a_vector_that_changed_is_a_change(tmp_path: Path) -> None:
    index = searchapp.build(WORDS, tmp_path / "x", vectors=np.eye(4))
    done = index.add(WORDS[:2], vectors=np.array([[1, 0, 0, 0], [0, 0, 0, 5]]))
    assert (done.added, done.changed, done.unchanged) == (0, 1, 1)
    assert [hit.text for hit in index.search(np.eye(4)[3], k=2)] == [WORDS[3], WORDS[1]]
    done = index.add(["new"])
    assert done.rejected == 1 and "no vector" in done.reasons
    with pytest.raises(IndexStoreError, match="vectors of 3 numbers were given .* vectors of 4"):
        index.add(["new"], vectors=np.ones((1, 3)))


def test_the_vector_of_a_document_that_changed_is_a_change(tmp_path: Path) -> None:
    def given(place: int, **metadata: Any) -> list[Document]:
        return [Document("a", "one", metadata=metadata, vector=np.eye(4)[place])]

    index = searchapp.build({"b": "two"}, tmp_path / "x", vectors=np.eye(4)[:1])
    done = [index.add(given(*place)) for place in ((0,), (0,), (1,))]
    assert [(one.added, one.changed, one.unchanged) for one in done] == [(1, 0, 0), (0, 0, 1), (0, 1, 0)]
    assert index.vectors_of(["a"]).tolist() == [[0, 1, 0, 0]]
    long, other = np.arange(2_000), np.arange(2_000)
    other[1_000] = -1
    assert memory_source(given(0, k=long)).identity() != memory_source(given(0, k=other)).identity()
    index.add(given(1, k=other, s=np.str_("x"), z=np.array(3)))
    assert index.documents(["a"])[0].metadata == {"k": other.tolist(), "s": "x", "z": 3}
    known = [memory_source(given(0, **metadata)).identity() for metadata in ({}, {"k": 1}, {"k": np.int64(1)})]
    assert known[0] != known[1] == known[2]


def test_a_record_whose_vector_cannot_be_used_is_rejected(tmp_path: Path) -> None:
    bad = ["abc", [[1], [1, 2]], [[1, 2]], ["a"], 3, [10**400, 0], [1e300, 0], [float("nan"), 1], {"x": 1}]
    rows = [{"id": f"n{place}", "text": "t", "v": value} for place, value in enumerate([[1, 0], *bad])]
    index = searchapp.build(rows, tmp_path / "x", vectors="v")
    assert [one.id for one in index] == ["n0"] and index.vectors.manifest.rejected == len(bad)
    assert all(reason.startswith("a vector ") for reason in index.vectors.manifest.build.reasons)
    assert index.add(rows, vectors="v").unchanged == 1


def test_levels_of_an_index_are_columns(tmp_path: Path) -> None:
    levels = pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["id", "n"])
    frame = pd.DataFrame({"text": ["a", "b"]}, index=levels)

    def held(given: pd.DataFrame) -> list[tuple]:
        items = (record.item for record in memory_source(given).records())
        return [(item.id, item.text, dict(item.metadata)) for item in items]

    both = [("x", "a", {"n": 1}), ("y", "b", {"n": 2})]
    assert held(frame) == both
    assert held(frame.reset_index().set_index(["id", "n"], drop=False)) == both
    kept = frame.reset_index().set_index("id", drop=False)
    assert held(kept) == both and list(kept.columns) == ["id", "n", "text"]
    unnamed = frame.rename_axis(index=["id", None])
    assert held(unnamed) == [("x", "a", {"level_1": 1}), ("y", "b", {"level_1": 2})]
    kept["id"] = ["y", "x"]
    with pytest.raises(CorpusError, match="the DataFrame: the column `id` stands twice"):
        memory_source(kept)


@pytest.mark.parametrize("form", ["pandas", "arrow", "batches", "reader"])
def test_a_column_that_stands_twice_is_refused(form: str, tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, ["id", "text", "text"])
    given = {
        "pandas": lambda: pd.DataFrame([["a", "t", "u"]], columns=["id", "text", "text"]),
        "arrow": lambda: table, "batches": table.to_batches, "reader": table.to_reader,
    }[form]()  # fmt: skip
    with pytest.raises(CorpusError, match=r"the column `text` stands twice \(found: id, text, text\); rename one"):
        searchapp.build(given, tmp_path / "x", vectors=np.eye(1))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.eye(3), "3 vectors for 4 documents"),
        ([[1], [1, 2], [1], [1]], "cannot be read as an array"),
        (np.ones(4), r"an array \(4,\) of float64"),
        (np.full((4, 2), np.nan), "all 4 rejected, 4 of them for: a vector with a value"),
    ],
)
def test_vectors_that_cannot_be_used(vectors: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(SearchAppError, match=message):
        searchapp.build(WORDS, tmp_path / "x", vectors=vectors)


def test_some_vectors_come_and_the_model_makes_the_rest(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "one", "v": np.eye(16)[0]}, {"id": "b", "text": "two"}]
    encoder = HashEncoder()
    index = searchapp.build(rows, tmp_path / "x", model=encoder, vectors="v")
    assert "one" not in encoder.encoded
    assert np.allclose(index.vectors_of(["a", "b"]), [np.eye(16)[0], encoder.vector("two")[0]], atol=1e-3)


def test_changes_are_seen_at_once(tmp_path: Path) -> None:
    index = searchapp.build(ROWS, tmp_path / "x", model=HashEncoder())
    assert index.delete(["d1", "none"]).unknown == ("none",)
    assert len(index) == 19 and "d1" not in index
    assert index.delete(filter="year >= 2010").deleted == 10
    assert [document.id for document in index] == [f"d{i}" for i in range(10) if i != 1]
    assert index.compact(progress=False).removed == 11
    assert index.like("d2", k=3)[0].id != "d2"
    with pytest.raises(SearchAppError, match="has the id 'd1'"):
        index.documents(["d2", "d1"])
    with pytest.raises(SearchAppError, match=r"expected a list of ids"):
        index.documents("d2")
    assert "<td>9</td>" in index._repr_html_()


def test_progress_is_told(tmp_path: Path) -> None:
    told = Counted()
    index = searchapp.build(WORDS, tmp_path / "x", vectors=np.eye(4), progress=told)
    assert "encoding" in told.stages and told.count == 4
    index.add(["new"], vectors=np.eye(4)[:1], progress=told)
    assert told.count == 5


def _rows_with_vectors(count: int, seed: int = 0) -> pa.Table:
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 8)
    return pa.table({"id": [f"n{i}" for i in range(count)], "text": [f"text {i}" for i in range(count)], "v": column})


def _in_parts(table: pa.Table) -> pa.Table:
    return pa.Table.from_batches(table.to_batches(max_chunksize=10))


@pytest.mark.parametrize("kind", ["columns", "records", "changed vectors", "other documents"])
def test_a_killed_add_of_ones_own_vectors_is_gone_on_with(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is really killed, after two commits of what is staged."""
    table, base = _rows_with_vectors(60), [{"id": "old", "text": "old", "v": [1.0] * 8}]
    whole = searchapp.build(base, tmp_path / "whole", vectors="v", progress=False)
    index = searchapp.build(base, tmp_path / "x", vectors="v", progress=False)
    monkeypatch.setattr(add_run, "COMMITTED_TOGETHER", 10)
    commit, commits = Writer.commit, []

    def killing(self: Writer, *arguments: Any, **named: Any) -> Any:
        done = commit(self, *arguments, **named)
        commits.append(done)
        if len(commits) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    columns = kind != "records"
    given = _in_parts(table) if columns else table.to_pylist()
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(Writer, "commit", killing)
        try:
            if columns:
                index.add(given, vectors="v", name="rows", progress=False)
            else:
                add_to(
                    [memory_source(given, vectors="v", label="rows")],
                    tmp_path / "x",
                    index._document_encoder(),
                    segment_size=10,
                )
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(Index.open(tmp_path / "x")) == 1  # nothing is seen of an add that has not finished

    if kind == "changed vectors":
        table = table.set_column(2, "v", _rows_with_vectors(60, seed=1)["v"])
    if kind == "other documents":
        table = table.slice(5, 40)
    given = _in_parts(table) if columns else table.to_pylist()
    index.refresh()
    done = index.add(given, vectors="v", name="rows", progress=False)
    whole.add(given, vectors="v", name="rows", progress=False)
    assert (done.added, done.resumed) == (len(table), {"changed vectors": 0, "other documents": 15}.get(kind, 20))
    assert done.resumed + done.encoded == len(table)
    assert sorted(map(str, index)) == sorted(map(str, whole)) and len(index) == 1 + len(table)
    ids = [f"n{i}" for i in (5, 12, 33, 44)]
    assert (index.vectors_of(ids) == whole.vectors_of(ids)).all()
    assert verify(tmp_path / "x") == []
    assert index.add(given, vectors="v", name="rows", progress=False).unchanged == len(table)
