"""Runs against each other over the same queries: how far apart they are, and whether that could be chance."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from searchapp.errors import EvaluationError
from searchapp.evaluate.bootstrap import bootstrap_mean
from searchapp.evaluate.collection import Qrels
from searchapp.evaluate.metrics import DEFAULT_METRICS, UNJUDGED, Scores, score
from searchapp.evaluate.run import Run
from searchapp.evaluate.significance import PERMUTATIONS, holm, paired_randomisation

EQUAL = 1e-9
"""Values of a query closer than this are a tie: the last digits depend on the order of additions."""


@dataclass(frozen=True)
class Difference:
    """The second run minus the first in one metric.

    ``low`` and ``high`` are the ends of the 95 % bootstrap interval, ``p`` is the paired randomisation test's, two
    sided, and ``p_holm`` that p-value corrected for all the pairs of runs compared in this metric (equal to ``p`` where
    there is one pair). ``wins`` counts the queries on which the second run is better.
    """

    value: float
    low: float
    high: float
    p: float
    p_holm: float
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Pair:
    """Two runs and their difference in every metric."""

    first: str
    second: str
    metrics: dict[str, Difference]


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found. ``queries`` are those compared, and ``dropped`` says in sentences what was left out."""

    scores: dict[str, Scores]
    pairs: tuple[Pair, ...]
    queries: tuple[str, ...]
    dropped: tuple[str, ...]
    permutations: int

    def moved(self, pair: Pair, metric: str, most: int) -> list[tuple[str, float, float]]:
        """Return (query, value in the first run, in the second) of the queries that moved most, the furthest first."""
        first, second = (self.scores[name].per_query[metric] for name in (pair.first, pair.second))
        changed = [query for query in self.queries if abs(second[query] - first[query]) > EQUAL]
        changed.sort(key=lambda query: (-abs(second[query] - first[query]), query))
        return [(query, first[query], second[query]) for query in changed[:most]]

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints: the differences as results, the runs themselves beside them."""
        common = {"queries": len(self.queries), "permutations": self.permutations, "dropped": list(self.dropped)}
        results = [
            {
                "setting": {"run_a": pair.first, "run_b": pair.second, "difference": "run_b - run_a", **common},
                "metrics": {metric: asdict(found) for metric, found in pair.metrics.items()},
            }
            for pair in self.pairs
        ]
        runs = [
            {
                "setting": {"run": name, "queries": scores.queries, "queries_missing": scores.missing},
                "metrics": {metric: asdict(found) for metric, found in scores.estimates().items()},
            }
            for name, scores in self.scores.items()
        ]
        return {"results": results, "runs": runs}


def compare(
    runs: Mapping[str, Run],
    pools: Sequence[Qrels],
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    intersect: bool = False,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Comparison:
    """Compare every two of the runs, in their order, on the judged queries.

    ``pools`` holds the judgements: one for all runs, or one for each. Runs that answer different queries, and pools
    that judge different documents, cannot be compared fairly and are refused; with ``intersect`` only the queries that
    all runs answer, and the judgements that all pools hold, count. A judged query that no run answers counts 0 in all
    of them, but with ``intersect`` is left out. Unjudged@10 is always measured.

    Raises EvaluationError where fewer than two runs are given, they are refused, nothing is left to compare, or a run
    holds none of the documents judged.
    """
    if len(runs) < 2:
        raise EvaluationError(f"found {len(runs)} run, expected at least two to compare; give another file")
    qrels, dropped = _common_pool(pools, intersect)
    answered = {name: {query for query in qrels if run.get(query)} for name, run in runs.items()}
    qrels, left_out = _common_queries(qrels, answered, intersect)
    dropped += left_out
    for name, run in runs.items():
        if not any(document in qrels[query] for query in qrels for document in run.get(query, ())):
            raise EvaluationError(
                f"run {name} holds none of the documents judged, expected some; check that run and qrels belong to the "
                "same collection"
            )
        if unjudged := sum(query not in pools[0] for query in run):
            dropped.append(f"{name}: {unjudged} queries that are not judged are left out")
    scores = {name: score(run, qrels, [*dict.fromkeys([*metrics, UNJUDGED])]) for name, run in runs.items()}
    pairs = _corrected([_pair(*two, scores, permutations, seed) for two in itertools.combinations(runs, 2)])
    return Comparison(scores, pairs, tuple(qrels), tuple(dropped), permutations)


def _pair(first: str, second: str, scores: Mapping[str, Scores], permutations: int, seed: int) -> Pair:
    return Pair(first, second, differences(scores[first], scores[second], permutations=permutations, seed=seed))


def differences(
    first: Scores, second: Scores, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> dict[str, Difference]:
    """Return the second scores minus the first, query by query, in every metric; both are of the same queries."""
    names = list(first.per_query)
    columns = [
        [second.per_query[metric][query] - value for query, value in first.per_query[metric].items()]
        for metric in names
    ]
    values = np.array(columns, np.float64).T
    values[np.abs(values) <= EQUAL] = 0.0
    p_values = paired_randomisation(values, permutations=permutations, seed=seed).tolist()
    found = {}
    for metric, column, p in zip(names, values.T, p_values, strict=True):
        low, high = bootstrap_mean(column, resamples=permutations, seed=seed)
        wins, losses = int((column > 0).sum()), int((column < 0).sum())
        found[metric] = Difference(
            float(column.mean()), low, high, p, p, wins=wins, ties=len(column) - wins - losses, losses=losses
        )
    return found


def _corrected(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Correct the p-values of each metric for the number of pairs."""
    tables: list[dict[str, Difference]] = [dict(pair.metrics) for pair in pairs]
    for metric in pairs[0].metrics:
        for table, p in zip(tables, holm([table[metric].p for table in tables]), strict=True):
            table[metric] = replace(table[metric], p_holm=p)
    return tuple(replace(pair, metrics=table) for pair, table in zip(pairs, tables, strict=True))


