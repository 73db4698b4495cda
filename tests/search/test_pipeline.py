"""The steps of a search as data: what each leaves, and that they are one path."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from searchapp.errors import IndexStoreError, SearchAppError
from searchapp.index import Filter, VectorIndex, build, delete
from searchapp.search import Fusion, Index, Plan, run
from searchapp.search.fusion import fuse
from tests.progress import Counted

SUBJECTS = "bees foxes engines hives dogs queries".split()


class Longest:
    """A reranker that likes long documents, and remembers what it was shown."""

    name, kind, fingerprint = "longest", "head", "longest"

    def __init__(self) -> None:
        self.shown: list[list[str]] = []

    def score(self, queries, documents, *, progress=None):
        self.shown = [list(texts) for texts in documents]
        if progress is not None:
            progress.advance(sum(map(len, documents)))
        return [np.array([len(text) for text in texts], dtype=np.float32) for texts in documents]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_encoder) -> Path:
    root = tmp_path_factory.mktemp("pipeline")
    lines = [
        {"_id": f"d{n}", "title": SUBJECTS[n % 6], "text": f"{SUBJECTS[n % 6]} and {SUBJECTS[n % 4]} " + "so " * (n % 9), "n": n}
        for n in range(120)
    ]  # fmt: skip
    (root / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    build([str(root / "d.jsonl")], root / "ix", tiny_encoder, segment_size=50)
    build([str(root / "d.jsonl")], root / "pca", tiny_encoder, pca=8, segment_size=50)
    return root


QUERIES = ["bees and hives", "dogs", "unheard of"]


def test_each_step_is_kept(place: Path, tiny_encoder) -> None:
    index = VectorIndex.open(place / "pca")
    vectors = tiny_encoder.encode_queries(QUERIES)
    reranker, told = Longest(), Counted()
    plan = Plan(k=15, fusion=Fusion(depth=40), reranker=reranker, rerank_depth=10, compressed=True)
    stages = run(index, QUERIES, vectors, plan, told)
    assert [stage.name for stage in stages] == ["compressed", "rescored", "bm25", "fused", "reranked"]
    compressed, rescored, lexical, fused, reranked = stages
    for stage in stages:
        assert stage.rows.dtype == np.int64 and stage.scores.dtype == np.float32
    assert np.array_equal(rescored.rows, index.search_vectors(vectors, 40)[1])
    assert np.array_equal(compressed.rows, index.search_vectors(vectors, 40, candidates=0)[1])
    assert np.array_equal(lexical.rows, index.lexical.search(QUERIES, 40)[1])
    assert np.array_equal(fused.rows, fuse(rescored, lexical, plan.fusion, 15)[1])
    assert (lexical.rows[2] == -1).all() and (fused.rows[2, :15] == rescored.rows[2, :15]).all()
    assert (
        told.stages == ["reranking"] and told.count == 30 and [len(texts) for texts in reranker.shown] == [10, 10, 10]
    )
    for line in range(3):
        head, tail = reranked.rows[line, :10], reranked.rows[line, 10:]
        assert sorted(head) == sorted(fused.rows[line, :10]), "the reranker moved documents it had not seen"
        assert tail.tolist() == fused.rows[line, 10:15].tolist()
        assert (np.diff(reranked.scores[line]) <= 0).all(), "scores are not those of the order"
        lengths = [len(f"{d.title} {d.text}") for d in map(index.rows.read, head.tolist())]
        assert lengths == sorted(lengths, reverse=True)
        row = int(tail[0])
        assert reranked.rank(line, row) == 11 and reranked.score(line, row) is None
        assert reranked.score(line, int(head[0])) == lengths[0]


def test_either_side_alone(place: Path, tiny_encoder) -> None:
    index = VectorIndex.open(place / "ix")
    vectors = tiny_encoder.encode_queries(QUERIES)
    (dense,) = run(index, QUERIES, vectors, Plan(k=500))
    assert dense.name == "exact" and dense.width == 120
    (lexical,) = run(index, QUERIES, None, Plan(k=5, fusion=Fusion(), dense=False))
    assert lexical.name == "bm25" and lexical.width == 5
    with pytest.raises(SearchAppError, match="needs vectors or BM25"):
        Plan(dense=False)
    for options in ({"k": 0}, {"candidates": -1}, {"rerank_depth": 0}):
        with pytest.raises(SearchAppError):
            Plan(**options)


def test_filters_and_deleted_documents_reach_every_step(place: Path, tiny_encoder, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(place / "ix", tmp_path / "ix")
    delete(tmp_path / "ix", [f"d{n}" for n in range(0, 120, 6)])
    index = VectorIndex.open(tmp_path / "ix")
    reranker = Longest()
    plan = Plan(k=200, fusion=Fusion(), reranker=reranker, filter=Filter("n < 60"))
    stages = run(index, QUERIES, tiny_encoder.encode_queries(QUERIES), plan)
    assert len(stages) == 4
    for stage in stages:
        found = set(stage.rows[stage.rows >= 0].tolist())
        assert found and all(row < 60 and row % 6 for row in found), stage.name
    assert sorted(stages[-1].rows[0][stages[-1].rows[0] >= 0]) == [n for n in range(60) if n % 6]


def test_hits_say_where_they_stood(place: Path, tiny_encoder) -> None:
    index = Index.open(place / "ix", encoder=tiny_encoder)
    plain = index.search("bees and hives", 3, mode="dense")
    assert [hit.stage for hit in plain] == ["exact"] * 3 and plain[0].places["exact"].rank == 1
    hits = index.search("bees and hives", 3, hybrid=True, rerank=Longest(), rerank_depth=20)
    assert [hit.places["reranked"].rank for hit in hits] == [1, 2, 3]
    assert all(hit.score == hit.places["reranked"].score for hit in hits)
    assert {"exact", "bm25", "fused", "reranked"} == hits[0].places.keys()
    answer = index.answer(["bees"], 2, hybrid=Fusion("weighted", 0.0), rerank=Longest())[0]
    assert answer.rerank_seconds > 0
    many = index.search(["bees", "dogs"], 4, hybrid=True)
    assert [len(hits) for hits in many] == [4, 4]
    assert [hit.id for hit in many[0]] == [hit.id for hit in index.search("bees", 4, hybrid=True)]


def test_an_index_without_words_is_refused_before_a_model_is_loaded(place: Path, tiny_encoder) -> None:
    build([str(place / "d.jsonl")], place / "bare", tiny_encoder, lexical=False)
    index = Index.open(place / "bare")
    with pytest.raises(
        IndexStoreError, match=r"no BM25 part, which a search by words needs; add it with `searchapp lexical"
    ):
        index.search("bees", hybrid=True)
    assert index._encoder is None
    assert index.vectors.manifest.lexical is None
