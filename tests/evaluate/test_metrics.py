from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.errors import EvaluationError
from searchapp.evaluate import DEFAULT_METRICS, parse_metric, read_run, score, write_run

TREC_NAMES = {"nDCG@10": "ndcg_cut_10", "nDCG@3": "ndcg_cut_3", "MAP": "map", "Recall@100": "recall_100",
              "Recall@5": "recall_5", "P@10": "P_10", "Rprec": "Rprec"}  # fmt: skip

documents = st.sampled_from([f"d{i}" for i in range(25)])
queries = st.sampled_from([f"q{i}" for i in range(7)])
# Few values, so that ties abound; three of them differ in double precision only.
scores = st.one_of(st.sampled_from([0.0, 0.5, 0.5 + 1e-9, 0.5 - 1e-9, 1.0, -3.0]), st.floats(-1, 1))
runs = st.dictionaries(queries, st.dictionaries(documents, scores, max_size=25), max_size=7)
# Of negative judgements, pytrec_eval stands -1 only, and that beside another: below it writes outside its tables.
judgements = st.dictionaries(
    queries,
    st.dictionaries(documents, st.integers(-1, 3), min_size=1, max_size=20).filter(lambda j: max(j.values()) >= 0),
    min_size=1,
    max_size=7,
)


@given(runs, judgements)
@settings(max_examples=150, deadline=None)
def test_equal_to_pytrec_eval(run: dict, qrels: dict):
    found = score(run, qrels, [*TREC_NAMES, "MRR", "MRR@10", "MRR@2"])
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {*TREC_NAMES.values(), "recip_rank"}).evaluate(run)
    assert found.queries == len(qrels)
    assert found.missing == sum(not run.get(query) for query in qrels)
    for query in qrels:
        of_query = theirs.get(query, {})
        for metric, name in TREC_NAMES.items():
            assert found.per_query[metric][query] == pytest.approx(of_query.get(name, 0.0), abs=1e-6)
        reciprocal = of_query.get("recip_rank", 0.0)
        assert found.per_query["MRR"][query] == pytest.approx(reciprocal, abs=1e-6)
        # A cut-off leaves the reciprocal rank as it is or makes it 0; pytrec_eval has no name for it.
        for cutoff in (2, 10):
            expected = reciprocal if reciprocal > 1 / (cutoff + 0.5) else 0.0
            assert found.per_query[f"MRR@{cutoff}"][query] == pytest.approx(expected, abs=1e-6)


@given(runs, judgements)
@settings(max_examples=60, deadline=None)
def test_means_equal_ir_measures(run: dict, qrels: dict):
    names = ["nDCG@10", "AP", "AP(rel=2)", "R@5", "P@10", "Rprec", "Success@3", "SetP"]
    found = score(run, qrels, names)
    # An empty answer is no answer, as in a file; left in, pytrec_eval would be asked about it.
    answered = {query: hits for query, hits in run.items() if hits}
    for name in names:
        measure = ir_measures.parse_measure(name)
        expected = ir_measures.calc_aggregate([measure], qrels, answered)[measure]
        assert np.mean(list(found.per_query[name].values())) == pytest.approx(expected, abs=1e-6)


@given(runs, judgements)
@settings(max_examples=40, deadline=None)
def test_metrics_do_not_depend_on_their_company(run: dict, qrels: dict):
    names = ["nDCG(gains={1:5})@10", "nDCG@10", "P(rel=2)@5", "nDCG(gains={2:9})", "MAP", "AP", "Judged@4", "MRR@3"]
    together = score(run, qrels, names)
    for name in names:
        assert score(run, qrels, [name]).per_query[name] == together.per_query[name]


@given(runs, judgements)
@settings(max_examples=40, deadline=None)
def test_a_written_run_scores_the_same(tmp_path_factory, run: dict, qrels: dict):
    path = tmp_path_factory.getbasetemp() / "same.run"
    write_run(path, {query: list(hits.items()) for query, hits in run.items()}, "t")
    assert score(read_run(path), qrels) == score(run, qrels)


