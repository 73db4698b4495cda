"""Vectors and words in one score that depends on the document alone, and the best documents by it, exactly.

A document's score is ``weight * z + (1 - weight) * BM25``, where z is its cosine with the query in standard deviations
above the mean of the query's cosines with random documents. That scale is the encoder's own: one whose cosines all lie
between 0.7 and 0.9 has as much to say as one whose cosines lie between 0 and 0.6. BM25 has a scale by itself, the
information of the words met (nearly the sum of their idf), so that words which stand everywhere count for little, and a
query without any known word is answered by the vectors alone. Why neither side is scaled by its best or its worst hit:
Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS 2023, section 4.

Each side is asked for its best rows only, and the other side's score of each is looked up. No row that neither has
found can score more than both sides' last ones together: the threshold algorithm of Fagin, Lotem and Naor, "Optimal
Aggregation Algorithms for Middleware", JCSS 2003, section 4. Where that may be more than the k-th best, the query asks
deeper.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from searchapp.index import Filter, VectorIndex
from searchapp.index.ann.rescore import exact_scores, ordered
from searchapp.index.storage.vectors import unit
from searchapp.search.ranking import Stage

DEEPER = 4  # times as many rows, where the first ones leave open which are the best
SETTLED = 100  # hits that are certain to be the best; a ranking that goes on below them takes what has been found
SLACK = 1e-4  # by which looked-up scores may differ from found ones: they are summed in another order
LEAST = 1e-6  # standard deviation below which cosines are equal, and the vectors say nothing


@dataclass(frozen=True)
class Sides:
    """Whom to ask: an index for texts and their vectors (n, dim), with the options of its searches."""

    index: VectorIndex
    queries: Sequence[str]
    vectors: np.ndarray
    candidates: int | None = None
    filter: Filter | None = None


@dataclass
class Found:
    """The best rows of one query by each side, best first, without the padding; ``asked`` is how many were wanted."""

    dense: np.ndarray
    cosines: np.ndarray
    lexical: np.ndarray
    points: np.ndarray
    asked: int


@dataclass(frozen=True)
class Together:
    """One query's best rows by both sides: ``scores`` and ``rows``, (1, k), and what was looked up of the hits."""

    scores: np.ndarray
    rows: np.ndarray
    cosines: dict[int, float]
    points: dict[int, float]


def together(sides: Sides, dense: Stage, lexical: Stage, weight: float, k: int) -> list[Stage]:
    """The stages ``dense``, ``lexical`` and ``fused``, the last k wide.

    Those of either side come back as deep as was needed, with the scores that were looked up. Where the index is
    searched approximately, the best are those of what its search finds.
    """
    began = time.perf_counter()
    count = len(sides.queries)
    means, deviations = spread(sides.index, sides.vectors)
    found = [_found(dense, lexical, query) for query in range(count)]
    answers: list[Together | None] = [None] * count
    open_ = list(range(count))
    while open_:
        for query in open_:
            answers[query] = _fused(sides, query, found[query], (means[query], deviations[query]), weight, k)
        open_ = [query for query in open_ if answers[query] is None]
        _ask_deeper(sides, found, open_)
    done = [answer for answer in answers if answer is not None]
    dense_scores, dense_rows = _padded([(one.cosines, one.dense) for one in found], dense.width)
    points, lexical_rows = _padded([(one.points, one.lexical) for one in found], lexical.width)
    scores = np.concatenate([one.scores for one in done]) if done else np.zeros((0, k), dtype=np.float32)
    rows = np.concatenate([one.rows for one in done]) if done else np.zeros((0, k), dtype=np.int64)
    return [
        replace(dense, rows=dense_rows, scores=dense_scores, looked_up=[one.cosines for one in done]),
        replace(lexical, rows=lexical_rows, scores=points, looked_up=[one.points for one in done]),
        Stage("fused", rows, scores, time.perf_counter() - began),
    ]


