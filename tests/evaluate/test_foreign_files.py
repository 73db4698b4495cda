"""Judgements, runs and queries as other programs write them: read as trec_eval reads them, or refused with the line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.errors import EvaluationError
from searchapp.evaluate.collection import read_qrels, read_query_texts
from searchapp.evaluate.run import read_run


@pytest.mark.parametrize(
    "text",
    [
        "q 0 d 1\nq 0 e 0\n",
        "q\t0\td\t1\nq\t0\te\t0\n",
        "q  0   d 1 \n\nq 0\te  0\n",
        "query-id\tcorpus-id\tscore\nq\td\t1\nq\te\t0\n",
        "query_id\titer\tdoc_id\trelevance\nq\t0\td\t1\nq\t0\te\t0\n",
        "qid\tdocid\trel\r\nq\td\t1.0\r\nq\te\t0e0\r\n",
        "q 0 d 1\rq 0 e 0\r",
        "q 0 d 1\nq 0 d 1\nq 0 e 0\n",
    ],
)
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16"])
def test_judgements(tmp_path: Path, text: str, codec: str) -> None:
    (tmp_path / "test.tsv").write_bytes(text.encode(codec))
    assert read_qrels(tmp_path / "test.tsv") == {"q": {"d": 1, "e": 0}}


@pytest.mark.parametrize(
    "text",
    [
        "q 0 d 0.5\n", "q 0 d nan\n", "q 0 d inf\n", "q 0 d 1e30\n", "q 0 d 1_0\n", "q 0 d \u0661\n", "q,d,1\n", "q\td\n",
        "q 0 d 1\nq 0 d 0\n", "q\td\t\n", "q 0 d 1 x\n", "# note\nq 0 d 1\n", "query-id\tcorpus-id\tscore\n",
        "query-id\tcorpus-id\tscore\nq\td\t1\nquery-id\tcorpus-id\tscore\n",
    ],
)  # fmt: skip
def test_judgements_that_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "test.tsv").write_text(text)
    with pytest.raises(EvaluationError, match=r"test\.tsv"):
        read_qrels(tmp_path / "test.tsv")


@given(st.floats(allow_nan=False))
@settings(max_examples=200, deadline=None)
def test_scores_of_a_run_are_those_that_were_written(tmp_path_factory: pytest.TempPathFactory, score: float) -> None:
    path = tmp_path_factory.mktemp("run") / "run"
    path.write_text(f"q Q0 d 1 {score!r} t\nq Q0 e 2 {score:+.3E} t\n")
    assert read_run(path) == {"q": {"d": score, "e": float(f"{score:.3E}")}}


@pytest.mark.parametrize("score", ["1_0", "0,5", "\u0661", "nan", "x", "0x1p3", ""])
def test_scores_that_are_no_numbers_are_refused(tmp_path: Path, score: str) -> None:
    (tmp_path / "run").write_text(f"q Q0 d 1 {score} t\n")
    with pytest.raises(EvaluationError, match="run:1"):
        read_run(tmp_path / "run")


@pytest.mark.parametrize(
    "line",
    [
        '{"_id": "q", "text": "a", "text": "b"}', '{"_id": "q", "_id": "r", "text": "a"}', '{"_id": "q\\n", "text": "a"}',
        '{"_id": "q\\ud800", "text": "a"}', '{"_id": "q", "text": "a\\ud800"}', '{"_id": "q", "text": "a\\u0000"}',
        '{"_id": " q", "text": "a"}', '["q", "a"]', '{"_id": 1.5, "text": "a"}', '{"_id": true, "text": "a"}', "q\ta",
    ],
)  # fmt: skip
def test_queries_that_are_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "ok", "text": "t"}) + "\n" + line + "\n")
    with pytest.raises(EvaluationError, match=r"queries\.jsonl:2"):
        read_query_texts(tmp_path)