@given(runs, st.dictionaries(queries, st.dictionaries(documents, st.integers(-9, 3)), min_size=1, max_size=7))
@settings(max_examples=150, deadline=None)
def test_negative_judgements_are_not_relevant_and_empty_ones_harmless(run: dict, qrels: dict):
    names = [*DEFAULT_METRICS, "nDCG", "Bpref", "Rprec", "P(judged_only=True)@5", "Judged@5"]
    found = score(run, qrels, names)
    assert found == score(run, {q: {d: max(j, 0) for d, j in judged.items()} for q, judged in qrels.items()}, names)
    for query, judged in qrels.items():
        if run.get(query) and any(level > 0 for level in judged.values()):
            alone = score(run, {query: judged}, names)
            assert all(found.per_query[name][query] == alone.per_query[name][query] for name in names)
        else:
            relevance = set(names) - {"Judged@5"}
            assert all(found.per_query[name][query] == 0.0 for name in relevance)


def test_by_hand():
    # Order d4 d1 d9 d2; d1 is judged 2, d2 and d3 are judged 1.
    run = {"q": {"d1": 3.0, "d4": 4.0, "d2": 1.0, "d9": 2.0}}
    qrels = {"q": {"d1": 2, "d2": 1, "d3": 1, "d4": 0}}
    found = score(run, qrels)
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    expected = {
        "nDCG@10": (2 / math.log2(3) + 1 / math.log2(5)) / ideal,
        "MAP": (1 / 2 + 2 / 4) / 3,
        "MRR@10": 1 / 2,
        "Recall@100": 2 / 3,
        "P@10": 2 / 10,
    }
    assert tuple(expected) == DEFAULT_METRICS
    for metric, value in expected.items():
        assert found.per_query[metric]["q"] == pytest.approx(value, abs=1e-12)


def test_ties_go_to_the_greater_id_in_every_metric():
    names = ["P@1", "MRR@1", "MRR", "nDCG@1", "Judged@1"]
    for relevant, expected in (("b", 1.0), ("a", 0.0)):
        found = score({"q": {"a": 0.5 + 1e-9, "b": 0.5}}, {"q": {relevant: 1}}, names)
        assert {name: found.per_query[name]["q"] for name in names if name != "MRR"} == dict.fromkeys(
            (name for name in names if name != "MRR"), expected
        )
        assert found.per_query["MRR"]["q"] == (1.0 if expected else 0.5)


def test_missing_empty_and_unjudged_queries():
    found = score({"a": {"x": 1.0}, "b": {}, "other": {"x": 1.0}}, {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1}})
    assert (found.missing, found.queries) == (2, 3)
    for metric in DEFAULT_METRICS:
        assert list(found.per_query[metric]) == ["a", "b", "c"]
        assert found.per_query[metric]["b"] == found.per_query[metric]["c"] == 0.0
    assert found.estimate("MAP").value == pytest.approx(1 / 3)


def test_queries_without_a_relevant_document_count_zero():
    qrels = {"a": {"x": 0}, "b": {"x": -1}, "c": {}, "d": {"x": 1}}
    found = score({query: {"x": 1.0} for query in qrels}, qrels)
    for metric in DEFAULT_METRICS:
        assert [found.per_query[metric][query] for query in "abc"] == [0.0, 0.0, 0.0]
    assert found.estimate("MAP").value == 0.25
    assert found.missing == 0


def test_empty_run():
    found = score({}, {"a": {"x": 1}})
    assert found.missing == found.queries == 1
    assert all(estimate.value == 0 for estimate in found.estimates().values())


def test_numpy_numbers_are_numbers():
    found = score({"q": {"x": np.float32(1)}}, {"q": {"x": np.int64(2)}}, ["nDCG@10"])
    assert found.per_query["nDCG@10"] == {"q": 1.0}


