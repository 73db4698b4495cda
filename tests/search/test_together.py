"""Both sides in one score: the best by it are those of all documents, found without looking at all of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from searchapp.errors import SearchAppError
from searchapp.index import Filter, VectorIndex, build, delete
from searchapp.search import DEFAULT, Fusion, Index, Plan, run
from searchapp.search.fusion import fuse
from searchapp.search.together import SETTLED, spread

WORDS = "amber birch cedar delta ember fjord grove heron islet jetty".split()
QUERIES = ["amber birch", "cedar cedar delta ember", "fjord", "of no known word", "heron islet amber"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_encoder) -> Path:
    root = tmp_path_factory.mktemp("together")
    random = np.random.default_rng(3)
    lines = [
        {"_id": f"d{n}", "title": "", "text": " ".join(random.choice(WORDS, random.integers(1, 9))), "n": n}
        for n in range(400)
    ]
    (root / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    build([str(root / "d.jsonl")], root / "ix", tiny_encoder, segment_size=150)
    return root


def whole(index: VectorIndex, vectors: np.ndarray, weight: float) -> np.ndarray:
    """The fused score of every row, by the formula, from the stored vectors and each word's share of BM25."""
    rows = np.arange(index.manifest.rows)
    stored = index.vectors.gather(rows).astype(np.float64)
    cosines = vectors.astype(np.float64) @ stored.T  # fewer rows than are sampled: all of them are the sample
    alive = rows if index.alive is None else rows[index.alive]
    mean, deviation = cosines[:, alive].mean(1, keepdims=True), cosines[:, alive].std(1, keepdims=True)
    words = np.array([[sum(part for _, part in index.lexical.contributions(q, int(r))) for r in rows] for q in QUERIES])
    return weight * (cosines - mean) / deviation + (1 - weight) * words


@pytest.mark.parametrize(("depth", "k", "weight"), [(1, 1, 0.5), (3, 7, 0.2), (10, 10, 0.55), (5, 60, 0.9)])
def test_the_first_are_those_of_a_full_fusion(place: Path, tiny_encoder, depth: int, k: int, weight: float) -> None:
    index = VectorIndex.open(place / "ix")
    vectors = tiny_encoder.encode_queries(QUERIES)
    fused = run(index, QUERIES, vectors, Plan(k=k, fusion=Fusion("weighted", weight, "spread", depth=depth)))[-1]
    expected = whole(index, vectors, weight)
    for query, line in enumerate(expected):
        best = np.sort(line)[::-1][:k]
        assert fused.scores[query] == pytest.approx(best, abs=1e-4)
        assert line[fused.rows[query]] == pytest.approx(fused.scores[query], abs=1e-4), "a score that is not its row's"
        assert len(set(fused.rows[query].tolist())) == k


def test_no_side_is_asked_for_more_than_is_needed(place: Path, tiny_encoder, monkeypatch) -> None:
    index = VectorIndex.open(place / "ix")
    asked: list[int] = []
    real = VectorIndex.search_vectors

    def counting(self: VectorIndex, queries: np.ndarray, k: int, **options: object) -> tuple[np.ndarray, np.ndarray]:
        asked.append(k)
        return real(self, queries, k, **options)

    monkeypatch.setattr(VectorIndex, "search_vectors", counting)
    run(index, ["fjord"], tiny_encoder.encode_queries(["fjord"]), Plan(k=5, fusion=DEFAULT))
    assert asked == [DEFAULT.depth]
    asked.clear()
    run(index, ["fjord"], tiny_encoder.encode_queries(["fjord"]), Plan(k=300, fusion=Fusion("weighted", 0.5, "spread")))
    assert len(asked) == 1, f"only the first {SETTLED} have to be certain"


def test_a_query_without_a_known_word_is_answered_by_the_vectors(place: Path, tiny_encoder) -> None:
    index = Index.open(place / "ix", encoder=tiny_encoder)
    both, dense = (index.search("of no known word", 10, mode=mode) for mode in ("hybrid", "dense"))
    assert [hit.id for hit in both] == [hit.id for hit in dense]
    assert all(hit.places.keys() == {"exact", "fused"} for hit in both)
    assert index.search("of no known word", 10, mode="bm25") == []


