"""The best rows by BM25 against sums over all documents in plain Python, whichever way they are found."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from searchapp.index.lexical import topk, weights
from searchapp.index.lexical.analyzer import Analyzer
from searchapp.index.lexical.bm25 import LexicalIndex
from searchapp.index.lexical.postings import write_postings
from searchapp.index.lexical.topk import Sums, best
from searchapp.index.lexical.weights import TermWeights, Wanted
from searchapp.index.storage.manifest import Lexical

PLAIN = Analyzer(None, None)
# What each way to the result is brought about by: constants of the modules that small corpora would never reach.
WAYS = {
    "as it comes": {},
    "bounds": {"FEW": -1, "STEP": -(10**9)},
    "bounds from a sample": {"FEW": -1, "STEP": -(10**9), "SAMPLE": 8, "DEEP": 4, "SAMPLED": -(10**9)},
    "bounds, with bitmaps": {"FEW": -1, "STEP": -(10**9), "COMMON": 2, "SHARE": 10**9, "KEPT": 3},
    "bounds, all sums scanned": {"FEW": -1, "STEP": -(10**9), "SCAN": 10**9},
    "added up, one term after the other": {"FEW": -1, "STEP": 10**9},
    "added up in blocks": {"FEW": -1, "STEP": 10**9, "SCAN": 10**9, "BLOCK": 32},
    "bounds, added up in blocks": {"FEW": -1, "STEP": -(10**9), "SCAN": 10**9, "BLOCK": 50},
    "added up, no sum scanned": {"SCAN": 0},
    "added up, all sums scanned": {"SCAN": 10**9, "COMMON": 2, "SHARE": 10**9},
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in WAYS[request.param].items():
        monkeypatch.setattr(weights if hasattr(weights, name) else topk, name, value)
    return request.param


def corpus(rng: np.random.Generator, count: int, vocabulary: int = 40) -> list[list[str]]:
    """Documents of words of very different frequency, some empty, some alike."""
    shares = 1 / np.arange(1, vocabulary + 1)
    documents: list[list[str]] = []
    for number in range(count):
        if number % 11 == 3:
            documents.append(list(documents[number // 2]))
        else:
            drawn = rng.choice(vocabulary, rng.integers(0, 25), p=shares / shares.sum())
            documents.append([f"w{word}" for word in drawn])
    return documents


def opened(
    root: Path, documents: Sequence[Sequence[str]], size: int, live: np.ndarray | None = None, k1=0.9, b=0.4
) -> LexicalIndex:
    """An index of documents in segments of ``size``."""
    segments, files = [], {}
    for base in range(0, len(documents), size):
        part, name = documents[base : base + size], f"documents-{base}"
        with (root / f"words-{base}").open("wb") as file:
            write_postings(file, [" ".join(words) for words in part], PLAIN)  # type: ignore[arg-type]
        segments.append(SimpleNamespace(documents_file=name, base=base, count=len(part)))
        files[name] = f"words-{base}"
    manifest = SimpleNamespace(
        lexical=Lexical(files=files, stemmer=None, stop_words=None, k1=k1, b=b), segments=segments, rows=len(documents)
    )
    return LexicalIndex(SimpleNamespace(manifest=manifest, alive=live, root=root, path=lambda name: root / name))  # type: ignore[arg-type]


def truth(
    documents: Sequence[Sequence[str]], query: str, live: np.ndarray, allowed: np.ndarray, k1=0.9, b=0.4
) -> list[tuple[float, int]]:
    """(score, row) of all hits, best first, by the formula: sums of float32 in the order of the query."""
    there = [row for row in range(len(documents)) if live[row]]
    mean = sum(len(documents[row]) for row in there) / max(1, len(there))
    terms = query.split()
    often = {term: {row: count for row in there if (count := documents[row].count(term))} for term in set(terms)}
    idf = {
        term: math.log(1 + (len(there) - len(rows) + 0.5) / (len(rows) + 0.5)) for term, rows in often.items() if rows
    }
    hits = []
    for row in there:
        norm, score = k1 * (1 - b + b * len(documents[row]) / mean), np.float32(0)
        for term in terms:
            if (count := often[term].get(row, 0)) > 0:
                score += np.float32(idf[term] * count / (count + norm))
        if score > 0 and allowed[row]:
            hits.append((float(score), row))
    return sorted(hits, key=lambda hit: (-hit[0], hit[1]))


QUERIES = [
    "w0",
    "w0 w1 w2",
    "w39 w30 w0 w1",
    "w5 w5 w5 w0",
    "w12 w3 w25 w8 w1 w0 w2 w17 unknown w4",
    "unknown",
    "w38 w38",
]


@pytest.mark.parametrize("seed", range(2))
def test_hits_are_those_of_the_formula(way: str, seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    documents = corpus(rng, 150)
    every = np.ones(len(documents), dtype=bool)
    live = rng.random(len(documents)) < 0.8 if seed else every
    index = opened(tmp_path, documents, 40 if seed else 200, live if seed else None)
    masks = [None, rng.random(len(documents)) < 0.5, rng.random(len(documents)) < 0.04, ~every]
    for mask in masks:
        allowed = every if mask is None else mask
        expected = [truth(documents, query, live, allowed) for query in QUERIES]
        for k in (1, 4, 30, 400):
            scores, rows = index.search(QUERIES, k, allowed=mask)
            for number, hits in enumerate(expected):
                count = min(k, len(hits))
                assert rows[number, :count].tolist() == [row for _, row in hits[:count]], (QUERIES[number], k)
                assert scores[number, :count] == pytest.approx([score for score, _ in hits[:count]], rel=1e-6)
                assert (rows[number, count:] == -1).all() and (scores[number, count:] == -np.inf).all()
    for row in range(0, len(documents), 9):
        parts = index.contributions(QUERIES[4], row)
        assert [term for term, _ in parts] == QUERIES[4].split()
        known = {row: score for score, row in truth(documents, QUERIES[4], live, every)}
        assert sum(weight for _, weight in parts) == pytest.approx(known.get(row, 0.0), rel=1e-5)


def test_other_parameters(tmp_path: Path) -> None:
    documents = corpus(np.random.default_rng(5), 60)
    every = np.ones(60, dtype=bool)
    for number, (k1, b) in enumerate([(0.0, 0.4), (1000.0, 1.0), (1.2, 0.0)]):
        (folder := tmp_path / str(number)).mkdir()
        index = opened(folder, documents, 25, None, k1, b)
        hits = truth(documents, QUERIES[2], every, every, k1, b)[:10]
        scores, rows = index.search([QUERIES[2]], 10)
        assert rows[0].tolist() == [row for _, row in hits]
        assert scores[0] == pytest.approx([score for score, _ in hits], rel=1e-6)


def random_terms(rng: np.random.Generator, total: int, counts: Sequence[int], steps: int) -> list[TermWeights]:
    """Terms in so many rows; their weights take ``steps`` values, so that sums are often equal."""
    terms = []
    for count in counts:
        rows = np.sort(rng.choice(total, count, replace=False)).astype(np.int32)
        highest = math.log(1 + total / (count + 1))
        drawn = (highest * rng.integers(1, steps + 1, count) / steps).astype(np.float32)
        terms.append(TermWeights.of(rows, drawn, total))
    return terms


@pytest.mark.parametrize("steps", [3, 100_000])
def test_many_rows_are_found_as_by_adding_up_all(steps: int) -> None:
    """At a size where every way is taken by itself; the same arrays serve all queries, so they must be left clean."""
    rng, total = np.random.default_rng(steps), 70_000
    terms = random_terms(rng, total, [3, 40, 700, 5_000, 9_000, 20_000, 30_000, 60_000], steps)
    sums = Sums(total)
    for turn in range(24):
        asked = [terms[number] for number in rng.integers(0, len(terms), rng.integers(1, 9))]
        mask = None if turn % 2 else rng.random(total) < (0.5, 0.0005)[turn // 2 % 2]
        added = np.zeros(total, dtype=np.float32)
        for term in asked:
            added[term.rows] += term.weights
        if mask is not None:
            added[~mask] = 0
        order = np.lexsort((np.arange(total), -added))
        for k in (1, 10, 1_000):
            expected = order[:k][added[order[:k]] > 0]
            scores, rows = best(asked, k, sums, mask)
            assert np.array_equal(rows, expected) and np.array_equal(scores, added[expected])
            assert rows.dtype == np.int64 and scores.dtype == np.float32
    with sums.lent() as array:
        assert not array.any()


def test_many_words_are_stemmed_as_one_by_one() -> None:
    words = [f"{stem}{end}" for stem in ("relat", "argu", "hop", "fl") for end in ("ing", "ed", "ional", "ies") * 99]
    words = [f"{word}{number % 7}" if number % 3 else word for number, word in enumerate(words)]
    assert len(words) > 1_000
    assert Analyzer().stems(words) == [Analyzer().stems([word])[0] for word in words]


def test_the_file_of_postings_stands_as_it_was(tmp_path: Path) -> None:
    """What the first version of the format wrote for these texts, byte by byte."""
    texts = ["The bees fly, bees flew", "", "Honey of the bee", "the of the", "flying honey honey HONEY"]
    with (tmp_path / "words").open("wb") as file:
        write_postings(file, texts, Analyzer())  # type: ignore[arg-type]
    digest = hashlib.sha256((tmp_path / "words").read_bytes()).hexdigest()
    assert digest == "0ef1dc8ef2223d810cc544575a28b458786418ec3f340f91b4048553533f3398"


def test_an_error_leaves_no_used_sums() -> None:
    sums = Sums(10)
    with pytest.raises(ValueError, match="harm"), sums.lent() as array:
        array[3] = 1
        raise ValueError("harm")
    with sums.lent() as array:
        assert not array.any()


def test_bounds_save_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rare word beside common ones: the common ones' postings are not added up."""
    terms = random_terms(np.random.default_rng(1), 200_000, [30, 90_000, 120_000], 1000)
    added: list[int] = []
    monkeypatch.setattr(topk, "_clear", lambda sums, done: (added.extend(map(len, done)), sums.fill(0)))
    _, rows = best(terms[::-1], 5, Sums(200_000))
    assert added == [30] and set(rows.tolist()) <= set(terms[0].rows.tolist())


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 500, 1_000])
def test_weights_of_wanted_rows_with_and_without_a_bitmap(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(count)
    rows = np.sort(rng.choice(1_000, count, replace=False)).astype(np.int32)
    values = rng.random(count, dtype=np.float32) + 1
    every = np.zeros(1_000, dtype=np.float32)
    every[rows] = values
    monkeypatch.setattr(weights, "KEPT", 20)
    rare = TermWeights.of(rows, values, 1_000)
    monkeypatch.setattr(weights, "COMMON", 0)
    monkeypatch.setattr(weights, "SHARE", 10**9)
    common = TermWeights.of(rows, values, 1_000)
    assert rare.bitmap is None and common.bitmap is not None
    for term in (rare, common):
        assert np.array_equal(term.at(Wanted(np.arange(1_000, dtype=np.int32))), every)
        some = np.sort(rng.choice(1_000, 77, replace=False)).astype(np.int32)
        assert np.array_equal(term.at(Wanted(some)), every[some])
        for k in (1, 5, 20, 21, 600, 1_001):
            assert term.nth(k) == (np.sort(values)[-k] if k <= count else 0.0)