def test_estimates_hold_mean_and_interval():
    random = np.random.default_rng(0)
    run = {f"q{i}": {f"d{j}": float(s) for j, s in enumerate(random.random(300))} for i in range(60)}
    qrels = {query: {f"d{j}": 1 for j in random.integers(0, 300, 40)} for query in run}
    found = score(run, qrels)
    estimates = found.estimates()
    assert tuple(estimates) == DEFAULT_METRICS
    for metric, estimate in estimates.items():
        values = list(found.per_query[metric].values())
        assert estimate == found.estimate(metric)
        assert estimate.value == pytest.approx(np.mean(values))
        assert estimate.low < estimate.value < estimate.high
        # Against the normal approximation, good to a tenth or so at 60 queries.
        assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * np.std(values) / 60**0.5, rel=0.15)
    with pytest.raises(EvaluationError, match="'AP' was not measured, expected one of nDCG@10, MAP"):
        found.estimate("AP")


@pytest.mark.parametrize(
    ("name", "same"),
    [("MAP", "AP"), ("MAP@5", "AP@5"), ("MRR@7", "RR@7"), ("Recall@20", "R@20"), ("P(rel=2)@10", "P(rel=2)@10")],
)
def test_names(name: str, same: str):
    assert parse_metric(name) == ir_measures.parse_measure(same)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("ndcg@10", "did you mean nDCG@10?"),
        ("recall@5", "did you mean Recall@5?"),
        ("precison@3", "did you mean Precision@3?"),
        ("zzzz", "expected one of nDCG@10, MAP"),
        ("", "cannot be used"),
        ("P", "cannot be used"),
        ("P@0", "cutoff is 0"),
        ("P@True", "cutoff is True"),
        ("P(rel=0)@5", "rel is 0"),
        ("Bpref(rel=1000000)", "rel is 1000000"),
        ("nDCG(gains={1:2000000})@5", "a gain is 2000000"),
        ("nDCG(gains={1:0.5})@5", "a gain is 0.5"),
        ("nDCG@ten", "cannot be used"),
        ("MAP(depth=3)", "unsupported params found: ..depth"),
        ("MAP; P@1", "multiple expressions"),
        ("RBP", "not installed"),
    ],
)
def test_unusable_names(name: str, complaint: str):
    with pytest.raises(EvaluationError, match=complaint.replace("?", r"\?")) as caught:
        parse_metric(name)
    assert "\n" not in str(caught.value)
    with pytest.raises(EvaluationError):
        score({"q": {"d": 1.0}}, {"q": {"d": 1}}, [name])


def test_nan_is_refused():
    with pytest.raises(EvaluationError, match="document 'd' of query 'q' scored NaN"):
        score({"q": {"c": 1.0, "d": float("nan")}}, {"q": {"d": 1}})


def test_unusable_judgements():
    with pytest.raises(EvaluationError, match="name no query"):
        score({"q": {"d": 1.0}}, {})
    with pytest.raises(EvaluationError, match="a judgement of query 'q' is 31715818, expected a small integer"):
        score({"q": {"d": 1.0}}, {"q": {"d": 31715818}})
    with pytest.raises(EvaluationError, match="no integer"):
        score({"q": {"d": 1.0}}, {"q": {"d": 0.5}})  # type: ignore[dict-item]


def test_a_failing_program_outside_is_no_fault_of_ours(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise FileNotFoundError("perl")

    monkeypatch.setattr(ir_measures, "iter_calc", fail)
    with pytest.raises(EvaluationError, match="ERR@5 is computed by a program outside that failed"):
        score({"q": {"d": 1.0}}, {"q": {"d": 1}}, ["ERR@5"])


def test_import_is_cheap():
    code = "import sys, searchapp.evaluate; print({'ir_measures', 'scipy', 'torch', 'pytrec_eval'} & set(sys.modules))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "set()"
