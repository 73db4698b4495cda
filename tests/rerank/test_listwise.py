"""Listwise reranking: reading what a model writes, and the window that moves to the front."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapp.rerank import load_reranker
from searchapp.rerank.listwise import Listwise, read_order
from tests.progress import Counted
from tests.rerankers import CHAT, add_words, make_causal


@pytest.mark.parametrize(
    ("answer", "order"),
    [
        ("[2] > [3] > [1]", [1, 2, 0]),
        ("[2]>[3]", [1, 2, 0]),
        ("2, 3, 1", [1, 2, 0]),
        ("Order: [3], since it has 2 bees. [1] > [2]", [2, 0, 1]),
        ("[9] > [2] > [2] > [0] > [-1]", [1, 0, 2]),
        ("<think>[1] > [2] no</think>[3] > [1]", [2, 0, 1]),
        ("", [0, 1, 2]),
        ("I cannot help with that.", [0, 1, 2]),
        ("[2] > [3", [1, 0, 2]),
        ("[99999999999999999999]", [0, 1, 2]),
    ],
)
def test_what_is_written_is_read(answer: str, order: list[int]) -> None:
    assert read_order(answer, 3) == order


@given(st.text(alphabet="[]0123456789> ,thinkx</", max_size=60), st.integers(0, 30))
def test_an_order_is_always_a_permutation(answer: str, count: int) -> None:
    assert sorted(read_order(answer, count)) == list(range(count))


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> Listwise:
    words = add_words(tokenizer)
    path: Path = tmp_path_factory.mktemp("lw") / "m"
    make_causal(path, words, "llama", CHAT, vocab_size=len(words), max_position_embeddings=4096)
    found = load_reranker(str(path), kind="listwise", cache=False)
    assert isinstance(found, Listwise)
    return found


def test_a_perfect_model_brings_the_best_from_the_end_to_the_front(reranker: Listwise, monkeypatch) -> None:
    """The model is replaced by one that sorts each window by the number in the document, best first."""
    seen: list[list[int]] = []

    def ask(query: str, texts) -> str:
        seen.append([int(text.removeprefix("worth ")) for text in texts])
        return "x"

    monkeypatch.setattr(reranker, "_ask", ask)
    monkeypatch.setattr(
        reranker, "_generate",
        lambda prompts: [" > ".join(f"[{place + 1}]" for place in np.argsort(-np.array(worths), kind="stable")) for worths in seen[-len(prompts):]],
    )  # fmt: skip
    rng = np.random.default_rng(0)
    lists = [rng.permutation(45).tolist(), rng.permutation(20).tolist(), rng.permutation(7).tolist(), []]
    scores = reranker.score(["q"] * 4, [[f"worth {number}" for number in line] for line in lists])
    for line, points in zip(lists, scores, strict=True):
        assert sorted(points.tolist()) == list(range(1, len(line) + 1))
    orders = [np.array(line)[np.argsort(-points)].tolist() for line, points in zip(lists, scores, strict=True)]
    assert orders[0][:10] == list(range(44, 34, -1)), "the best ten of 45 with windows of 20 that overlap by 10"
    assert orders[1] == list(range(19, -1, -1)) and orders[2] == list(range(6, -1, -1))
    assert max(len(window) for window in seen) == 20
    assert [len(window) for window in seen if len(window) not in (20, 7)] == [15], "45: 25-45, 15-35, 5-25, 0-15"


def test_a_batch_is_as_good_as_single_lists(reranker: Listwise) -> None:
    queries = ["how do bees fly", "search"]
    lists = [[f"bees {number}" for number in range(4)], ["the quick brown fox", "a dog", "quality of search engines"]]
    told = Counted()
    together = reranker.score(queries, lists, progress=told)
    assert told.count == 7
    for query, texts, scores in zip(queries, lists, together, strict=True):
        assert np.array_equal(reranker.score([query], [texts])[0], scores)


def test_prompts_stay_within_the_model(reranker: Listwise) -> None:
    shown = [reranker._cut("honey bees " * 2_000, reranker._passage)] * 20
    query = reranker._cut("how do bees fly " * 2_000, reranker._query_limit)
    assert len(reranker._ids(reranker._ask(query, shown))) + reranker._answer <= 4_096 + 40
