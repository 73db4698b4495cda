"""BM25 on the collections at hand, against figures that another program measured (their SOURCES file)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from searchapp.evaluate.candidates import load_candidates
from searchapp.evaluate.metrics import score
from searchapp.rerank.bm25 import Bm25Reranker

NDCG = {"scifact": 0.6767, "cranfield": 0.4835, "npl": 0.4378, "med": 0.6631, "cacm": 0.4659, "checkthat2020": 0.9067,
        "xquad-en": 0.9681}  # fmt: skip
MAP = {("wikiqa", "dev"): 0.596, ("wikiqa", "test"): 0.587, ("trecqa", "dev"): 0.715, ("semeval-cqa-b", "dev"): 0.781,
       ("semeval-cqa-a", "dev"): 0.625}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NDCG)
def test_bm25_retrieves_as_it_should(run, shared: Path, tiny_model: Path, name: str) -> None:
    folder = shared / "data" / "retrieval" / name
    outcome = run("evaluate", "retrieval", folder, "--model", tiny_model, "--document-max-length", 4, "--hybrid",
                  "--json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    [words] = [one for one in json.loads(outcome.out)["results"] if one["setting"]["method"] == "bm25"]
    assert words["metrics"]["nDCG@10"]["value"] == pytest.approx(NDCG[name], abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "split"), MAP)
def test_bm25_ranks_candidates_as_it_should(shared: Path, name: str, split: str) -> None:
    candidates = load_candidates(shared / "data" / "rerank" / name, split)
    words = Bm25Reranker(candidates.texts.values())
    run = {}
    for query in candidates.queries:
        names = candidates.documents[query.id]
        [scores] = words.score([query.text], [[candidates.texts[one] for one in names]])
        run[query.id] = dict(zip(names, scores.tolist(), strict=True))
    found = score(run, candidates.qrels, ["MAP"]).estimate("MAP").value
    assert found == pytest.approx(MAP[name, split], abs=0.02)
