"""Comparisons of runs, by the program, against numbers worked out apart from it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval

from searchapp.evaluate.run import write_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three runs over 30 queries with 20 documents each, of which the judgements know 6."""
    rng = random.Random(7)
    lines = ["query-id\tcorpus-id\tscore"]
    runs: dict[str, dict[str, list[tuple[str, float]]]] = {"a": {}, "b": {}, "c": {}}
    for query in range(30):
        relevant = rng.sample(range(20), 6)
        lines += [f"q{query}\td{document}\t{rng.randint(0, 2)}" for document in relevant]
        for name, noise in (("a", 1.0), ("b", 0.4), ("c", 0.9)):
            runs[name][f"q{query}"] = [
                (f"d{document}", (document in relevant) + rng.gauss(0, noise)) for document in range(20)
            ]
    (tmp_path / "qrels.tsv").write_text("\n".join(lines) + "\n")
    queries = [{"_id": f"q{query}", "text": f"question number {query}"} for query in range(30)]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    for name, run in runs.items():
        write_run(tmp_path / f"{name}.run", run, name)
    return tmp_path


def qrels_of(path: Path) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for line in path.read_text().splitlines()[1:]:
        query, document, level = line.split("\t")
        found.setdefault(query, {})[document] = int(level)
    return found


def values_of(path: Path, qrels: dict[str, dict[str, int]]) -> dict[str, float]:
    with path.open() as file:
        run = pytrec_eval.parse_run(file)
    scores = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10"}).evaluate(run)
    return {query: scores[query]["ndcg_cut_10"] for query in qrels}


def test_differences_equal_pytrec_eval_s(run, folder: Path) -> None:
    outcome = run("evaluate", "compare", folder / "a.run", folder / "b.run", "--qrels", folder / "qrels.tsv", "--json",
                  "--queries", folder / "queries.jsonl", "--most", 3)  # fmt: skip
    assert outcome.code == 0, outcome.err
    content = json.loads(outcome.out)
    [result] = content["results"]
    qrels = qrels_of(folder / "qrels.tsv")
    first, second = (values_of(folder / f"{name}.run", qrels) for name in "ab")
    differences = np.array([second[query] - first[query] for query in qrels])
    found = result["metrics"]["nDCG@10"]
    assert found["value"] == pytest.approx(differences.mean(), abs=1e-6)
    assert found["low"] <= found["value"] <= found["high"]
    assert (found["wins"], found["losses"]) == ((differences > 1e-9).sum(), (differences < -1e-9).sum())
    assert found["wins"] + found["ties"] + found["losses"] == 30
    assert 0 < found["p"] < 0.05
    assert found["p_holm"] == found["p"]
    assert result["metrics"].keys() == content["runs"][0]["metrics"].keys()
    assert "Unjudged@10" in result["metrics"]
    furthest = max(qrels, key=lambda query: abs(second[query] - first[query]))
    assert len(result["moved"]) == 3
    assert result["moved"][0]["query_id"] == furthest
    assert result["moved"][0]["query"] == f"question number {furthest[1:]}"


def test_three_runs_are_compared_in_pairs_with_holm(run, folder: Path) -> None:
    files = [folder / f"{name}.run" for name in "abc"]
    outcome = run("evaluate", "compare", *files, "--qrels", folder / "qrels.tsv", "--json", "--metric", "MAP")
    results = json.loads(outcome.out)["results"]
    assert [(one["setting"]["run_a"], one["setting"]["run_b"]) for one in results] == [
        ("a", "b"), ("a", "c"), ("b", "c"),
    ]  # fmt: skip
    raw = [one["metrics"]["MAP"]["p"] for one in results]
    corrected = [one["metrics"]["MAP"]["p_holm"] for one in results]
    assert min(corrected) == pytest.approx(min(1.0, 3 * min(raw)))
    assert all(after >= before for before, after in zip(raw, corrected, strict=True))
    shown = run("evaluate", "compare", *files, "--qrels", folder / "qrels.tsv")
    assert "p (Holm)" in shown.out
    assert "Unjudged@10" in shown.out


def test_a_run_against_itself_is_all_ties(run, folder: Path) -> None:
    (folder / "same.run").write_bytes((folder / "a.run").read_bytes())
    outcome = run("evaluate", "compare", folder / "a.run", folder / "same.run", "--qrels", folder / "qrels.tsv",
                  "--json")  # fmt: skip
    for found in json.loads(outcome.out)["results"][0]["metrics"].values():
        assert (found["value"], found["p"], found["ties"]) == (0.0, 1.0, 30)


