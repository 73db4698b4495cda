"""Predicts how many candidates a type of codes needs, without building it: exact scores of a sample, blurred.

A code of a few bits a dimension moves an inner product by an error whose size is known: for unit vectors turned at
random its variance is that of quantising a normal number, over the dimensions. What a reduction loses is computed, as
its scores are exact. Building a type over the sample and measuring it takes twenty times as long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from searchapp.index.ann.calibration import DEPTH
from searchapp.index.ann.pca import Pca
from searchapp.index.ann.rescore import TIE
from searchapp.index.ann.rules import CANDIDATES, DEEPENING, AnnConfig, Rule

ROWS, QUERIES = 8_192, 150  # of the sample that is scored
# The variance of a quantised normal number's error, measured with FAISS's own codebooks (docs/log.md).
PAIRS, FOURS, BITS = 0.11, 0.34, 0.57
SCAN, SLOWER = 0.11, 2.5  # nanoseconds that the scan of a byte of product codes takes; 1-bit codes take longer
RESCORED, NUMBER = 100.0, 0.7  # nanoseconds that rescoring a row takes, and those for each of its numbers
PREDICTED = ("{rotation},PQ{pairs}x4fs", "{rotation},PQ{fours}x4fs", "{rotation},RaBitQfs", "{rotation},RaBitQ")


@dataclass(frozen=True)
class Sample:
    """What predictions are made from: unit float32 ``rows`` (n, dim) and ``queries`` (m, dim), their exact scores.

    ``least`` (m,) is the score of the last true hit of each query among the rows, of ``hits`` true ones.
    """

    rows: np.ndarray
    queries: np.ndarray
    scores: np.ndarray
    least: np.ndarray
    hits: int
    noise: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, queries: np.ndarray, seed: int = 0) -> Sample:
        """Score the first ``ROWS`` and ``QUERIES`` of both."""
        rows, queries = rows[:ROWS], queries[:QUERIES]
        scores = queries @ rows.T
        hits = min(DEPTH, len(rows))
        least = np.partition(scores, -hits, axis=1)[:, -hits]
        noise = np.random.default_rng(seed).standard_normal(scores.shape, dtype=np.float32)
        return cls(rows, queries, scores, least, hits, noise)


@dataclass(frozen=True)
class Prediction:
    """What a config is expected to do over all rows: candidates to rescore, recall with them, milliseconds a query."""

    candidates: int
    recall: float
    milliseconds: float


def predictable(rule: Rule) -> bool:
    """Whether a rule makes codes alone, whose error is known."""
    return rule.factory in PREDICTED


def predict(rule: Rule, config: AnnConfig, sample: Sample, rows: int, pca: Pca | None, target: float) -> Prediction:
    """The fewest candidates with which a config reaches a recall over ``rows`` vectors, and the time it then takes."""
    dim = sample.rows.shape[1]
    size = config.pca or dim
    scores = sample.scores
    if pca is not None:
        scores = pca.apply(sample.queries) @ pca.apply(sample.rows).T
    blurred = scores + np.float32(np.sqrt(_variance(rule) / size)) * sample.noise
    deepest = min(max(CANDIDATES), scores.shape[1])
    order = np.argpartition(-blurred, deepest - 1, axis=1)[:, :deepest]
    order = np.take_along_axis(order, np.argsort(-np.take_along_axis(blurred, order, 1), axis=1), 1)
    met = np.cumsum(np.take_along_axis(sample.scores, order, 1) >= sample.least[:, None] - TIE, axis=1)
    larger = max(1.0, rows / len(sample.rows)) ** DEEPENING
    recall, candidates = 0.0, max(CANDIDATES)
    for asked in CANDIDATES:
        here = min(max(1, int(asked / larger)), deepest)
        recall = float(np.minimum(met[:, here - 1], sample.hits).mean()) / sample.hits
        if recall >= target:
            candidates = asked
            break
    scan = SCAN * rows * (rule.per_dim * size + rule.fixed) * (SLOWER if "RaBitQ" in rule.factory else 1)
    return Prediction(candidates, recall, (scan + candidates * (RESCORED + NUMBER * dim)) / 1e6)


def _variance(rule: Rule) -> float:
    return BITS if "RaBitQ" in rule.factory else FOURS if "{fours}" in rule.factory else PAIRS
