"""Which model for these documents: the same figures as a retrieval evaluation, gaps to the index's own model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.evaluate import load_collection
from searchapp.evaluate.retrieval import IndexConfig, Request, evaluate_collection
from searchapp.index import build
from searchapp.search.fusion import DEFAULT
from tests.models import make_checkpoint, make_tokenizer

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """An index, and a second model of other weights."""
    root = tmp_path_factory.mktemp("models")
    lines = [{"_id": f"d{i}", "title": f"a title of number {i}", "text": f"bees number {i} fly"} for i in range(40)]
    (root / "docs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    build([str(root / "docs.jsonl")], root / "ix", Encoder.load(str(tiny_model)))
    make_checkpoint(root / "other", make_tokenizer(), "mistral", seed=7)
    return root


def test_each_model_is_measured_as_a_retrieval_evaluation_measures_it(run, place: Path, tmp_path: Path) -> None:
    assert run("evaluate", "init", tmp_path / "own", place / "ix", "--known-item", 12, "--pool", 1).code == 0
    asked = ["evaluate", "models", place / "ix", "--models", place / "other", "--collection", tmp_path / "own"]
    outcome = run(*asked, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["setting"] == {"collection": "own", "split": "known-item", "queries": 12}
    own, other = found["models"]
    assert own["gaps"] == {} and other["name"] == str(place / "other")
    encoder = Encoder.load(str(place / "other"))
    request = Request(("nDCG@10",), fusion=DEFAULT)
    results = evaluate_collection(
        load_collection(tmp_path / "own"), encoder, [IndexConfig(0, "Flat")], tmp_path / "by-hand", request
    )
    for result in results:
        if (method := result.setting.method) in ("dense", "hybrid"):
            values = result.scores.per_query["nDCG@10"]
            assert other[method]["value"] == pytest.approx(np.mean(list(values.values())))
            assert other[method]["low"] <= other[method]["value"] <= other[method]["high"]
            gap = other["gaps"][method]
            assert gap["value"] == pytest.approx(other[method]["value"] - own[method]["value"], abs=1e-9)
            assert gap["low"] <= gap["value"] <= gap["high"] and 0 < gap["p"] <= 1
    assert other["vector_bytes"] == 2 * encoder.dim and other["dimensions"] == encoder.dim
    assert other["model_bytes"] == sum(path.stat().st_size for path in (place / "other").glob("*.safetensors"))
    assert other["tokens"] > 40 * 4 and other["tokens_per_second"] > 0 and 0.99 < other["reach"] <= 1


def test_titles_are_the_queries_where_there_are_none_and_a_plot_is_drawn(run, place: Path, tmp_path: Path) -> None:
    plot = tmp_path / "models.png"
    outcome = run(
        "evaluate", "models", place / "ix", "-m", f"{place / 'other'},{place / 'other'}", "--queries", 10,
        "--documents", 20, "--plot", plot,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "10 titles are the queries, over 20 of 40 documents" in outcome.err
    rows = outcome.out.splitlines()
    assert rows[0].split()[:3] == ["model", "vectors", "nDCG@10"] and rows[3].startswith(str(place / "other"))
    assert "10 queries; in brackets" in outcome.out and "the queries are titles" in outcome.out
    assert plot.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    "given, said",
    [
        ([], "no model to compare with; name some"),
        (["--models", "{own}"], "is the only model; name one to compare it with"),
        (["--models", "{place}/ix"], "is not a model"),
        (["--models", "{place}/nothing/at/all"], "does not exist"),
        (["--models", "{place}/other", "--plot", "{place}/plot.gif"], "expected .png"),
        (["--models", "{place}/other", "--collection", "{place}/ix"], "corpus.jsonl"),
    ],
)
def test_what_cannot_be_compared_is_refused_at_once(
    run, place: Path, tiny_model: Path, given: list[str], said: str
) -> None:
    outcome = run("evaluate", "models", place / "ix", *(word.format(place=place, own=tiny_model) for word in given))
    assert outcome.code == 2 and said in " ".join(outcome.err.split())
    assert outcome.out == "" and outcome.err.count("searchapp: error") == 1
