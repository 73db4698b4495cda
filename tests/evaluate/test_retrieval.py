"""The whole evaluation against a few lines of numpy and pytrec_eval, on a small collection made here."""

from __future__ import annotations

import json
import random
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.index import build

WORDS = "bees fly make honey hives search engine quality measure fox dog quick brown lazy web query passages".split()


@pytest.fixture(scope="module")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("beir"), random.Random(3)
    documents = [
        {"_id": f"d{i}", "title": rng.choice(WORDS), "text": " ".join(rng.choices(WORDS, k=12))} for i in range(120)
    ]
    documents.append({"_id": "empty", "title": "", "text": ""})
    queries = [{"_id": f"q{i}", "text": " ".join(rng.choices(WORDS, k=4))} for i in range(15)]
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (root / "qrels").mkdir()
    lines = ["query-id\tcorpus-id\tscore"]
    lines += [f"q{i}\td{d}\t{rng.randint(0, 2)}" for i in range(14) for d in rng.sample(range(120), 8)]
    (root / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return root


def test_metrics_equal_pytrec_eval_on_brute_force_search(run, beir: Path, tiny_model: Path, tmp_path: Path) -> None:
    import pytrec_eval

    outcome = run("evaluate", "retrieval", beir, "--model", tiny_model, "--mode", "dense", "--json",
                  "--run", tmp_path / "a.run")  # fmt: skip
    assert outcome.code == 0, outcome.err
    [result] = json.loads(outcome.out)["results"]
    encoder = Encoder.load(str(tiny_model))
    documents = [json.loads(line) for line in (beir / "corpus.jsonl").read_text().splitlines()][:120]
    queries = [json.loads(line) for line in (beir / "queries.jsonl").read_text().splitlines()][:14]
    stored = encoder.encode([f"{d['title']} {d['text']}" for d in documents]).astype(np.float16).astype(np.float32)
    scores = encoder.encode([q["text"] for q in queries]) @ stored.T
    exact = {
        q["_id"]: {d["_id"]: float(s) for d, s in zip(documents, row, strict=True)}
        for q, row in zip(queries, scores, strict=True)
    }
    qrels: dict[str, dict[str, int]] = {}
    for line in (beir / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels.setdefault(query, {})[document] = int(grade)
    truth = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10", "map", "recall_100", "P_10"}).evaluate(exact)
    for ours, theirs in (("nDCG@10", "ndcg_cut_10"), ("MAP", "map"), ("Recall@100", "recall_100"), ("P@10", "P_10")):
        estimate = result["metrics"][ours]
        assert estimate["value"] == pytest.approx(np.mean([row[theirs] for row in truth.values()]), abs=1e-6)
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert set(result["metrics"]) == {"nDCG@10", "MAP", "MRR@10", "Recall@100", "P@10", "Unjudged@10"}
    assert result["setting"]["documents"] == 120
    assert result["setting"]["documents_rejected"] == 1
    lines = (tmp_path / "a.run").read_text().splitlines()
    assert len(lines) == 14 * 120
    best = max(exact["q0"], key=exact["q0"].__getitem__)
    assert lines[0].split()[:4] == ["q0", "Q0", best, "1"]


def test_several_settings_encode_once(run, beir: Path, tiny_model: Path, tmp_path: Path, monkeypatch) -> None:
    texts: list[str] = []
    real = Encoder.encode_counted

    def counting(self, given, *arguments, **options):
        texts.extend([given] if isinstance(given, str) else given)
        return real(self, given, *arguments, **options)

    monkeypatch.setattr(Encoder, "encode_counted", counting)
    outcome = run("evaluate", "retrieval", beir, "--model", tiny_model, "--json", "--run", tmp_path / "r.run",
                  "--pca", 0, "--pca", 8, "--pca", 2, "--candidates", 0, "--mode", "dense")  # fmt: skip
    assert outcome.code == 0, outcome.err
    results = json.loads(outcome.out)["results"]
    assert [result["setting"]["pca"] for result in results] == [None, 8, 2]
    assert len(texts) == 120 + 14
    assert len(list(tmp_path.glob("r.*.run"))) == 3
    values = [result["metrics"]["nDCG@10"]["value"] for result in results]
    assert len(set(values)) == 3


def test_an_index_is_evaluated_as_it_stands(run, beir: Path, tiny_model: Path, tmp_path: Path) -> None:
    assert run("build", beir, "--index", tmp_path / "ix", "--model", tiny_model).code == 0
    direct = json.loads(run("evaluate", "retrieval", beir, "--model", tiny_model, "--json").out)["results"][0][
        "metrics"
    ]
    outcome = run("evaluate", "retrieval", beir, "--index", tmp_path / "ix", "--json")
    assert json.loads(outcome.out)["results"][0]["metrics"] == direct
    table = run("evaluate", "retrieval", beir, "--index", tmp_path / "ix").out
    assert "nDCG@10" in table
    assert f"{direct['nDCG@10']['value']:.4f}" in table


def test_what_the_first_search_opens_is_not_the_time_of_a_query(
    run, beir: Path, tiny_model: Path, tmp_path: Path, monkeypatch
) -> None:
    from searchapp.index import VectorIndex

    search, opened = VectorIndex.search_vectors, []

    def slow_at_first(index: VectorIndex, *arguments, **options):
        if not opened:
            time.sleep(1)
            opened.append(index)
        return search(index, *arguments, **options)

    assert run("build", beir, "--index", tmp_path / "ix", "--model", tiny_model).code == 0
    monkeypatch.setattr(VectorIndex, "search_vectors", slow_at_first)
    outcome = run("evaluate", "retrieval", beir, "--index", tmp_path / "ix", "--mode", "dense", "--json")
    [result] = json.loads(outcome.out)["results"]
    assert opened and result["setting"]["search_ms_per_query"] < 1000 / result["setting"]["queries"]


def test_an_index_of_something_else_is_refused(run, beir: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"_id": "other", "text": "honey"}')
    assert run("build", tmp_path / "d.jsonl", "--index", tmp_path / "ix", "--model", tiny_model).code == 0
    outcome = run("evaluate", "retrieval", beir, "--index", tmp_path / "ix")
    assert outcome.code == 2
    assert "holds none of the" in outcome.err


@pytest.mark.parametrize(
    "option",
    [
        ("--model", "bundled"), ("--adapter", "a"), ("--pca", "8"), ("--factory", "auto"), ("--pooling", "mean"),
        ("--max-length", "64"), ("--document-max-length", "64"), ("--dtype", "auto"),
    ],
)  # fmt: skip
def test_what_an_index_has_settled_is_refused_beside_it(run, beir: Path, option: tuple[str, str]) -> None:
    outcome = run("evaluate", "retrieval", beir, "--index", "ix", *option)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert f"{option[0]} cannot go with --index" in outcome.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--pca", 8, "--pca", 33), ["pca 33 (--pca)", "1 to 32"]),
        (("--pca", 8, "--pca", -1), ["pca -1 (--pca)"]),
        (("--pca", 8, "--pca", 7, "--factory", "PQ8"), ["'PQ8' (--factory)", "7 dimensions"]),
        (("--run", "absent/a.run"), ["absent/a.run", "No such file or directory"]),
        (("--run", "."), ["--run .", "it is a folder"]),
        (("--run", "file/a.run"), ["file/a.run", "Not a directory"]),
        (("--candidates", -1), ["--candidates"]),
    ],
)
def test_settings_are_checked_before_anything_is_encoded(
    run, beir: Path, tiny_model: Path, tmp_path: Path, monkeypatch, options: tuple[object, ...], words: list[str]
) -> None:
    def unexpected(*_: object, **__: object) -> None:
        raise ZeroDivisionError("documents were encoded")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("searchapp.evaluate.retrieval.build", unexpected)
    outcome = run("evaluate", "retrieval", beir, "--model", tiny_model, *options)
    assert outcome.code == 2, outcome.err
    assert len(outcome.err.splitlines()) == 1
    for word in words:
        assert word in outcome.err


