"""Explanations against brute force."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapp import Encoder
from searchapp.evaluate.explain import Span, cut, shades
from tests.evaluate.test_reranking import WORDS, beir  # noqa: F401


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, beir: Path, tiny_model: Path) -> Path:  # noqa: F811
    from searchapp.index import build

    place = tmp_path_factory.mktemp("explain") / "ix"
    build([str(beir / "corpus.jsonl")], place, Encoder.load(str(tiny_model)), pca=4)
    return place


def explained(run, *arguments: object) -> dict:
    outcome = run("evaluate", "explain", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)["results"][0]


def test_score_ranks_and_words_are_those_of_brute_force(run, beir: Path, index: Path, tiny_model: Path) -> None:  # noqa: F811
    encoder = Encoder.load(str(tiny_model))
    documents = [json.loads(line) for line in (beir / "corpus.jsonl").read_text().splitlines()]
    texts = [f"{one['title']} {one['text']}" for one in documents]
    stored = encoder.encode(texts).astype(np.float16).astype(np.float32)
    query = encoder.encode(["honey bees"])[0]
    scores = stored @ query
    for place in (0, 7, int(scores.argmax())):
        found = explained(run, "honey bees", documents[place]["_id"], "--index", index, "--hybrid")
        assert found["metrics"]["score"]["value"] == pytest.approx(scores[place], abs=1e-5)
        assert all(set(one) == {"value", "low", "high"} for one in found["metrics"].values())
        assert found["metrics"]["rank"]["value"] == 1 + (scores > scores[place] + 1e-6).sum()
        steps = {step["stage"]: step for step in found["stages"]}
        assert list(steps) == ["compressed", "rescored", "bm25", "fused"]
        assert steps["rescored"]["rank"] == found["metrics"]["rank"]["value"]  # all are rescored here
        holds = {"honey", "bees"} & set(texts[place].split())
        assert (steps["bm25"]["rank"] is not None) == bool(holds)
        terms = {term["term"]: term["score"] for term in found["terms"]}
        assert sum(terms.values()) == pytest.approx(steps["bm25"]["score"] or 0.0, abs=1e-5)
        for word in found["words"]:
            assert texts[place][word["start"] : word["end"]] == word["text"]
        # without the first word
        first = found["words"][0]
        without = encoder.encode([texts[place], texts[place][first["end"] :].strip()]) @ query
        assert first["effect"] == pytest.approx(without[0] - without[1], abs=1e-5)


def test_the_mode_is_that_of_a_search(run, index: Path) -> None:
    def steps(*options: str) -> list[str]:
        return [step["stage"] for step in explained(run, "honey bees", "d0", "--index", index, *options)["stages"]]

    assert steps() == steps("--mode", "hybrid") == ["compressed", "rescored", "bm25", "fused"]
    assert steps("--mode", "dense") == ["compressed", "rescored"]
    assert steps("--mode", "bm25") == ["bm25"]
    assert run("evaluate", "explain", "honey", "d0", "--index", index, "--mode", "odd").code == 2


def test_a_reranker_is_a_step(run, index: Path, tiny_model: Path) -> None:
    found = explained(run, "honey bees", "d3", "--index", index, "--rerank", tiny_model, "--reranker-kind",
                      "bi-encoder", "--spans", 3)  # fmt: skip
    assert [step["stage"] for step in found["stages"]][-1] == "reranked"
    assert len(found["words"]) == 3


def test_shown_in_words(run, index: Path) -> None:
    outcome = run("evaluate", "explain", "honey bees", "d3", "--index", index, "--depth", 2)
    assert outcome.code == 0, outcome.err
    assert "rank" in outcome.out and "of 40 by it" in outcome.out
    assert "\x1b" not in outcome.out  # no terminal


def test_bad_input_is_one_line(run, index: Path) -> None:
    for arguments, words in ((("honey", "nowhere"), "holds no document 'nowhere'"), ((" ", "d3"), "query is empty")):
        outcome = run("evaluate", "explain", *arguments, "--index", index)
        assert outcome.code == 2
        assert words in outcome.err


@given(st.text(alphabet="ab \n\t\u00a0", max_size=60), st.integers(1, 9))
def test_spans_hold_every_word_once(text: str, most: int) -> None:
    spans = cut(text, most)
    assert len(spans) == min(most, len(text.split()))
    assert " ".join(text[start:end] for start, end in spans).split() == text.split()
    assert all(first[1] <= second[0] for first, second in zip(spans, spans[1:], strict=False))


def test_shades() -> None:
    assert shades([Span(0, 1, 0.1), Span(1, 2, 0.03), Span(2, 3, 0.0), Span(3, 4, -0.05)]) == [2, 1, 0, -1]
    assert shades([]) == []
