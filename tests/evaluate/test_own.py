"""A test collection of one's own: drawn, judged, stopped, taken up again, measured."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import pytest

from searchapp import Encoder
from searchapp.evaluate import load_collection
from searchapp.evaluate.judging import Judging
from searchapp.index import build


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    root = tmp_path_factory.mktemp("own")
    documents = [
        {"_id": f"d{i}", "title": f"a title of number {i}", "text": f"bees number {i} fly", "year": 2000 + i}
        for i in range(30)
    ]
    documents.append({"_id": "short", "title": "two words", "text": "is no query"})
    (root / "docs.jsonl").write_text("\n".join(map(json.dumps, documents)))
    build([str(root / "docs.jsonl")], root / "ix", Encoder.load(str(tiny_model)))
    return root / "ix"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch):
    def give(*lines: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    return give


def test_titles_make_known_item_queries_labelled_as_such(run, index: Path, tmp_path: Path) -> None:
    outcome = run("evaluate", "init", tmp_path / "own", index, "--known-item", 5, "--documents", 20, "--pool", 2)
    assert outcome.code == 0, outcome.err
    assert "a first estimate" in outcome.out
    collection = load_collection(tmp_path / "own")
    assert collection.split == "known-item"
    assert len(collection.queries) == 5
    documents = [json.loads(line) for line in collection.corpus.read_text().splitlines()]
    titles = {one["_id"]: one["title"] for one in documents}
    assert len(documents) == 20
    assert all("year" in one for one in documents if one["_id"] != "short")
    for query in collection.queries:
        [answer] = collection.qrels[query.id]
        assert titles[answer] == query.text
    assert "first estimate" in (tmp_path / "own" / "README.md").read_text()
    result = json.loads(run("evaluate", "retrieval", tmp_path / "own", "--index", index, "--json").out)["results"][0]
    assert result["setting"]["split"] == "known-item"
    again = run("evaluate", "init", tmp_path / "own", index)
    assert again.code == 2
    assert "holds corpus.jsonl already" in again.err


def test_own_queries_are_judged_stopped_taken_back_and_taken_up(
    run, answers, index: Path, tmp_path: Path, tiny_model: Path
) -> None:
    (tmp_path / "q.txt").write_text("how do bees fly\nwhat has number 7\n")
    folder = tmp_path / "my own"
    assert run("evaluate", "init", folder, index, "--queries", tmp_path / "q.txt", "--pool", 3).code == 0
    pairs = Judging.open(folder).pairs
    assert {query for query, _ in pairs} == {"q1", "q2"}
    answers("2", "nonsense", "0", "u", "1", "s", "q")
    outcome = run("evaluate", "judge", folder)
    assert outcome.code == 0, outcome.err
    assert f"2 judged, {len(pairs) - 2} left" in outcome.out
    qrels = folder / "qrels" / "test.tsv"
    expected = [f"{query}\t{document}\t{level}" for (query, document), level in zip(pairs, (2, 1), strict=False)]
    assert qrels.read_text().splitlines() == ["query-id\tcorpus-id\tscore", *expected]
    # the next session goes on with the one that was skipped; the input ends before the pool does
    answers("0")
    assert run("evaluate", "judge", folder).code == 0
    assert qrels.read_text().splitlines()[-1] == f"{pairs[2][0]}\t{pairs[2][1]}\t0"
    answers(*["1"] * len(pairs))
    assert f"{len(pairs)} judged, 0 left" in run("evaluate", "judge", folder).out
    answers("q")
    [command] = [line for line in run("evaluate", "judge", folder).out.splitlines() if line.startswith("measure it:")]
    program, *arguments = shlex.split(command.removeprefix("measure it:"))
    assert program == "searchapp"
    outcome = run(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    setting = json.loads(outcome.out)["results"][0]["setting"]
    assert setting["split"] == "test"
    assert setting["model"] == str(tiny_model), "the model that was judged, not the bundled one"


def test_undo_of_the_only_judgement_leaves_no_empty_file(run, answers, index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    run("evaluate", "init", folder, index, "--known-item", 2)
    answers("2", "u", "u")
    outcome = run("evaluate", "judge", folder)
    assert outcome.code == 0
    assert "there is nothing to take back" in outcome.err
    assert not (folder / "qrels" / "test.tsv").exists()
    assert load_collection(folder).split == "known-item"


def test_bad_input_is_one_line(run, index: Path, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "no-id.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "untitled.jsonl").write_text('{"_id": "a", "text": "b"}\n')
    build([str(tmp_path / "untitled.jsonl")], tmp_path / "ix", Encoder.load(str(tiny_model)))
    for arguments, words in (
        (("init", tmp_path / "o", index, "--queries", tmp_path / "empty.txt"), "found no query"),
        (("init", tmp_path / "o", index, "--queries", tmp_path / "no-id.jsonl"), "no-id.jsonl:1: query has no id"),
        (("init", tmp_path / "o", tmp_path / "ix"), "holds no document with a title"),
        (("judge", tmp_path), "found no pool.jsonl"),
    ):
        outcome = run("evaluate", *arguments)
        assert outcome.code == 2
        assert len(outcome.err.splitlines()) == 1
        assert words in outcome.err
