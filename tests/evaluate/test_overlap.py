"""``searchapp evaluate overlap`` on a collection of which known parts are planted in the training data."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

WORDS = [f"w{number}" for number in range(400)]
DOCUMENTS, QUERIES = 12, 6


def words(begin: int, count: int) -> str:
    return " ".join(WORDS[begin : begin + count])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Document i is ``w{30 i} ...``, 30 words; query i the first 14 of document i, which alone is relevant.

    In the training data: query 1 as a whole; 13 words of document 4's text, 12 of document 5's; document 7's title,
    a sentence of 6 words; document 11, which nobody judged, whole.
    """
    root = tmp_path_factory.mktemp("overlap")
    beir = root / "beir"
    (beir / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "title": f"Title of number {WORDS[i]} here.", "text": words(30 * i, 30)}
                 for i in range(DOCUMENTS)]  # fmt: skip
    queries = [{"_id": f"q{i}", "text": f"{WORDS[390 + i]} {words(30 * i, 14)}"} for i in range(QUERIES)]
    (beir / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (beir / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(QUERIES)), "q0\td7\t1", "q0\td8\t0"]
    (beir / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    texts = ["nothing of it", words(30 * 4 + 16, 13) + " x", "y " + words(30 * 5 + 16, 12), words(30 * 11, 30)]
    with gzip.open(root / "text.txt.gz", "wt") as file:
        file.write("\n".join(texts) + "\n")
    pairs = [
        {"query": "no", "positive": ["no"]},
        {"query": "no", "positive": ["no", f"So it is. {queries[1]['text'].upper()}!"], "negative": [documents[7]["title"]]},
    ]  # fmt: skip
    (root / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)) + "\n")
    return root


def test_what_was_planted_is_found_and_nothing_else(run, data: Path) -> None:
    text, pairs = data / "text.txt.gz", data / "pairs.jsonl"
    outcome = run("evaluate", "overlap", data / "beir", "--text", text, "--pairs", pairs, "--json")
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert "cannot be known" in told["unknowable"]
    assert told["training"]["files"] == [str(text), str(pairs)]
    assert told["training"]["texts"] == 4 + 2 + 4
    [found] = told["results"]
    queries, documents = found["queries"], found["documents"]
    # The first 14 words of query 1 are those of document 1 too.
    assert (queries["count"], queries["overlapping_ids"]) == (6, ["q1"])
    assert queries["share"] == queries["share_by_ngram"] == queries["share_by_sentence"] == pytest.approx(1 / 6)
    assert (documents["count"], documents["overlapping_ids"]) == (8, ["d1", "d4", "d7"])
    assert documents["share_by_ngram"] == pytest.approx(2 / 8) and documents["share_by_sentence"] == pytest.approx(
        1 / 8
    )
    [query] = queries["worst"]
    assert (query["covered"], query["words"], query["source"], query["place"]) == (15, 15, str(pairs), 5)
    assert [one["id"] for one in documents["worst"]] == ["d1", "d4", "d7"]
    assert documents["worst"][1]["passage"] == words(30 * 4 + 16, 13)
    assert (documents["worst"][1]["source"], documents["worst"][1]["place"]) == (str(text), 2)
    assert found["scores"] == []


def test_scores_without_what_overlaps_are_those_of_the_rest(run, data: Path, tiny_model: Path, tmp_path: Path) -> None:
    files = ["--text", data / "text.txt.gz", "--pairs", data / "pairs.jsonl"]
    common = ["--metric", "nDCG@3", "--json"]
    outcome = run("evaluate", "overlap", data / "beir", *files, "--model", tiny_model, *common)
    assert outcome.code == 0, outcome.err
    [found] = json.loads(outcome.out)["results"]
    each = tmp_path / "each.jsonl"
    trec = tmp_path / "all.trec"
    more = ["--per-query", each, "--run", trec, "--pca", 0, "--factory", "Flat", "--mode", "dense"]
    assert run("evaluate", "retrieval", data / "beir", "--model", tiny_model, *more, *common).code == 0
    values = {row["query_id"]: row["metrics"]["nDCG@3"] for row in map(json.loads, each.read_text().splitlines())}
    by_name = {one["without"]: one for one in found["scores"]}
    assert {name: (one["dropped"], one["queries"]) for name, one in by_name.items()} == {
        "nothing": (0, 6),
        "overlapping queries": (1, 5),
        "overlapping documents": (3, 4),  # those of q1 and q4 were their only relevant ones
        "both": (4, 4),
    }
    means = {name: one["metrics"]["nDCG@3"]["value"] for name, one in by_name.items()}
    assert means["nothing"] == pytest.approx(sum(values.values()) / 6)
    assert means["overlapping queries"] == pytest.approx(sum(v for q, v in values.items() if q != "q1") / 5)
    import pytrec_eval

    ranked: dict[str, dict[str, float]] = {}
    for query, _, document, _, points, _ in map(str.split, trec.read_text().splitlines()):
        if query not in ("q1", "q4") and document not in ("d1", "d4", "d7"):
            ranked.setdefault(query, {})[document] = float(points)
    qrels = {"q0": {"d0": 1, "d8": 0}, "q2": {"d2": 1}, "q3": {"d3": 1}, "q5": {"d5": 1}}
    truth = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.3"}).evaluate(ranked)
    expected = sum(row["ndcg_cut_3"] for row in truth.values()) / 4
    assert means["overlapping documents"] == means["both"] == pytest.approx(expected)


def test_an_index_is_scored_too_and_the_table_says_what_cannot_be_known(
    run, data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    assert run("build", data / "beir", "--index", tmp_path / "ix", "--model", tiny_model).code == 0
    files = ["--text", data / "text.txt.gz", "--pairs", data / "pairs.jsonl"]
    outcome = run("evaluate", "overlap", data / "beir", *files, "--index", tmp_path / "ix")
    assert outcome.code == 0, outcome.err
    for said in ("cannot be known", "13 words", "MB a second", "16.7%", "overlapping documents", "nDCG@10", "d4"):
        assert said in outcome.out


@pytest.mark.parametrize(
    "options, said",
    [
        ([], "no training data was given; give --text FILE, --pairs FILE, or both"),
        (["--text", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--pairs", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--text", "{root}/pairs.jsonl"], "pairs.jsonl: line 1: `text` is null; expected a string"),
        (["--text", "{root}/text.txt.gz", "--index", "ix", "--model", "m"], "--index was built with a model"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(run, data: Path, options: list[str], said: str) -> None:
    outcome = run("evaluate", "overlap", data / "beir", *(option.format(root=data) for option in options))
    assert outcome.code == 2 and said in " ".join(outcome.err.split()), outcome.err
