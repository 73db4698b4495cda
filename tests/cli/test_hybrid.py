"""``--hybrid`` and ``--rerank`` as their user meets them, the words of an index, and the fusion tuned on a dev split."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.rerankers import make_head

KEYS = ["query", "rank", "id", "score", "title", "text", "metadata"]


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> Path:
    return make_head(tmp_path_factory.mktemp("reranker") / "m", tokenizer)


@pytest.fixture
def own(index: Path, tmp_path: Path) -> Path:
    """A copy of the index, to be changed."""
    shutil.copytree(index, tmp_path / "ix")
    return tmp_path / "ix"


def lines(outcome) -> list[dict]:
    assert outcome.code == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_json_keeps_its_keys_and_says_what_the_score_is(run, index: Path, reranker: Path) -> None:
    plain = lines(run("search", index, "bees make honey", "--json", "--mode", "dense"))
    assert [list(hit) for hit in plain] == [KEYS] * 3
    fused = lines(run("search", index, "bees make honey", "--json", "--hybrid"))
    assert [list(hit) for hit in fused] == [[*KEYS, "stage", "places"]] * 3
    assert {hit["stage"] for hit in fused} == {"fused"}
    assert fused[0]["id"] == "bees" and fused[0]["places"]["bm25"]["rank"] == 1
    assert all("bm25" not in hit["places"] for hit in fused[1:]), "documents without a word of the query"
    both = lines(run("search", index, "bees", "--json", "--hybrid", "--rerank", reranker, "--rerank-depth", 2))
    assert [hit["stage"] for hit in both] == ["reranked"] * 3
    assert ["reranked" in hit["places"] for hit in both] == [True, True, False]
    assert [hit["score"] for hit in both] == sorted((hit["score"] for hit in both), reverse=True)


def test_people_see_bars_and_parts(run, index: Path, reranker: Path) -> None:
    shown = run("search", index, "bees make honey")
    assert shown.code == 0 and "█" not in shown.out
    assert "score: 0.6 x cosine in standard deviations above a random document + 0.4 x BM25\n" in shown.out
    shown = run("search", index, "bees make honey", "--hybrid", "--fusion", "rrf")
    assert "█████  Bees" in shown.out, "ranks have no scale of their own"
    assert "BM25" in shown.out and "fused (rank 1)" in shown.out and "0.016" not in shown.out
    assert "(60 + rank by BM25); a full bar is the best hit's\n" in shown.out
    shown = run("search", index, "bees", "--rerank", reranker)
    assert "reranked" in shown.out and ", rerank " in shown.out
    assert "score: score of the reranker" in shown.out
    filtered = run("search", index, "bees make honey", "--hybrid", "--filter", 'lang == "de"', "--json")
    assert [hit["id"] for hit in lines(filtered)] == ["engine"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--mode", "dense", "--weight", 0.5],
            "--weight says how two rankings are fused, and there is one; add --hybrid",
        ),
        (["--mode", "bm25", "--fusion", "rrf"], "--fusion says how"),
        (["--mode", "magic"], "mode 'magic' is unknown; expected one of auto, dense, bm25, hybrid"),
        (["--mode", "dense", "--hybrid"], "--hybrid and --mode dense contradict each other"),
        (["--fusion", "magic"], "--fusion 'magic' is unknown; expected one of rrf, spread, weighted, zscore"),
        (["--hybrid", "--weight", 2], "fusion weight is 2.0; expected 0 (BM25 alone) to 1"),
        (["--rerank", "no/such/model"], "model 'no/such/model' does not exist"),
        (["--rerank", "bundled", "--reranker-kind", "magic"], "reranker kind 'magic' is unknown"),
        (["--rerank", "bundled", "--reranker-kind", "head"], "has no head that scores"),
    ],
)
def test_one_line_says_what_is_wrong(run, index: Path, options, words: str) -> None:
    outcome = run("search", index, "bees", *options)
    assert outcome.code == 2 and not outcome.out
    assert words in outcome.err and len([line for line in outcome.err.splitlines() if "error" in line]) == 1


def test_the_words_of_an_index(run, own: Path) -> None:
    assert "porter stems, english stop words left out; BM25 with k1 = 0.9, b = 0.4" in run("info", own).out
    assert "nothing to do" in run("lexical", own).out
    changed = run("lexical", own, "--stemmer", "none", "--k1", 1.5)
    assert "no stemming, english stop words left out; BM25 with k1 = 1.5, b = 0.4" in changed.out
    assert "error" in run("lexical", own, "--remove", "--b", 1).err
    assert run("lexical", own, "--remove").code == 0
    refused = run("search", own, "bees", "--hybrid")
    assert (
        refused.code == 2
        and f"no BM25 part, which a search by words needs; add it with `searchapp lexical {own}`" in refused.err
    )
    assert "none: no --hybrid" in run("info", own).out
    assert "german stems" in run("lexical", own, "--language", "german").out
    assert run("search", own, "bees", "--hybrid").code == 0
    wrong = run("lexical", own, "--language", "klingon")
    assert wrong.code == 2 and "there is no stemmer for 'klingon'" in wrong.err
    assert run("verify", own).code == 0


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Documents of which words say more than a random model does."""
    root = tmp_path / "toy"
    (root / "qrels").mkdir(parents=True)
    names = [f"w{number}" for number in range(30)]
    documents = [{"_id": name, "title": "", "text": f"bees and the fox {name} {name}"} for name in names]
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (root / "queries.jsonl").write_text("\n".join(json.dumps({"_id": f"q{n}", "text": f"find {n}"}) for n in names))
    (root / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(f"q{n}\t{n}\t1" for n in names))
    return root


def test_a_fusion_is_tuned_and_kept(run, collection: Path, tiny_model: Path, tmp_path: Path) -> None:
    place = tmp_path / "toy-ix"
    assert run("build", collection, "--index", place, "--model", tiny_model).code == 0
    (tried,) = lines(run("evaluate", "tune-fusion", collection, "--index", place, "--json"))
    assert list(tried) == ["results"]
    dense, words, *fused = [(one["setting"], one["metrics"]["nDCG@10"]) for one in tried["results"]]
    assert (dense[0]["method"], words[0]["method"]) == ("dense", "bm25") and len(fused) == 84
    assert words[1] == {"value": 1.0, "low": 1.0, "high": 1.0} and dense[1]["value"] < 1
    [(chosen, reached)] = [one for one in fused if one[0]["best"]]
    assert reached["value"] == max(values["value"] for _, values in fused) == 1.0
    untuned = lines(run("search", place, "find w7", "--hybrid", "--json"))
    shown = run("evaluate", "tune-fusion", collection, "--index", place, "--store")
    assert "best (*): " in shown.out and " --weight " in shown.out and "kept in" in shown.out
    best = chosen["fusion"]
    method, weight = best["method"], best["weight"]
    if method == "weighted":
        method = {"spread": "spread", "zscore": "zscore", "minmax": "weighted"}[best["normalisation"]]
    tuned = lines(run("search", place, "find w7", "--hybrid", "--json"))
    same = lines(run("search", place, "find w7", "--hybrid", "--json", "--fusion", method, "--weight", weight))
    assert tuned == same and tuned[0]["id"] == "w7"
    assert tuned != untuned or method == "rrf"
    wrong = run("evaluate", "tune-fusion", collection, "--index", place, "--split", "train")
    assert wrong.code == 2 and "train" in wrong.err
