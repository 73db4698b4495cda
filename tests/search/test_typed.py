"""Queries as people type them: quotes, misspelt words, and what stays as it is."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import searchapp
from searchapp.search import Index, Plan
from searchapp.search.spelling import _distance, edits, plain_edits, respelt
from searchapp.search.typed import _runs, understood

TEXTS = {
    "a": "The worker bees of a hive make honey out of nectar",
    "b": "Honey is made by bees, and make no mistake: it is sweet",
    "c": 'Call print("hello world") to greet the microenvironment',
    "d": "A hello to the world of ants and their colonies",
    "e": "Пчёлы делают мёд из нектара",
}
PLAN = Plan(3, 0)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return searchapp.build(TEXTS, tmp_path_factory.mktemp("typed") / "x", vectors=np.eye(5), progress=False)


@pytest.mark.parametrize(
    ("query", "found", "said"),
    [
        ('who will "make honey"', ["a"], 'only documents with "make honey" as it stands'),
        ('"hello world"', ["c"], 'only documents with "hello world"'),
        ('"HELLO, world"', ["c"], 'only documents with "HELLO, world"'),
        ('"hello" "colonies"', ["d"], 'only documents with "hello" and "colonies"'),
        ('"honey make"', ["a", "b"], 'no document has "honey make" as it stands; searched without the quotes'),
        ("make honey", ["a", "b"], None),
        ('a 5" screen of honey', ["a", "b"], None),  # one quote is none
        ("honey AND NOT (bees) -sweet title:hive*", ["a", "b"], None),  # no other sign is an operator
    ],
)
def test_quotes(index: Index, query: str, found: list[str], said: str | None) -> None:
    [answer] = index.answer([query], mode="bm25")
    assert sorted(hit.id for hit in answer.hits) == found
    assert [notice for notice in answer.notices if "quotes" in notice or "only" in notice] == (
        [] if said is None else [notice for notice in answer.notices if notice.startswith(said)]
    )
    assert said is None or answer.notices


def test_quotes_hold_for_vectors_too_and_beside_a_filter_and_other_queries(tmp_path: Path) -> None:
    rows = [{"id": key, "text": text, "n": number} for number, (key, text) in enumerate(TEXTS.items())]
    index = searchapp.build(rows, tmp_path / "x", vectors=np.eye(5), progress=False)
    queries = ['"honey"', "ants", '"honey" again', "honey"]
    answers = index.answer(queries, vectors=np.eye(5)[[3, 3, 3, 0]], mode="hybrid", filter="n >= 1")
    assert [answer.query for answer in answers] == queries
    assert [{hit.id for hit in answer.hits} for answer in answers] == [{"b"}, {"b", "c", "d", "e"}, {"b"}, set("bcde")]
    [literal] = index.answer(['"make honey"'], mode="bm25", literal=True)
    assert {hit.id for hit in literal.hits} == {"a", "b"} and not literal.notices


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("honny from becs", "honey from bees"),
        ("microenviroment", "microenvironment"),
        ("micronvironmnet", "microenvironment"),  # two edits of a long word
        ("ntecar", "ntecar"),  # two edits of a short one
        ("нектрa", "нектрa"),
        ("делаютт", "делают"),
        ("HONNY", "honey"),
        ("Honny, please", "honey, please"),
        ("h0nny ComYMV BeEs", "h0nny ComYMV BeEs"),  # names are written so on purpose
        ("hney", "honey"),
        ("table", "table"),  # a word as good as any, which no document has
        ("make honey out of nectar", "make honey out of nectar"),
        ("subcolonies of bees", "subcolonies of bees"),  # a known word behind a prefix
        ("unnectar", "unnectar"),
        ("honey of Coloniess", "honey of Coloniess"),  # a name, in the middle of a query
        ("Coloniess of bees", "colonies of bees"),
        ("Honey Of Coloniess", "Honey Of colonies"),  # as a title is written
    ],
)
def test_misspelt_words(index: Index, typed: str, meant: str) -> None:
    assert respelt(index.vectors.lexical, typed).query == meant


def test_what_was_searched_for_is_said(index: Index) -> None:
    [answer] = index.answer(["honny of wrker"], mode="bm25")
    assert answer.query == "honny of wrker"
    assert answer.notices == ("searched for 'honey', 'worker': 'honny', 'wrker' are in no document",)
    assert answer.hits[0].id == "a"


def test_of_words_equally_near_the_one_that_goes_with_the_others_is_meant(tmp_path: Path) -> None:
    texts = ["a fast zebre runs over the grass", "grey zebru and cattle in the stable", *["zebre"] * 3]
    index = searchapp.build(texts, tmp_path / "x", vectors=np.ones((5, 2)), progress=False)
    assert respelt(index.vectors.lexical, "zebrw stable").query == "zebru stable"
    assert respelt(index.vectors.lexical, "zebrw grass").query == "zebre grass"
    assert respelt(index.vectors.lexical, "zebrw").query == "zebre"  # which more documents have


def test_a_word_that_is_itself_rare_counts_beside_what_goes_with_it(tmp_path: Path) -> None:
    texts = ["a module gives value lists", "the middle of measurements is a value", *["module of lists"] * 6]
    index = searchapp.build(texts, tmp_path / "x", vectors=np.ones((8, 2)), progress=False)
    assert respelt(index.vectors.lexical, "midule value").query == "middle value"


def test_edits_are_those_of_one_distance() -> None:
    near = set(edits(["abc"], "abcd"))
    assert near == {word for word in _words("abcd", 4) if _distance(word, "abc") == 1} | {"abc"}
    assert set(plain_edits(["abc"])) < near


def _words(alphabet: str, most: int) -> list[str]:
    words, last = [""], [""]
    for _ in range(most):
        last = [word + letter for word in last for letter in alphabet]
        words += last
    return words


def test_quotes_without_an_end_take_time_in_proportion(index: Index) -> None:
    def seconds(size: int) -> float:
        began = time.process_time()
        answers = [
            understood(index.vectors, query, PLAN) for query in ('"' + "a" * size, '" ' * size, '"' + " a" * size)
        ]
        assert [answer.filter for answer in answers] == [None] * 3
        return time.process_time() - began

    seconds(1_000)
    assert seconds(200_000) < 2  # with the square of the length: minutes


def test_what_is_in_many_documents_is_not_read_for(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("searchapp.search.typed.MOST_READ", 2)
    [answer] = index.answer(['"of the" honey'], mode="bm25")  # stop words: any document may have them
    assert sorted(hit.id for hit in answer.hits) == ["a", "b"]
    assert answer.notices == (
        '"of the" is not looked up: 5 documents may have it, at most 2 are read; searched without the quotes',
    )
    [answer] = index.answer(['"make honey"'], mode="bm25")
    assert [hit.id for hit in answer.hits] == ["a"]


def test_a_filter_is_applied_before_documents_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": key, "text": text, "n": number} for number, (key, text) in enumerate(TEXTS.items())]
    index = searchapp.build(rows, tmp_path / "x", vectors=np.eye(5), progress=False)
    monkeypatch.setattr("searchapp.search.typed.MOST_READ", 1)
    [answer] = index.answer(['"a hive"'], mode="bm25", filter="n == 0")
    assert [hit.id for hit in answer.hits] == ["a"] and "only documents" in answer.notices[0]


def test_a_run_of_words_is_found_wherever_it_stands_in_linear_time() -> None:
    words = ["a"] * 100_000
    began = time.process_time()
    assert not _runs(words, ["a", "b"])
    assert _runs([*words, "b"], ["a", "b"]) and _runs(["b", *words], ["b", "a"])
    assert not _runs(["b"], ["b", "a"]) and _runs(["a", "b", "a", "c"], ["a", "c"])
    assert time.process_time() - began < 2  # with the square: half a minute


@pytest.mark.parametrize("size", [21, 32, 33, 5_000])
def test_a_long_word_is_not_taken_apart(index: Index, size: int) -> None:
    word = ("zqx" * size)[:size]
    began = time.process_time()
    assert respelt(index.vectors.lexical, f"{word} bees").query == f"{word} bees"
    assert time.process_time() - began < 2