def test_each_side_s_score_is_told_also_where_it_was_looked_up(place: Path, tiny_encoder) -> None:
    index = Index.open(place / "ix", encoder=tiny_encoder)
    hits = index.search("amber birch cedar", 10, hybrid=Fusion("weighted", 0.3, "spread", depth=10))
    cosines = {hit.id: hit.score for hit in index.search("amber birch cedar", 400, mode="dense")}
    words = {hit.id: hit.score for hit in index.search("amber birch cedar", 400, mode="bm25")}
    for hit in hits:
        assert hit.places["exact"].score == pytest.approx(cosines[hit.id], abs=1e-6)
        assert hit.places["bm25"].score == pytest.approx(words[hit.id], abs=1e-5)
    ranks = [place.rank for hit in hits for place in hit.places.values()]
    assert None in ranks, "nothing was looked up: the test needs another query"
    fused = [hit.places["fused"] for hit in hits]
    assert [place.rank for place in fused] == list(range(1, 11))


def test_filters_and_deleted_documents_are_no_hits(place: Path, tiny_encoder, tmp_path: Path) -> None:
    shutil.copytree(place / "ix", tmp_path / "ix")
    delete(tmp_path / "ix", [f"d{n}" for n in range(0, 400, 3)])
    index = VectorIndex.open(tmp_path / "ix")
    vectors = tiny_encoder.encode_queries(QUERIES)
    fused = run(index, QUERIES, vectors, Plan(k=8, fusion=DEFAULT, filter=Filter("n < 90")))[-1]
    expected = whole(index, vectors, DEFAULT.weight)
    passing = np.array([row for row in range(90) if row % 3])
    for query, line in enumerate(expected):
        best = passing[np.argsort(-line[passing], kind="stable")][:8]
        assert fused.scores[query] == pytest.approx(line[best], abs=1e-4)
        assert set(fused.rows[query].tolist()) <= set(passing.tolist())


def test_the_scale_is_the_encoder_s_own(place: Path, tiny_encoder) -> None:
    """Vectors pushed together by a direction they share, as anisotropic encoders have them, count as much as before."""
    sample = VectorIndex.open(place / "ix").sampled
    vectors = tiny_encoder.encode_queries(QUERIES)

    def squeezed(given: np.ndarray) -> np.ndarray:
        return np.hstack([np.sqrt(0.1) * given, np.full((len(given), 1), np.sqrt(0.9))]).astype(np.float32)

    scaled = []
    for form in (np.array, squeezed):
        mean, deviation = spread(SimpleNamespace(sampled=form(sample)), form(vectors))
        scaled.append((form(vectors) @ form(sample).T - mean[:, None]) / deviation[:, None])
    assert scaled[1] == pytest.approx(scaled[0], abs=0.05)
    alike = SimpleNamespace(sampled=np.repeat(sample[:1], 5, axis=0))
    assert spread(alike, vectors)[1].tolist() == [1.0] * len(QUERIES), "vectors that are all one say nothing"


def test_modes_of_an_index_with_and_without_words(place: Path, tiny_encoder) -> None:
    index = Index.open(place / "ix", encoder=tiny_encoder)
    asked = {mode: index.answer(["amber"], 5, mode=mode)[0] for mode in ("auto", "dense", "bm25", "hybrid")}
    assert {mode: answer.mode for mode, answer in asked.items()} == {
        "auto": "hybrid", "dense": "dense", "bm25": "bm25", "hybrid": "hybrid"
    }  # fmt: skip
    assert asked["auto"].hits == asked["hybrid"].hits == tuple(index.search("amber", 5, hybrid=True))
    assert asked["dense"].hits == tuple(index.search("amber", 5, hybrid=False))
    assert (asked["dense"].meaning, asked["bm25"].meaning) == ("cosine", "BM25")
    assert "standard deviations" in asked["auto"].meaning
    with pytest.raises(SearchAppError, match="mode 'both' is unknown; expected one of auto, dense, bm25, hybrid"):
        index.search("amber", mode="both")
    with pytest.raises(SearchAppError, match="contradict"):
        index.search("amber", mode="dense", hybrid=True)
    build([str(place / "d.jsonl")], place / "bare", tiny_encoder, lexical=False)
    bare = Index.open(place / "bare", encoder=tiny_encoder)
    assert bare.answer(["amber"], 5)[0].mode == "dense"
    for mode in ("bm25", "hybrid"):
        with pytest.raises(SearchAppError, match="no BM25 part"):
            bare.search("amber", mode=mode)


def test_words_alone_need_no_model(place: Path) -> None:
    index = Index.open(place / "ix")
    assert index.search("amber", 3, mode="bm25")[0].stage == "bm25"
    assert index._encoder is None


def test_two_rankings_alone_cannot_be_fused_by_spread(place: Path, tiny_encoder) -> None:
    stages = run(VectorIndex.open(place / "ix"), QUERIES, tiny_encoder.encode_queries(QUERIES), Plan(fusion=Fusion()))
    with pytest.raises(SearchAppError, match="spread looks scores up in an index"):
        fuse(stages[0], stages[1], DEFAULT, 5)