def _common_pool(pools: Sequence[Qrels], intersect: bool) -> tuple[Qrels, list[str]]:
    """The judgements that all pools share, and what of them was dropped."""
    judged = [{(query, document) for query in pool for document in pool[query]} for pool in pools]
    common = set.intersection(*judged)
    total = len(set.union(*judged))
    for query, document in common:
        levels = sorted({pool[query][document] for pool in pools})
        if len(levels) > 1:
            raise EvaluationError(
                f"query {query!r}, document {document!r} is judged {levels[0]} in one file and {levels[1]} in another, "
                "expected one judgement; compare the runs on one qrels file"
            )
    if len(common) == total:
        return pools[0], []
    if not intersect:
        raise EvaluationError(
            f"the judged pools differ: {total - len(common):,} of {total:,} judgements are not in all {len(pools)} "
            "qrels files, expected the same ones; give one qrels file, or --intersect to count only the common ones"
        )
    if not common:
        raise EvaluationError(f"the {len(pools)} qrels files have no judgement in common; compare within one pool")
    kept = {
        query: {document: level for document, level in levels.items() if (query, document) in common}
        for query, levels in pools[0].items()
    }
    said = f"{total - len(common):,} of {total:,} judgements are not in all qrels files and were dropped"
    return {query: levels for query, levels in kept.items() if levels}, [said]


def _common_queries(qrels: Qrels, answered: Mapping[str, set[str]], intersect: bool) -> tuple[Qrels, list[str]]:
    """The judgements of the queries to compare on, and what was dropped."""
    common, some = set.intersection(*answered.values()), set.union(*answered.values())
    if not common:
        counts = ", ".join(f"{name} {len(queries)}" for name, queries in answered.items())
        raise EvaluationError(
            f"no judged query is answered by all runs (judged queries: {len(qrels)}; answered: {counts}), expected "
            "at least one; check that runs and qrels are of the same collection"
        )
    if common != some and not intersect:
        lacking = min(answered, key=lambda name: len(answered[name]))
        example = min(some - answered[lacking])
        counts = ", ".join(f"{name} {len(queries)}" for name, queries in answered.items())
        raise EvaluationError(
            f"the runs answer different queries ({counts} of {len(qrels)} judged; {lacking} lacks {example!r}), "
            f"expected the same ones; give --intersect to compare on the {len(common)} that all answer"
        )
    nowhere = len(qrels) - len(some)
    if not intersect:
        return qrels, [f"{nowhere} judged queries are in no run and count as 0 in all of them"] if nowhere else []
    dropped = [
        f"{name}: {len(queries - common)} queries that another run lacks were dropped"
        for name, queries in answered.items()
        if queries - common
    ]
    if nowhere:
        dropped.append(f"{nowhere} judged queries are in no run and were dropped")
    return {query: levels for query, levels in qrels.items() if query in common}, dropped
