"""Reranking evaluation by the program: given lists, and runs before and after."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval

from searchapp import Encoder

WORDS = "bees fly make honey hives search engine quality measure fox dog quick brown lazy web query passages".split()


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, folder = random.Random(4), tmp_path_factory.mktemp("lists")
    lines = [
        {
            "query": " ".join(rng.choices(WORDS, k=4)),
            "positive": [" ".join(rng.choices(WORDS, k=9)) for _ in range(rng.randint(1, 3))],
            "negative": [" ".join(rng.choices(WORDS, k=9)) for _ in range(rng.randint(1, 8))],
        }
        for _ in range(15)
    ]
    one_sided = [{"query": "a", "positive": ["b"], "negative": []}, {"query": "c", "positive": [], "negative": ["d"]}]
    with gzip.open(folder / "dev.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, [*lines, *one_sided])))
    (folder / "train.jsonl").write_text(json.dumps(lines[0]))
    return folder


@pytest.fixture(scope="module")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("beir"), random.Random(5)
    documents = [
        {"_id": f"d{i}", "title": rng.choice(WORDS), "text": " ".join(rng.choices(WORDS, k=9))} for i in range(40)
    ]
    queries = [{"_id": f"q{i}", "text": " ".join(rng.choices(WORDS, k=4))} for i in range(9)]
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (root / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (root / "qrels").mkdir()
    lines = ["query-id\tcorpus-id\tscore"]
    lines += [f"q{i}\td{d}\t{rng.randint(0, 2)}" for i in range(9) for d in rng.sample(range(40), 8)]
    (root / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    run = [f"q{i} Q0 d{d} 0 {rng.random():.4f} first" for i in range(8) for d in rng.sample(range(40), 12)]
    (root / "first.run").write_text("\n".join(run) + "\n")
    return root


def test_given_lists_are_scored_as_pytrec_eval_scores_the_cosines(run, lists: Path, tiny_model: Path) -> None:
    outcome = run("evaluate", "rerank", lists, "--model", tiny_model, "--instruction", "Find it:", "--json")
    assert outcome.code == 0, outcome.err
    [result] = json.loads(outcome.out)["results"]
    assert result["setting"]["split"] == "dev"  # no test here
    assert result["setting"]["queries"] == 15  # the one-sided ones are left out
    encoder = Encoder.load(str(tiny_model))
    qrels, scores = {}, {}
    with gzip.open(lists / "dev.jsonl.gz", "rt") as file:
        for number, line in enumerate(map(json.loads, file)):
            if line["positive"] and line["negative"]:
                texts = line["positive"] + line["negative"]
                cosines = encoder.encode(texts) @ encoder.encode([line["query"]], "Find it:")[0]  # documents get none
                scores[f"q{number}"] = {str(place): float(cosine) for place, cosine in enumerate(cosines)}
                qrels[f"q{number}"] = {str(place): int(place < len(line["positive"])) for place in range(len(texts))}
    truth = pytrec_eval.RelevanceEvaluator(qrels, {"map", "ndcg_cut_10"}).evaluate(scores)
    for metric, name in (("MAP", "map"), ("nDCG@10", "ndcg_cut_10")):
        found = result["metrics"][metric]
        assert found["value"] == pytest.approx(np.mean([row[name] for row in truth.values()]), abs=1e-6)
        assert found["low"] <= found["value"] <= found["high"]
    assert set(result["metrics"]) == {"MAP", "MRR@10", "nDCG@10", "Unjudged@10"}


def test_words_and_both_stand_beside_the_vectors(run, lists: Path, tiny_model: Path, tmp_path: Path) -> None:
    outcome = run("evaluate", "rerank", lists, "--model", tiny_model, "--hybrid", "--json", "--markdown",
                  tmp_path / "r.md", "--per-query", tmp_path / "q.jsonl", "--run", tmp_path / "r.run")  # fmt: skip
    results = json.loads(outcome.out)["results"]
    assert [result["setting"]["kind"] for result in results] == ["bi-encoder", "bm25", "fusion"]
    lines = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert len(lines) == 3 * 15
    for result, name in zip(results, ("reranked", "bm25", "fusion"), strict=True):
        own = [line["metrics"]["MAP"] for line in lines if line["setting"] == name]
        assert np.mean(own) == pytest.approx(result["metrics"]["MAP"]["value"])
    assert (tmp_path / "r.md").read_text().count("\n| ") == 5
    # with all the weight on one side, the order is that side's
    for weight, kind in (("1", 0), ("0", 1)):
        alone = run("evaluate", "rerank", lists, "--model", tiny_model, "--hybrid", "--fusion", "weighted", "--weight",
                    weight, "--json")  # fmt: skip
        fused = json.loads(alone.out)["results"][2]["metrics"]["MRR@10"]["value"]
        assert fused == pytest.approx(results[kind]["metrics"]["MRR@10"]["value"], abs=0.05)


def test_a_foreign_run_before_and_after_with_its_ceiling(run, beir: Path, tiny_model: Path, tmp_path: Path) -> None:
    command = ("evaluate", "rerank", beir, "--model", tiny_model, "--top-ranked", beir / "first.run", "--json")
    outcome = run(*command, "-k", 5, "--run", tmp_path / "after.run")
    assert outcome.code == 0, outcome.err
    before, after = json.loads(outcome.out)["results"]
    assert (before["setting"]["kind"], after["setting"]["depth"]) == ("first stage", 5)
    qrels: dict[str, dict[str, int]] = {}
    for line in (beir / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, level = line.split("\t")
        qrels.setdefault(query, {})[document] = int(level)
    with (beir / "first.run").open() as file:
        given = pytrec_eval.parse_run(file)
    with (tmp_path / "after.run").open() as file:
        reranked = pytrec_eval.parse_run(file)
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10", "recall_5"})
    first, second = evaluator.evaluate(given), evaluator.evaluate(reranked)
    assert "q8" in qrels and "q8" not in given  # counts as 0
    for truth, result in ((first, before), (second, after)):
        expected = sum(row["ndcg_cut_10"] for row in truth.values()) / 9
        assert result["metrics"]["nDCG@10"]["value"] == pytest.approx(expected, abs=1e-6)
    ceiling = sum(row["recall_5"] for row in first.values()) / 9
    assert after["setting"]["first_stage_recall"] == pytest.approx(ceiling, abs=1e-6)
    # the first five in another order, the rest as they were
    for query, hits in given.items():
        old = sorted(hits, key=lambda name: (hits[name], name), reverse=True)
        new = sorted(reranked[query], key=lambda name: (reranked[query][name], name), reverse=True)
        assert set(new[:5]) == set(old[:5])
        assert new[5:] == old[5:]
    shown = run(*command[:-1])
    assert "the ceiling of what reranking can reach" in shown.out


def test_an_index_of_our_own_brings_candidates(run, beir: Path, tiny_model: Path, tmp_path: Path) -> None:
    assert run("build", beir, "--index", tmp_path / "ix", "--model", tiny_model).code == 0
    outcome = run("evaluate", "rerank", beir, "--index", tmp_path / "ix", "--model", tiny_model, "-k", 10, "--json")
    before, after = json.loads(outcome.out)["results"]
    # the same model orders them as the index did
    assert after["metrics"]["nDCG@10"]["value"] == pytest.approx(before["metrics"]["nDCG@10"]["value"], abs=0.02)


def test_a_folder_can_name_its_own_candidates(run, beir: Path, tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(beir, tmp_path / "own")
    (folder / "top_ranked").mkdir()
    lines = [{"query-id": f"q{i}", "corpus-ids": [f"d{d}" for d in range(i, i + 9)]} for i in range(9)]
    (folder / "top_ranked" / "test.jsonl").write_text("\n".join(map(json.dumps, lines)))
    outcome = run("evaluate", "rerank", folder, "--model", tiny_model, "--json")
    [result] = json.loads(outcome.out)["results"]
    assert result["setting"]["candidates"] == 9


def test_judged_documents_that_are_not_there_are_said_and_refused(
    run, beir: Path, tiny_model: Path, tmp_path: Path
) -> None:
    import shutil

    folder = shutil.copytree(beir, tmp_path / "holes")
    command = ("evaluate", "rerank", folder, "--model", tiny_model, "--top-ranked", beir / "first.run")
    with (folder / "qrels" / "test.tsv").open("a") as file:
        file.write("q0\tgone\t1\n")
    outcome = run(*command)
    assert outcome.code == 0 and "judged documents are not in the corpus" in outcome.out
    with (folder / "qrels" / "test.tsv").open("a") as file:
        file.writelines(f"q1\tgone{number}\t1\n" for number in range(9))
    outcome = run(*command)
    assert outcome.code == 2 and "(such as 'gone') are not in" in outcome.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"query": "a", "positive": ["b"], "negative": "c"', "test.jsonl:1: not JSON"),
        ('{"positive": ["b"], "negative": ["c"]}', "test.jsonl:1: found no text under 'query'"),
        ('{"query": "a", "positive": [1], "negative": ["c"]}', "'positive' is no list of texts"),
        ('{"query": "a", "positive": ["b"], "negative": []}', "none with both positive and negative"),
    ],
)
def test_bad_lists_are_one_line(run, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "test.jsonl").write_text(text)
    outcome = run("evaluate", "rerank", tmp_path)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert words in outcome.err


def test_other_bad_input_is_one_line(run, beir: Path, lists: Path, tmp_path: Path) -> None:
    (tmp_path / "alien.run").write_text("".join(f"q{i} Q0 x{i} 1 0.5 t\n" for i in range(9)))
    for arguments, words in (
        ((beir,), "names no candidates"),
        ((beir, "--top-ranked", tmp_path / "alien.run"), "are not in"),
        ((lists, "--split", "test"), "found the splits dev, train, expected 'test'"),
        ((tmp_path / "absent",), "found nothing"),
        ((lists, "--top-ranked", beir / "first.run"), "lists its own candidates"),
        ((beir, lists, "--top-ranked", beir / "first.run"), "one collection"),
    ):
        outcome = run("evaluate", "rerank", *arguments)
        assert outcome.code == 2
        assert len(outcome.err.splitlines()) == 1
        assert words in outcome.err
