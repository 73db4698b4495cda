"""What is built in Python beside what the command builds of the same documents."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import searchapp
from searchapp.search import Index
from tests.search.test_python import ROWS, contents


def test_the_command_makes_the_same_of_a_parquet_file(tmp_path: Path, tiny_model: Path, run) -> None:
    frame = pd.DataFrame(ROWS).assign(day=pd.Timestamp("2026-01-02"), part=[None, 1.5] * 10)
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "rows.parquet")
    assert run("build", tmp_path / "rows.parquet", "--index", tmp_path / "one", "--model", tiny_model).code == 0
    made = searchapp.build(frame, tmp_path / "two", model=str(tiny_model), progress=False)
    assert contents(made) == contents(Index.open(tmp_path / "one"))
    assert made.documents(["d3"])[0].metadata["day"].startswith("2026-01-02")


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
