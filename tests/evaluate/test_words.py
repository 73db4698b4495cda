"""BM25 over candidates, against its formula."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from searchapp.index.lexical.analyzer import Analyzer
from searchapp.rerank.bm25 import Bm25Reranker

TEXTS = ["bees make honey", "honey honey and more honey from bees", "a fox", "the quick brown fox jumps", "and"]


def test_scores_are_those_of_the_formula() -> None:
    analyzer = Analyzer(None, None)
    words = Bm25Reranker(TEXTS, analyzer, k1=0.9, b=0.75)
    [found] = words.score(["honey bees honey unseen"], [TEXTS])
    counts = [Counter(analyzer.terms(text)) for text in TEXTS]
    mean = sum(count.total() for count in counts) / len(TEXTS)
    for count, score in zip(counts, found, strict=True):
        expected = 0.0
        for term in ("honey", "bees", "honey"):
            frequency = sum(term in other for other in counts)
            idf = math.log(1 + (len(TEXTS) - frequency + 0.5) / (frequency + 0.5))
            norm = 0.9 * (0.25 + 0.75 * count.total() / mean)
            expected += idf * count[term] / (count[term] + norm)
        assert score == pytest.approx(expected, abs=1e-5)


def test_nothing_to_count_scores_zero() -> None:
    assert Bm25Reranker(["and the"]).score(["bees"], [["and the"]])[0].tolist() == [0.0]
    assert Bm25Reranker(TEXTS).score(["unseen"], [TEXTS[:2]])[0].tolist() == [0.0, 0.0]
