from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import pytrec_eval

from searchapp.errors import EvaluationError
from searchapp.evaluate import Query, load_collection, read_qrels

# name, split: judged queries, judgements, queries in the file (SOURCES.md).
REAL = {
    ("scifact", "test"): (300, 339, 1109),
    ("scifact", "train"): (809, 919, 1109),
    ("cranfield", "test"): (225, 1837, 225),
    ("npl", "test"): (93, 2083, 93),
    ("med", "test"): (30, 696, 30),
    ("cacm", "test"): (52, 796, 52),
    ("checkthat2020", "train"): (800, 801, 1196),
    ("checkthat2020", "dev"): (197, 198, 1196),
    ("checkthat2020", "test"): (199, 199, 1196),
    ("xquad-en", "test"): (1190, 1190, 1190),
}


@pytest.mark.parametrize(("name", "split"), REAL)
def test_real_collections(shared: Path, name: str, split: str):
    judged, judgements, in_file = REAL[name, split]
    collection = load_collection(shared / "data/retrieval" / name, split)
    assert (collection.name, collection.split) == (name, split)
    assert len(collection.queries) == len(collection.qrels) == judged
    assert sum(map(len, collection.qrels.values())) == judgements
    assert collection.unjudged_queries == in_file - judged
    assert collection.unknown_queries == 0
    assert collection.corpus.name == "corpus.jsonl.gz"
    assert [query.id for query in collection.queries] == list(collection.qrels)


def test_every_real_collection_is_known_and_has_a_split_to_take_unasked(shared: Path):
    folders = {folder.name for folder in (shared / "data/retrieval").iterdir()}
    assert folders == {name for name, _ in REAL}
    for name in folders:
        assert load_collection(shared / "data/retrieval" / name).split == "test"


