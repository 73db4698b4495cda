"""Documents that are the query, documents that repeat another, and documents that are judged but not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TEXTS = {
    "d1": "bees fly and make honey",
    "d2": "the quick brown fox",
    "d3": "bees fly and make honey",  # the text of d1
    "q1": "bees fly and make honey in hives",  # the first query itself
    "q2": "a lazy dog",  # the second query's id, another text
    "d4": "how to measure a search engine",
}


def write(folder: Path, qrels: list[str], name: str = "mine") -> Path:
    root = folder / name
    (root / "qrels").mkdir(parents=True)
    (root / "corpus.jsonl").write_text("\n".join(json.dumps({"_id": i, "text": t}) for i, t in TEXTS.items()))
    queries = {"q1": TEXTS["q1"], "q2": "the quick brown fox jumps", "q3": "nothing else"}
    (root / "queries.jsonl").write_text("\n".join(json.dumps({"_id": i, "text": t}) for i, t in queries.items()))
    (root / "qrels" / "test.tsv").write_text("".join(f"{line}\n" for line in qrels))
    return root


JUDGED = ["q1\td1\t2", "q1\td3\t1", "q2\td2\t1", "q3\td4\t1"]


def evaluate(run, folder: Path, tiny_model: Path, *options: object) -> tuple[dict, str, Path]:
    place = folder.parent / "out.run"
    outcome = run("evaluate", "retrieval", folder, "--model", tiny_model, "--json", "--run", place, *options)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)["results"][0], outcome.out, place


def found(place: Path, query: str) -> list[str]:
    return [line.split()[2] for line in place.read_text().splitlines() if line.startswith(f"{query} ")]


def test_the_query_itself_is_left_out_and_another_text_of_its_id_is_not(run, tmp_path: Path, tiny_model: Path) -> None:
    folder = write(tmp_path, JUDGED)
    result, _, place = evaluate(run, folder, tiny_model)
    assert result["setting"]["self_documents"] == {"rule": "auto", "same_id": 2, "dropped": 1}
    assert sorted(found(place, "q1")) == sorted(set(TEXTS) - {"q1"})
    assert "q2" in found(place, "q2")
    shown = run("evaluate", "retrieval", folder, "--model", tiny_model).out
    assert "1 queries are documents themselves; their own document is left out" in shown
    assert "1 queries share their id with a document of another text" in shown
    _, _, place = evaluate(run, folder, tiny_model, "--self-documents", "keep")
    assert found(place, "q1")[0] == "q1"
    _, _, place = evaluate(run, folder, tiny_model, "--self-documents", "drop")
    assert "q2" not in found(place, "q2")


def test_as_many_documents_are_left_as_were_asked_for(run, tmp_path: Path, tiny_model: Path) -> None:
    _, _, place = evaluate(run, write(tmp_path, JUDGED), tiny_model, "--depth", 3)
    assert [len(found(place, query)) for query in ("q1", "q2", "q3")] == [3, 3, 3]


def test_a_relevant_document_of_the_query_s_id_stays(run, tmp_path: Path, tiny_model: Path) -> None:
    result, _, place = evaluate(run, write(tmp_path, [*JUDGED, "q1\tq1\t1"]), tiny_model)
    assert result["setting"]["self_documents"]["dropped"] == 0
    assert found(place, "q1")[0] == "q1"


def test_collections_known_for_it_leave_out_every_document_of_the_query_s_id(run, tmp_path, tiny_model) -> None:
    result, _, place = evaluate(run, write(tmp_path, JUDGED, "ArguAna"), tiny_model)
    assert result["setting"]["self_documents"]["dropped"] == 2
    assert "q2" not in found(place, "q2")


def test_equal_texts_are_counted_and_can_count_as_one(run, tmp_path: Path, tiny_model: Path) -> None:
    folder = write(tmp_path, JUDGED)
    kept, _, place = evaluate(run, folder, tiny_model)
    assert kept["setting"]["duplicates"] == {"rule": "keep", "documents": 1}
    assert {"d1", "d3"} <= set(found(place, "q1"))
    assert "1 documents repeat the text" in run("evaluate", "retrieval", folder, "--model", tiny_model).out
    one, _, place = evaluate(run, folder, tiny_model, "--duplicates", "collapse", "--metric", "NumRel")
    hits = found(place, "q1")
    assert len({"d1", "d3"} & set(hits)) == 1
    # one relevant document of level 2 for q1, and one each for the others
    assert one["metrics"]["NumRel"]["value"] == pytest.approx(1.0)
    collapsed, _, _ = evaluate(run, folder, tiny_model, "--duplicates", "collapse")
    assert collapsed["metrics"]["Recall@100"]["value"] == 1.0


def test_judged_documents_that_are_not_there_are_said_and_many_refused(run, tmp_path: Path, tiny_model: Path) -> None:
    outcome = run("evaluate", "retrieval", write(tmp_path, [*JUDGED, "q1\tgone\t1"]), "--model", tiny_model)
    assert outcome.code == 2
    assert "1 of 5 judged documents (such as 'gone') are not in the index, expected at most 5%" in outcome.err


def test_unknown_rules_are_one_line(run, tmp_path: Path, tiny_model: Path) -> None:
    folder = write(tmp_path, JUDGED)
    for option in ("--self-documents", "--duplicates"):
        outcome = run("evaluate", "retrieval", folder, "--model", tiny_model, option, "never")
        assert outcome.code == 2
        assert "is 'never', expected one of" in outcome.err
