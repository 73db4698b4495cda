"""How much the vectors should count beside BM25: tried out on queries that are not the ones to be measured with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from searchapp.encoder import Encoder
from searchapp.errors import EvaluationError
from searchapp.evaluate.collection import Collection
from searchapp.evaluate.metrics import Estimate, score
from searchapp.evaluate.protocol import examine, ranked
from searchapp.index import VectorIndex
from searchapp.index.ann.rescore import ordered
from searchapp.search import DEFAULT, Fusion, Plan, Stage, run
from searchapp.search.fusion import blend, sides

METRIC = "nDCG@10"
DEPTH = 100  # documents of a fused ranking that are scored
WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
BASES = (
    DEFAULT,
    Fusion("rrf"),
    Fusion("weighted", normalisation="minmax"),
    Fusion("weighted", normalisation="zscore"),
)


@dataclass(frozen=True)
class Tried:
    """One way to fuse and what it brought on the tuning queries."""

    fusion: Fusion
    estimate: Estimate

    @property
    def value(self) -> float:
        """The metric's mean over the queries."""
        return self.estimate.value


@dataclass(frozen=True)
class Tuned:
    """The best fusion that was tried, all of them, and what each side brings by itself."""

    best: Tried
    tried: tuple[Tried, ...]
    dense: Estimate
    lexical: Estimate
    metric: str
    queries: int

    def curve(self, base: Fusion) -> list[Tried]:
        """What was tried with the method and normalisation of a fusion, by weight."""
        same = [one for one in self.tried if replace(one.fusion, weight=base.weight) == base]
        return sorted(same, key=lambda one: one.fusion.weight)

    def record(self, collection: Collection) -> dict[str, Any]:
        """What an index keeps of it."""
        tuned_on = {"collection": collection.name, "split": collection.split, "queries": self.queries}
        return {**asdict(self.best.fusion), "tuned_on": {**tuned_on, "metric": self.metric, "value": self.best.value}}

    def to_json(self, collection: Collection) -> dict[str, Any]:
        """The object that ``--json`` prints: either side alone, then every fusion; ``best`` marks the one chosen."""
        common = {"collection": collection.name, "split": collection.split, "queries": self.queries}
        ways: list[tuple[str, Fusion | None, Estimate]] = [("dense", None, self.dense), ("bm25", None, self.lexical)]
        ways += [("hybrid", one.fusion, one.estimate) for one in self.tried]
        return {
            "results": [
                {
                    "setting": {
                        **common,
                        "method": method,
                        "fusion": asdict(fusion) if fusion else None,
                        "best": fusion == self.best.fusion,
                    },
                    "metrics": {self.metric: asdict(estimate)},
                }
                for method, fusion, estimate in ways
            ]
        }


def tune_fusion(
    collection: Collection,
    index: VectorIndex,
    encoder: Encoder,
    *,
    bases: Sequence[Fusion] = BASES,
    weights: Sequence[float] = WEIGHTS,
    metric: str = METRIC,
    instruction: str | None = None,
    candidates: int | None = None,
) -> Tuned:
    """Search a collection once on either side, then fuse in every way and score it.

    Of equally good ways the one whose weight is nearest to a half is the best, then the one that comes first in
    ``bases``. Raises EvaluationError where there is nothing to try.
    """
    if not bases or not weights:
        raise EvaluationError("there is no fusion to try; give at least one and a weight for it")
    texts = [query.text for query in collection.queries]
    vectors = encoder.encode_queries(texts, instruction)
    corpus = examine(collection, index)
    depth = max(base.depth for base in bases)
    plan = Plan(k=DEPTH + 1, candidates=candidates)
    stages = run(index, texts, vectors, replace(plan, fusion=Fusion(depth=depth)))
    dense, lexical = stages[0], stages[1]

    def measure(stage: Stage) -> Estimate:
        found, qrels = ranked(corpus, collection, stage.scores, stage.rows, DEPTH)
        return score({query: dict(hits) for query, hits in found.items()}, qrels, [metric]).estimate(metric)

    tried = []
    for base in bases:
        if base.is_absolute:  # scores are looked up in the index
            ways = [replace(base, weight=weight) for weight in weights]
            tried += [Tried(way, measure(run(index, texts, vectors, replace(plan, fusion=way))[-1])) for way in ways]
            continue
        pair = (dense.cut(base.depth), lexical.cut(base.depth))
        parts = [sides(*pair, base, query) for query in range(len(texts))]
        for weight in weights:
            lines = [
                ordered(blend(first, second, weight)[None], union[None], DEPTH + 1) for union, first, second in parts
            ]
            scores, rows = (np.concatenate([line[side] for line in lines]) for side in (0, 1))
            tried.append(Tried(replace(base, weight=weight), measure(Stage("fused", rows, scores))))
    best = max(tried, key=lambda one: (round(one.value, 6), -abs(one.fusion.weight - 0.5)))
    return Tuned(best, tuple(tried), measure(dense), measure(lexical), metric, len(texts))
