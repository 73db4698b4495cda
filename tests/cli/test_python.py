"""What is built in Python beside what the command builds of the same documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import searchapp
from searchapp.index.history import read
from searchapp.search import Index
from tests.search.test_python import ROWS, contents

FRAME = pd.DataFrame(ROWS)


def _jsonl(place: Path) -> tuple[Path, Any]:
    rows = [{**row, "tags": ["a", None], "deep": {"x": number}} for number, row in enumerate(ROWS)]
    (place / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return place / "rows.jsonl", rows


def _csv(place: Path) -> tuple[Path, Any]:
    FRAME.assign(score=[0.5, -1.25] * 10).to_csv(place / "rows.csv", index=False)
    return place / "rows.csv", pd.read_csv(place / "rows.csv")


def _parquet(place: Path) -> tuple[Path, Any]:
    frame = FRAME.assign(day=pd.Timestamp("2026-01-02"), part=[None, 1.5] * 10)
    table = pa.Table.from_pandas(frame)
    pq.write_table(table, place / "rows.parquet")
    return place / "rows.parquet", table


def _frame(place: Path) -> tuple[Path, Any]:
    return _parquet(place)[0], FRAME.assign(day=pd.Timestamp("2026-01-02"), part=[None, 1.5] * 10)


def _folder(place: Path) -> tuple[Path, Any]:
    (place / "notes" / "deep").mkdir(parents=True)
    (place / "notes" / "bees.md").write_text("# Bees\n\nThey make honey.\n\n## Wax\n\nOf which combs are.\n")
    (place / "notes" / "deep" / "ants.txt").write_text("Ants dig tunnels.\n")
    return place / "notes", str(place / "notes")


@pytest.mark.parametrize("form", [_jsonl, _csv, _parquet, _frame, _folder])
def test_python_makes_what_the_command_makes_of_the_same_documents(
    form: Callable[[Path], tuple[Path, Any]], tmp_path: Path, tiny_model: Path, run
) -> None:
    source, documents = form(tmp_path)
    said = run(
        "build", source, "--index", tmp_path / "one", "--model", tiny_model, "--pca", "2", "--language", "german"
    )
    assert said.code == 0, said.err
    made = searchapp.build(documents, tmp_path / "two", model=str(tiny_model), pca=2, language="german", progress=False)
    assert contents(made) == contents(Index.open(tmp_path / "one")) and len(made) > 2
    one, two = ([event.facts["encoded"] for event in read(tmp_path / name)] for name in ("one", "two"))
    assert one == two == [len(made)]

    gone = next(iter(made)).id
    assert made.delete([gone]).deleted == 1 and run("delete", tmp_path / "one", "--id", gone).code == 0
    made.compact(progress=False)
    assert run("compact", tmp_path / "one").code == 0
    assert contents(made) == contents(Index.open(tmp_path / "one"))
    made.add(documents, progress=False)
    assert run("add", tmp_path / "one", source).code == 0
    assert contents(made) == contents(Index.open(tmp_path / "one")) and gone in made


def test_an_index_of_another_model_and_a_dry_run_are_told_as_they_were(tmp_path: Path, tiny_model: Path, run) -> None:
    path = tmp_path / "x"
    source, rows = _jsonl(tmp_path)
    made = searchapp.build(rows, path, model=str(tiny_model), progress=False)
    (path / "history.jsonl").unlink()
    assert made.add(["bees"], dry_run=True, progress=False).added == 1 and read(path) == []
    assert run("add", path, source, "--dry-run").code == 0 and read(path) == []
    assert run("reembed", path, "--model", "bundled", "--out", tmp_path / "y").code == 0
    [event] = read(tmp_path / "y")
    assert (event.what, event.facts["encoded"], event.facts["documents"]) == ("reembed", 20, 20) and read(path) == []


def test_what_the_commands_say_of_vectors_that_came_with_their_documents(tmp_path: Path, run) -> None:
    path = tmp_path / "x"
    searchapp.build({"a": "bees make honey", "b": "ants dig"}, path, vectors=[[1, 0], [0, 1]], progress=False)
    said = run("info", path)
    assert said.code == 0 and "vectors given with the documents" in said.out and "no model" in said.out
    assert "1073741824" not in said.out
    said = run("search", path, "honey")
    assert said.code == 0 and "bees make honey" in said.out
    said = run("search", path, "honey", "--mode", "dense")
    assert said.code == 2 and "no model embeds a query" in said.err
    (tmp_path / "more.jsonl").write_text('{"_id": "c", "text": "no vector"}\n')
    said = run("add", path, tmp_path / "more.jsonl")
    assert said.code == 0 and "1 no vector" in said.out
    said = run("verify", path)
    assert said.code == 0


def test_queries_of_a_file_become_a_run(tmp_path: Path, run) -> None:
    path, out = tmp_path / "x", tmp_path / "out.run"
    texts = {"a": "bees make honey", "b": "ants dig tunnels"}
    searchapp.build(texts, path, vectors=[[1, 0], [0, 1]], progress=False)
    (tmp_path / "q.txt").write_text("honny of bees\n\ntunnels\n")
    said = run("search", path, "--queries", tmp_path / "q.txt", "--run", out)
    assert said.code == 0 and "notice: query 1: searched for 'honey'" in said.err and not said.out
    lines = [line.split() for line in out.read_text().splitlines()]
    assert [(line[0], line[2], line[3]) for line in lines] == [("1", "a", "1"), ("2", "b", "1")]
    (tmp_path / "q.jsonl").write_text('{"_id": "q7", "text": "tunnels"}\n')
    assert run("search", path, "--queries", tmp_path / "q.jsonl", "--run", out).code == 0
    assert out.read_text().split()[:3] == ["q7", "Q0", "b"]
    said = run("search", path, "honny", "--literal")
    assert "searched for" not in said.err and "bees" not in said.out
    said = run("search", path, "honey", "--queries", tmp_path / "q.txt")
    assert said.code == 2 and "leave out 'honey'" in said.err
    said = run("search", path, "--queries", tmp_path / "none.txt")
    assert said.code == 2 and "none.txt" in said.err


def test_what_was_done_is_told(tmp_path: Path, run) -> None:
    path = tmp_path / "x"
    texts = {"a": "bees make honey", "b": "ants dig tunnels", "c": "wasps"}
    index = searchapp.build(texts, path, vectors=[[1, 0], [0, 1], [1, 1]], progress=False)
    searchapp.build(texts, path, vectors=[[1, 0], [0, 1], [1, 1]], progress=False)  # which does nothing
    index.add({"d": "a spider"}, vectors=[[1, 2]])
    assert run("delete", path, "--id", "a").code == 0 and run("compact", path).code == 0
    said = run("info", path, "--history", "--json")
    events = [json.loads(line) for line in said.out.splitlines()]
    assert [event["what"] for event in events] == ["build", "add", "delete", "compact"]
    assert [event["documents"] for event in events] == [3, 4, 3, 3]
    assert events[1]["added"] == 1 and events[2]["deleted"] == 1 and events[0]["seconds"] > 0
    assert all(event["versions"]["searchapp"] for event in events)
    assert [line.split()[1] for line in run("info", path, "--history").out.splitlines()] == [
        "build", "add", "delete", "compact"
    ]  # fmt: skip
    (path / "history.jsonl").write_text("no json\n")
    assert run("info", path, "--history").code == 2 and run("verify", path).code == 0


def test_a_log_of_queries_becomes_a_collection(tmp_path: Path, run, tiny_model: Path) -> None:
    path, log = tmp_path / "x", tmp_path / "queries.log"
    texts = {name: f"{word} make honey in the {name}" for name, word in zip("abcdef", ["bees"] * 6, strict=True)}
    searchapp.build(texts, path, model=str(tiny_model), progress=False)
    assert run("search", path, "bees and honey", "--log", log, "--mode", "bm25", "-k", 2).code == 0
    assert run("search", path, "honey", "bees and honey", "--log", log, "--mode", "bm25").code == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["query"] for line in lines] == ["bees and honey", "honey", "bees and honey"]
    assert len(lines[0]["hits"]) == 2 and lines[0]["mode"] == "bm25" and lines[0]["milliseconds"] >= 0
    said = run("evaluate", "init", tmp_path / "mine", path, "--queries", log)
    assert said.code == 0, said.err
    asked = [json.loads(line)["text"] for line in (tmp_path / "mine" / "queries.jsonl").read_text().splitlines()]
    assert asked == ["bees and honey", "honey"]
    said = run("search", path, "honey", "--mode", "bm25", "--log", tmp_path / "no" / "log")
    assert said.code == 2 and "cannot be written" in said.err