def spread(index: VectorIndex, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each query's cosines with random documents of an index, both (n,) float64.

    A deviation is 1 where all cosines are the same.
    """
    sample = index.sampled
    cosines = unit(np.array(vectors, dtype=np.float32, order="C")) @ sample.T
    if sample.shape[0] == 0:
        return np.zeros(len(vectors)), np.ones(len(vectors))
    deviations = cosines.std(axis=1).astype(np.float64)
    return cosines.mean(axis=1).astype(np.float64), np.where(deviations > LEAST, deviations, 1.0)


def _found(dense: Stage, lexical: Stage, query: int) -> Found:
    here, there = dense.rows[query] >= 0, lexical.rows[query] >= 0
    return Found(
        dense.rows[query][here],
        dense.scores[query][here],
        lexical.rows[query][there],
        lexical.scores[query][there],
        asked=max(dense.width, lexical.width),
    )


def _fused(
    sides: Sides, query: int, found: Found, scale: tuple[float, float], weight: float, k: int
) -> Together | None:
    """The k best of what was found; None where a row that was not found may be among the first of them."""
    mean, deviation = scale
    is_all = found.asked >= sides.index.manifest.documents or len(found.dense) < found.asked
    last = float(found.points[-1]) if len(found.lexical) >= found.asked else 0.0
    lowest = float(found.cosines[-1]) if len(found.dense) else 0.0

    def blend(cosines: np.ndarray, points: np.ndarray) -> np.ndarray:
        both: np.ndarray = weight * (cosines - mean) / deviation + (1 - weight) * points
        return both

    rows = _union(found.dense, found.lexical)
    cosines = _placed(rows, found.dense, found.cosines)
    points = _placed(rows, found.lexical, found.points) if last > 0 else _placed(rows, found.lexical, found.points, 0.0)
    no_cosine, no_points = np.isnan(cosines), np.isnan(points)
    sure = blend(cosines, np.where(no_points, 0.0, points))[~no_cosine]  # at least; no word counts against a document
    if len(sure) >= k:
        most = blend(np.where(no_cosine, lowest, cosines), np.where(no_points, last, points))
        kept = most >= np.partition(sure, len(sure) - k)[len(sure) - k] - SLACK
        rows, cosines, points = rows[kept], cosines[kept], points[kept]
        no_cosine, no_points = no_cosine[kept], no_points[kept]
    if no_cosine.any():
        cosines[no_cosine] = _cosines(sides, query, rows[no_cosine])
    if no_points.any():
        points[no_points] = sides.index.word_scores(sides.queries[query], rows[no_points])
    scores, best = ordered(blend(cosines, points)[None], rows[None], k)
    beyond = weight * (lowest - mean) / deviation + (1 - weight) * last
    if not is_all and not scores[0, min(k, SETTLED) - 1] > beyond:
        return None
    hits = best[0][best[0] >= 0]
    places = np.searchsorted(rows, hits)
    return Together(
        scores,
        best,
        dict(zip(hits.tolist(), cosines[places].tolist(), strict=True)),
        {row: score for row, score in zip(hits.tolist(), points[places].tolist(), strict=True) if score > 0},
    )


def _union(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The rows of both, ascending, each once; ``np.union1d`` takes many times as long for so few."""
    rows = np.concatenate((one, other))
    rows.sort()
    if len(rows) < 2:
        return rows
    is_new = np.empty(len(rows), dtype=bool)
    is_new[0] = True
    np.not_equal(rows[1:], rows[:-1], out=is_new[1:])
    return rows[is_new]


def _placed(rows: np.ndarray, known: np.ndarray, scores: np.ndarray, other: float = np.nan) -> np.ndarray:
    """The score of each row (ascending) in float64, ``other`` where it is not among the known ones."""
    result = np.full(len(rows), other)
    result[np.searchsorted(rows, known)] = scores
    return result


def _cosines(sides: Sides, query: int, rows: np.ndarray) -> np.ndarray:
    vector = unit(np.array(sides.vectors[query : query + 1], dtype=np.float32, order="C"))
    cosines: np.ndarray = exact_scores(sides.index.vectors, vector, rows[None])[0]
    return cosines


def _ask_deeper(sides: Sides, found: list[Found], queries: list[int]) -> None:
    """Replace what was found for some queries by ``DEEPER`` times as many rows of either side."""
    for depth in {found[query].asked for query in queries}:
        those = [query for query in queries if found[query].asked == depth]
        wanted = min(DEEPER * depth, sides.index.manifest.documents)
        cosines, dense = sides.index.search_vectors(
            sides.vectors[those], wanted, candidates=sides.candidates, filter=sides.filter
        )
        texts = [sides.queries[query] for query in those]
        points, lexical = sides.index.search_words(texts, wanted, filter=sides.filter)
        for number, query in enumerate(those):
            found[query] = replace(_found(Stage("", dense, cosines), Stage("", lexical, points), number), asked=wanted)


def _padded(parts: list[tuple[np.ndarray, np.ndarray]], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and rows of all queries, padded with -inf and -1 to the longest, at least ``width``."""
    width = max([width, *(len(rows) for _, rows in parts)])
    scores = np.full((len(parts), width), -np.inf, dtype=np.float32)
    rows = np.full((len(parts), width), -1, dtype=np.int64)
    for number, (given, those) in enumerate(parts):
        scores[number, : len(those)], rows[number, : len(those)] = given, those
    return scores, rows