def test_graded_judgements(shared: Path):
    qrels = read_qrels(shared / "data/retrieval/cranfield/qrels-graded/test.tsv")
    assert sum(map(len, qrels.values())) == 1837
    assert {level for judged in qrels.values() for level in judged.values()} == {1, 2, 3, 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small collection: three queries, of which two are judged in ``test`` and one in ``dev``."""
    path = tmp_path / "small"
    (path / "qrels").mkdir(parents=True)
    (path / "corpus.jsonl").write_text('{"_id": "d1", "text": "x"}\n')
    queries = [{"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"}, {"_id": "q3", "text": "zwölf"}]
    (path / "queries.jsonl").write_text("".join(json.dumps(q, ensure_ascii=False) + "\n" for q in queries), "utf-8")
    (path / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td1\t2\nq1\td1\t1\nq3\td2\t-1\n")
    (path / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td1\t1\n")
    return path


def test_small_collection(folder: Path):
    collection = load_collection(str(folder))
    assert collection.split == "test"
    assert collection.path == folder
    assert collection.queries == (Query("q1", "one"), Query("q3", "zwölf"))
    assert collection.qrels == {"q1": {"d1": 1}, "q3": {"d1": 2, "d2": -1}}
    assert collection.unjudged_queries == 1
    assert load_collection(folder, "dev").queries == (Query("q2", "two"),)


def test_gzip_and_plain_are_equal(folder: Path):
    plain = load_collection(folder)
    for file in ("queries.jsonl", "qrels/test.tsv"):
        (folder / f"{file}.gz").write_bytes(gzip.compress((folder / file).read_bytes()))
        (folder / file).unlink()
    packed = load_collection(folder)
    assert (packed.queries, packed.qrels) == (plain.queries, plain.qrels)


def test_byte_order_mark_carriage_returns_and_blank_lines(folder: Path):
    queries = (folder / "queries.jsonl").read_bytes()
    plain = load_collection(folder)
    (folder / "queries.jsonl").write_bytes(b"\xef\xbb\xbf" + queries.replace(b"\n", b"\r\n\r\n"))
    qrels = (folder / "qrels/test.tsv").read_bytes()
    (folder / "qrels/test.tsv").write_bytes(b"\xef\xbb\xbf" + qrels.replace(b"\n", b"\r\n") + b"\n\n")
    assert load_collection(folder) == plain


def test_a_number_is_an_id(folder: Path):
    (folder / "queries.jsonl").write_text('{"id": 1, "text": "one"}\n')
    (folder / "qrels/test.tsv").write_text("1\td\t1\n")
    assert load_collection(folder).queries == (Query("1", "one"),)


def test_the_only_split_is_taken(folder: Path):
    (folder / "qrels/test.tsv").unlink()
    assert load_collection(folder).split == "dev"
    (folder / "qrels/train.tsv.gz").write_bytes(gzip.compress(b"q1 d1 1"))
    with pytest.raises(EvaluationError, match="found the splits dev, train and no test"):
        load_collection(folder)
    with pytest.raises(EvaluationError, match="found the splits dev, train, expected 'test'"):
        load_collection(folder, "test")


def test_missing_parts(folder: Path):
    with pytest.raises(EvaluationError, match="found nothing, expected a folder"):
        load_collection(folder / "absent")
    with pytest.raises(EvaluationError, match="found a file, expected a folder"):
        load_collection(folder / "corpus.jsonl")
    for name in ("corpus.jsonl", "queries.jsonl"):
        (folder / name).rename(folder / "aside")
        with pytest.raises(EvaluationError, match=f"found no {name}"):
            load_collection(folder)
        (folder / "aside").rename(folder / name)
    (folder / "qrels").rename(folder / "judgements")
    with pytest.raises(EvaluationError, match="found no judgements"):
        load_collection(folder)
    (folder / "qrels").mkdir()
    with pytest.raises(EvaluationError, match="found no judgements"):
        load_collection(folder)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"_id": "q9", "text": "x"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no object"),
        (b'{"text": "x"}', "query has no id"),
        (b'{"_id": "", "text": "x"}', "query has no id"),
        (b'{"_id": null, "text": "x"}', "query has no id"),
        (b'{"_id": true, "text": "x"}', "query has no id"),
        (b'{"_id": "q9"}', "'q9' has no text"),
        (b'{"_id": "q9", "text": 3}', "'q9' has no text"),
        (b'{"_id": "q1", "text": "again"}', "'q1' stands a second time"),
        (b'{"_id": "q4", "text": " "}', "'q4' is judged but empty"),
        (b'{"_id": "\xff", "text": "x"}', "not UTF-8"),
    ],
)
def test_malformed_query_is_named(folder: Path, line: bytes, complaint: str):
    file = folder / "queries.jsonl"
    with (folder / "qrels/test.tsv").open("a") as qrels:
        qrels.write("q4\td1\t1\n")
    file.write_bytes(file.read_bytes() + line + b"\n")
    with pytest.raises(EvaluationError, match=complaint) as caught:
        load_collection(folder)
    assert str(caught.value).startswith(f"{file}:4: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"q1\td9", "found 2 columns, expected 3"),
        (b"q1\t\t1", "found 2 columns, expected 3"),
        (b"q1 d9 1", "found 1 columns, expected 3"),
        (b"q1\t0\td9\t1", "found 4 columns, expected 3"),
        (b"q1\td9\thigh", "judgement is 'high', expected an integer"),
        (b"q1\td9\t0.5", "judgement is '0.5', expected an integer"),
        (b"q1\td9\tnan", "expected an integer"),
        (b"q1\td9\tinf", "expected an integer"),
        (b"q1\td1\t0", "is judged 0, and 1 further up"),
        (b"q1\t\xff\t1", "not UTF-8"),
    ],
)
def test_malformed_judgement_is_named(folder: Path, line: bytes, complaint: str):
    file = folder / "qrels/test.tsv"
    file.write_bytes(file.read_bytes() + line + b"\n")
    with pytest.raises(EvaluationError, match=complaint) as caught:
        load_collection(folder)
    assert str(caught.value).startswith(f"{file}:5: ")


def test_trec_qrels(tmp_path: Path):
    file = tmp_path / "trec.qrels"
    file.write_text("q1 0 d1 1\nq1 0 d2 0\nq2 Q0  d1 -2\n")
    with file.open() as lines:
        assert read_qrels(file) == pytrec_eval.parse_qrel(lines) == {"q1": {"d1": 1, "d2": 0}, "q2": {"d1": -2}}
    file.write_text("q1\t0\td1\t1\n")
    assert read_qrels(file) == {"q1": {"d1": 1}}
    file.write_text("q1 0 d1 1\nq1 d2 1\n")
    with pytest.raises(EvaluationError, match=":2: found 3 columns, expected 4: qid 0 docid rel"):
        read_qrels(file)
    file.write_text("q1 d1\n")
    with pytest.raises(EvaluationError, match=":1: found 2 columns, expected 3"):
        read_qrels(file)


def test_qrels_details(tmp_path: Path):
    file = tmp_path / "q.tsv"
    # No header; an id with a space, which tabs allow; 1.0 for 1; the same judgement twice.
    file.write_text("q 1\td1\t1.0\nq 1\td1\t1\n")
    assert read_qrels(file) == {"q 1": {"d1": 1}}
    file.write_text("corpus-id\tquery-id\tscore\nd1\tq1\t1\n")
    with pytest.raises(EvaluationError, match=":1: judgement is 'score'"):
        read_qrels(file)
    file.write_text("query-id\tcorpus-id\tscore\n")
    with pytest.raises(EvaluationError, match="found no judgement"):
        read_qrels(file)
    with pytest.raises(EvaluationError, match="No such file"):
        read_qrels(tmp_path / "absent.tsv")


def test_judged_queries_without_text(folder: Path):
    ids = [f"q{i}" for i in range(1, 21)]
    (folder / "qrels/test.tsv").write_text("".join(f"{query}\td1\t1\n" for query in ids))
    lines = [json.dumps({"_id": query, "text": "x"}) + "\n" for query in ids]
    (folder / "queries.jsonl").write_text("".join(lines[:-1]))
    collection = load_collection(folder)  # one of twenty: 5 %, just allowed
    assert collection.unknown_queries == 1
    assert len(collection.queries) == len(collection.qrels) == 19
    assert "q20" not in collection.qrels
    (folder / "queries.jsonl").write_text("".join(lines[:-2]))
    with pytest.raises(EvaluationError, match=r"2 of 20 judged queries \(such as 'q19'\) are not in"):
        load_collection(folder)
