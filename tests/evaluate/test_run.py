from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.errors import EvaluationError
from searchapp.evaluate import ranking, read_run, run, write_run

ids = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=6)
scores = st.one_of(
    st.floats(allow_nan=False),
    st.floats(width=32, allow_nan=False),
    st.sampled_from([0.5, 0.5 + 1e-9, np.nextafter(np.float32(0.5), np.float32(1)).item(), 0.0, -0.0]),
)
runs = st.dictionaries(ids, st.dictionaries(ids, scores, min_size=1, max_size=12), max_size=4)


def single(values: list[float]) -> list[float]:
    with np.errstate(over="ignore"):
        return np.array(values, np.float64).astype(np.float32).tolist()


@given(runs, st.sampled_from(["run", "run.gz"]))
@settings(max_examples=100, deadline=None)
def test_round_trip_keeps_every_float32_and_the_order(tmp_path_factory, wanted: dict, name: str):
    path = tmp_path_factory.getbasetemp() / name
    write_run(path, {query: list(hits.items()) for query, hits in wanted.items()}, "tag")
    found = read_run(path)
    assert found.keys() == wanted.keys()
    for query, hits in wanted.items():
        assert found[query].keys() == hits.keys()
        assert single([found[query][d] for d in hits]) == single(list(hits.values()))
        assert list(found[query]) == ranking(query, found[query])[0] == ranking(query, hits)[0]


@given(st.dictionaries(ids, scores, min_size=1, max_size=12), st.data())
@settings(max_examples=100, deadline=None)
def test_ranking_is_that_of_trec_eval(hits: dict, data: st.DataObject):
    # With one relevant document, the reciprocal rank tells where trec_eval put it.
    document = data.draw(st.sampled_from(sorted(hits)))
    judge = pytrec_eval.RelevanceEvaluator({"q": {document: 1}}, ["recip_rank"])
    rank = 1 / judge.evaluate({"q": hits})["q"]["recip_rank"]
    assert ranking("q", hits)[0].index(document) + 1 == round(rank)


def test_lines_by_eye(tmp_path: Path):
    write_run(tmp_path / "a.run", {"q1": [("b", 0.1), ("c", 2), ("a", 0.1)], "q2": [], "q3": [("é", -1e-30)]}, "mine")
    assert (tmp_path / "a.run").read_text(encoding="utf-8").splitlines() == [
        "q1 Q0 c 1 2 mine",
        "q1 Q0 b 2 0.100000001 mine",
        "q1 Q0 a 3 0.100000001 mine",
        "q3 Q0 é 1 -1e-30 mine",
    ]
    with (tmp_path / "a.run").open(encoding="utf-8") as lines:
        assert pytrec_eval.parse_run(lines) == read_run(tmp_path / "a.run")


def test_gzip_is_told_by_content(tmp_path: Path):
    write_run(tmp_path / "a.run.gz", {"q": [("d", 1.0)]}, "t")
    assert gzip.decompress((tmp_path / "a.run.gz").read_bytes()) == b"q Q0 d 1 1 t\n"
    (tmp_path / "misnamed.run").write_bytes((tmp_path / "a.run.gz").read_bytes())
    assert read_run(tmp_path / "misnamed.run") == {"q": {"d": 1.0}}


def test_reads_what_others_write(tmp_path: Path):
    file = tmp_path / "other.run"
    file.write_bytes("\ufeffq1\tQ0\tdoc\u00a01\t0\t1e-3\tx\r\n\n  q1 Q0  doc\u00852 9 -inf x\n".encode())
    assert read_run(file) == {"q1": {"doc\u00a01": 1e-3, "doc\u00852": float("-inf")}}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"q Q0 d 1 2.0", "found 5 columns, expected the six"),
        (b"q Q0 d 1 2.0 my tag", "found 7 columns"),
        (b"q Q0 d 1 nan t", "score is 'nan', expected a number"),
        (b"q Q0 d 1 high t", "score is 'high', expected a number"),
        (b"q Q0 first 2 0.5 t", "'first' stands a second time under query 'q'"),
        (b"q Q0 \xff 1 2.0 t", "not UTF-8"),
    ],
)
def test_malformed_line_is_named(tmp_path: Path, line: bytes, complaint: str):
    file = tmp_path / "bad.run"
    file.write_bytes(b"q Q0 first 1 1.0 t\n\n" + line + b"\n")
    with pytest.raises(EvaluationError, match=complaint) as caught:
        read_run(file)
    assert str(caught.value).startswith(f"{file}:3: ")
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path: Path):
    with pytest.raises(EvaluationError, match="No such file"):
        read_run(tmp_path / "absent.run")
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_run(tmp_path)
    lines = b"".join(b"q Q0 d%d 1 1.0 t\n" % i for i in range(10_000))
    whole = gzip.compress(lines)
    (tmp_path / "cut.run.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EvaluationError, match="cannot be read"):
        read_run(tmp_path / "cut.run.gz")
    (tmp_path / "garbled.run.gz").write_bytes(whole[:200] + bytes(200) + whole[400:])
    with pytest.raises(EvaluationError):
        read_run(tmp_path / "garbled.run.gz")


def test_an_empty_file_is_an_empty_run(tmp_path: Path):
    (tmp_path / "empty.run").touch()
    assert read_run(tmp_path / "empty.run") == {}


@pytest.mark.parametrize(
    ("wrong", "tag", "complaint"),
    [
        ({"q 1": [("d", 1.0)]}, "t", "query id 'q 1' is empty or contains white space"),
        ({"": [("d", 1.0)]}, "t", "query id '' is empty"),
        ({"q": [("d\n", 1.0)]}, "t", "document id"),
        ({"q": [("a", 1.0), ("d\t", 1.0)]}, "t", "document id"),
        ({"q": [("\ud800", 1.0)]}, "t", "not valid Unicode"),
        ({"q": [("d", 1.0)]}, "my run", "tag 'my run'"),
        ({"q": [("d", 1.0)]}, "", "tag ''"),
        ({"q": [("d", float("nan"))]}, "t", "document 'd' of query 'q' scored NaN"),
        ({"q": [("d", 1.0), ("e", 1.0), ("d", 2.0)]}, "t", "'d' of query 'q' was given twice"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path, wrong: dict, tag: str, complaint: str):
    file = tmp_path / "a.run"
    file.write_text("old")
    with pytest.raises(EvaluationError, match=complaint):
        write_run(file, {"good": [("d", 1.0)], **wrong}, tag)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_interrupted_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "a.run"
    file.write_text("old")

    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_run_lines", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_run(file, {"q": [("d", 1.0)]}, "t")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_places_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for place in ("absent/a.run", "file/a.run", "folder"):
        with pytest.raises(EvaluationError, match="cannot be written"):
            write_run(tmp_path / place, {"q": [("d", 1.0)]}, "t")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
