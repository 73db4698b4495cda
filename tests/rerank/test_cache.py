"""Scores that are kept: given again without the model, never mixed up, bounded, and never in the way."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np

from searchapp.rerank.cache import Cached
from tests.progress import Counted


class Counter:
    """A reranker that counts what it is asked: the score is the length of the document."""

    name = "counter"

    def __init__(self, kind: str = "head", fingerprint: str = "one") -> None:
        self.kind, self.fingerprint = kind, fingerprint
        self.asked: list[str] = []

    def score(self, queries, documents, *, progress=None):
        self.asked += [text for texts in documents for text in texts]
        if progress is not None:
            progress.advance(sum(map(len, documents)))
        return [np.array([len(text) + 0.1 for text in texts], dtype=np.float32) for texts in documents]


def test_what_is_known_is_not_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "c" / "scores.sqlite"
    first = Cached(Counter(), path).score(["q", "p"], [["a", "bb"], ["a"]])
    model = Counter()
    told = Counted()
    again = Cached(model, path).score(["q", "p"], [["bb", "ccc", "a"], ["a"]], progress=told)
    assert model.asked == ["ccc"] and told.count == 4
    assert again[0].tolist() == [first[0][1], np.float32(3.1), first[0][0]] and again[1].dtype == np.float32
    other = Counter(fingerprint="two")
    Cached(other, path).score(["q"], [["a"]])
    assert other.asked == ["a"], "another model's scores were taken"
    assert Cached(Counter(), path).score([], []) == []


def test_texts_that_join_alike_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    Cached(Counter(), path).score(["ab"], [["c"]])
    model = Counter()
    Cached(model, path).score(["a"], [["bc"]])
    assert model.asked == ["bc"]


def test_a_list_is_kept_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    Cached(Counter("listwise"), path).score(["q"], [["a", "bb", "a"]])
    model = Counter("listwise")
    assert Cached(model, path).score(["q"], [["a", "bb", "a"]])[0].tolist() == np.float32([1.1, 2.1, 1.1]).tolist()
    assert model.asked == []
    Cached(model, path).score(["q"], [["bb", "a", "a"]])
    assert model.asked == ["bb", "a", "a"], "another order is another question"


def test_it_stays_bounded(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    cached = Cached(Counter(), path, most=100)
    for number in range(30):
        cached.score([f"q{number}"], [[f"d{place}" for place in range(10)]])
    with sqlite3.connect(path) as store:
        assert store.execute("SELECT COUNT(*) FROM scores").fetchone()[0] <= 100
    model = Counter()
    Cached(model, path).score(["q29"], [["d9"]])
    assert model.asked == [], "the newest are kept"


def test_a_damaged_cache_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    path.write_bytes(b"no database" * 100)
    assert Cached(Counter(), path).score(["q"], [["a"]])[0].tolist() == [np.float32(1.1)]
    (tmp_path / "file").write_text("")
    assert Cached(Counter(), tmp_path / "file" / "scores.sqlite").score(["q"], [["a"]])[0].tolist() == [np.float32(1.1)]