def test_too_few_documents_for_a_pca_is_one_line(run, beir: Path, tmp_path: Path, tokenizer) -> None:
    from tests.models import make_checkpoint

    model = make_checkpoint(tmp_path / "wide", tokenizer, hidden_size=128)
    outcome = run("evaluate", "retrieval", beir, "--model", model, "--pca", 8, "--pca", 121)
    assert outcome.code == 2
    assert not outcome.out
    assert "pca 121 (--pca) needs at least 121 documents" in outcome.err.splitlines()[-1]


@pytest.mark.parametrize("where", ["queries", "corpus", "index"])
def test_an_id_that_cannot_stand_in_a_run_is_refused_before_anything_is_encoded(
    run, beir: Path, tiny_model: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    shutil.copytree(beir, folder)
    for path in folder.rglob("*.*"):
        old, new = ("q3", "q 3") if where == "queries" else ("d7", "d 7")
        path.write_text(re.sub(rf"\b{old}\b", new, path.read_text()))
    given: list[object] = ["--model", tiny_model]
    if where == "index":
        build([str(folder / "corpus.jsonl")], tmp_path / "ix", Encoder.load(str(tiny_model)))
        given = ["--index", tmp_path / "ix"]

    def encode(*_: object, **__: object) -> None:
        raise AssertionError("nothing is to be encoded")

    monkeypatch.setattr(Encoder, "encode_counted", encode)
    monkeypatch.setattr(Encoder, "encode_queries", encode)
    outcome = run("evaluate", "retrieval", folder, *given, "--run", tmp_path / "a.run")
    assert outcome.code == 2
    [line] = outcome.err.splitlines()
    assert f"{'query' if where == 'queries' else 'document'} id {new!r} is empty or contains white space" in line