def drop(path: Path, query: str) -> None:
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith(f"{query} ")))


def test_other_queries_are_refused_unless_intersected(run, folder: Path) -> None:
    drop(folder / "b.run", "q3")
    command = ("evaluate", "compare", folder / "a.run", folder / "b.run", "--qrels", folder / "qrels.tsv")
    outcome = run(*command)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    for words in ("different queries", "b lacks 'q3'", "--intersect", "29"):
        assert words in outcome.err
    outcome = run(*command, "--intersect", "--json")
    assert outcome.code == 0
    assert "a: 1 queries that another run lacks were dropped" in outcome.err
    content = json.loads(outcome.out)
    assert content["results"][0]["setting"]["queries"] == 29
    qrels = {query: levels for query, levels in qrels_of(folder / "qrels.tsv").items() if query != "q3"}
    first, second = (values_of(folder / f"{name}.run", qrels) for name in "ab")
    expected = np.mean([second[query] - first[query] for query in qrels])
    assert content["results"][0]["metrics"]["nDCG@10"]["value"] == pytest.approx(expected, abs=1e-6)


def test_a_query_that_no_run_answers_counts_zero_in_both(run, folder: Path) -> None:
    drop(folder / "a.run", "q3")
    drop(folder / "b.run", "q3")
    command = ("evaluate", "compare", folder / "a.run", folder / "b.run", "--qrels", folder / "qrels.tsv", "--json")
    outcome = run(*command)
    assert "1 judged queries are in no run and count as 0" in outcome.err
    assert json.loads(outcome.out)["results"][0]["setting"]["queries"] == 30
    assert json.loads(run(*command, "--intersect").out)["results"][0]["setting"]["queries"] == 29


def test_other_pools_are_refused_unless_intersected(run, folder: Path) -> None:
    lines = (folder / "qrels.tsv").read_text().splitlines(True)
    (folder / "less.tsv").write_text("".join(lines[:-10]))
    command = ("evaluate", "compare", folder / "a.run", folder / "b.run", "--qrels", folder / "qrels.tsv", "--qrels",
               folder / "less.tsv")  # fmt: skip
    outcome = run(*command)
    assert outcome.code == 2
    assert "judged pools differ: 10 of 180" in outcome.err
    outcome = run(*command, "--intersect", "--json")
    assert "10 of 180 judgements" in outcome.err
    alone = run("evaluate", "compare", folder / "a.run", folder / "b.run", "--qrels", folder / "less.tsv", "--json",
                "--intersect")  # fmt: skip
    assert json.loads(outcome.out)["results"][0]["metrics"] == json.loads(alone.out)["results"][0]["metrics"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "b.run").write_text("q0 Q0 d1 1 0.5\n"), "b.run:1: found 5 columns"),
        (lambda folder: (folder / "b.run").write_text("q0 Q0 d1 1 nan t\n"), "b.run:1: score is 'nan'"),
        (lambda folder: (folder / "b.run").write_text("other Q0 d1 1 0.5 t\n"), "no judged query is answered by all"),
        (
            lambda folder: (folder / "queries.jsonl").write_text('{"text": "no id"}\n'),
            "queries.jsonl:1: query has no id",
        ),
        (lambda folder: (folder / "qrels.tsv").write_text("q0\td1\tx\n"), "qrels.tsv:1"),
        (
            lambda folder: (folder / "b.run").write_text(
                "".join(f"q{query} Q0 elsewhere{query} 1 0.5 t\n" for query in range(30))
            ),
            "b holds none of the documents judged",
        ),
    ],
)
def test_bad_files_are_one_line(run, folder: Path, change, words: str) -> None:
    change(folder)
    outcome = run("evaluate", "compare", folder / "a.run", folder / "b.run", "--qrels", folder / "qrels.tsv",
                  "--queries", folder / "queries.jsonl")  # fmt: skip
    assert outcome.code == 2
    assert not outcome.out
    assert len(outcome.err.splitlines()) == 1
    assert words in outcome.err


def test_one_run_and_one_run_twice_are_refused(run, folder: Path) -> None:
    alone = run("evaluate", "compare", folder / "a.run", "--qrels", folder / "qrels.tsv")
    twice = run("evaluate", "compare", folder / "a.run", folder / "a.run", "--qrels", folder / "qrels.tsv")
    assert (alone.code, twice.code) == (2, 2)
    assert "expected at least two" in alone.err
    assert "given twice" in twice.err
