"""Metrics of a run against judgements, per query and on average, computed by ir-measures."""

from __future__ import annotations

import difflib
import operator
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from searchapp.errors import EvaluationError
from searchapp.evaluate.bootstrap import bootstrap_mean
from searchapp.evaluate.run import ranking

if TYPE_CHECKING:
    from ir_measures import Measure

DEFAULT_METRICS = ("nDCG@10", "MAP", "MRR@10", "Recall@100", "P@10")
UNJUDGED = "Unjudged@10"
"""The share of the first ten documents that nobody judged: 1 - Judged@10. Where it is high, a metric says little."""

# pytrec_eval keeps a table with a row for every judgement from 0 to the highest, and reads row `rel` of it unchecked.
HIGHEST_JUDGEMENT = 1_000_000
HIGHEST_REL = 100


@dataclass(frozen=True)
class Estimate:
    """A mean over queries and the ends of its 95 % bootstrap interval, in the metric's own unit (mostly 0 to 1)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """What ``score`` measured.

    ``per_query`` maps a metric, spelled as it was asked for, to query id → value, one value for each judged query.
    ``missing`` counts the judged queries for which the run has no document; they are in ``per_query`` as 0.
    ``queries`` counts the judged queries, the missing ones included.
    """

    per_query: dict[str, dict[str, float]]
    missing: int
    queries: int

    def estimate(self, metric: str) -> Estimate:
        """Return the mean of a metric over the judged queries, with its interval.

        Raises EvaluationError where the metric was not measured.
        """
        if metric not in self.per_query:
            raise EvaluationError(
                f"metric {metric!r} was not measured, expected one of {', '.join(self.per_query)}; ask score() for it"
            )
        values = np.fromiter(self.per_query[metric].values(), np.float64)
        low, high = bootstrap_mean(values)
        return Estimate(float(values.mean()), low, high)

    def estimates(self) -> dict[str, Estimate]:
        """Return ``estimate`` of every metric measured."""
        return {metric: self.estimate(metric) for metric in self.per_query}


def parse_metric(name: str) -> Measure:
    """Return the ir-measures object of a metric's name.

    Any spelling ir-measures knows: ``nDCG@10``, ``P(rel=2)@5``; MAP, MRR@k and Recall@k are its AP, RR@k and R@k.
    ``score`` and ``check_metric`` know ``Unjudged@k``, 1 - Judged@k, besides.
    Note that nDCG has linear gain, as in trec_eval and BEIR.

    Raises EvaluationError where there is no such metric (the nearest one is named), it does not take the parameter,
    or its implementation is not installed.
    """
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
        _check_parameters(measure)
    except NameError:
        raise EvaluationError(f"metric {name!r} is unknown; {_nearest(name)}") from None
    except (ValueError, AssertionError, TypeError) as error:
        reason = re.sub(r"<object object at \w+>", "nothing", str(error)).removeprefix("problem parsing measure ")
        raise EvaluationError(
            f"metric {name!r} cannot be used ({reason}); expected a spelling such as nDCG@10, MAP or P(rel=2)@10"
        ) from None
    if not ir_measures.DefaultPipeline.supports(measure):
        raise EvaluationError(
            f"metric {name!r} needs a program that is not installed or parameters that none implements; "
            f"expected one such as {', '.join(DEFAULT_METRICS)}"
        )
    return measure


def check_metric(name: str) -> None:
    """Raise EvaluationError, as ``parse_metric`` does, for a name that ``score`` does not take."""
    parse_metric(_judged(name))


def _judged(name: str) -> str:
    """The ir-measures spelling of ``Unjudged@k``, whose complement it is; any other name as it is."""
    return re.sub(r"^Unjudged(?=@\d+$)", "Judged", name)


def score(
    run: Mapping[str, Mapping[str, float]],
    qrels: Mapping[str, Mapping[str, int]],
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> Scores:
    """Measure a run against judgements.

    ``run`` maps query id → document id → score, ``qrels`` query id → document id → judgement, an integer; ``metrics``
    are names for ``parse_metric``.

    Which queries count: all of ``qrels`` and no others. One that the run lacks, or for which it has no document,
    counts 0, as in ir_measures and ``trec_eval -c`` (raw pytrec_eval leaves it out). One with no judgement above 0
    counts 0 whatever the run returns and stays in the mean, as in ir_measures and trec_eval. A negative judgement (the
    TREC Web tracks write -2 for spam) is taken as 0, judged and not relevant; the special meaning of -1 for infAP,
    not judged, is not kept.

    The order of documents is that of ``ranking`` for every metric. ir_measures alone would not do this: it takes RR@k
    and Judged@k from other programs, which compare scores in double precision and break ties the other way round.

    ``Unjudged@k`` is 1 - Judged@k: a query without documents counts 1.

    A metric that a provider leaves out for a query (Accuracy where nothing relevant was found) counts 0; those that
    ir_measures adds up (NumRet, NumRel) are per query here too, and averaged by ``Scores``.

    Raises EvaluationError where there are no judged queries, a score is NaN, a judgement is no integer or above a
    million, or a metric is unknown or cannot be computed here.
    """
    import ir_measures

    measures = {name: parse_metric(_judged(name)) for name in metrics}
    judgements = _judgements(qrels)
    ranks = {query: _by_rank(query, run[query]) for query in qrels if run.get(query)}
    values = {measure: dict.fromkeys(qrels, float(measure.DEFAULT)) for measure in measures.values()}
    # ir_measures 0.4.3 confuses nDCG with `gains` and nDCG without in a common call, so the first sort goes alone.
    together = [measure for measure in values if "gains" not in measure.params]
    alone = [[measure] for measure in values if "gains" in measure.params]
    for group in filter(None, [together, *alone]):
        try:
            for metric in ir_measures.iter_calc(group, judgements, ranks):
                values[metric.measure][metric.query_id] = float(metric.value)
        except (OSError, subprocess.CalledProcessError) as error:
            raise EvaluationError(
                f"one of {', '.join(map(str, group))} is computed by a program outside that failed ({error}); "
                f"expected metrics such as {', '.join(DEFAULT_METRICS)}"
            ) from error
    per_query = {
        name: {query: 1.0 - value for query, value in values[measure].items()}
        if _judged(name) != name
        else dict(values[measure])
        for name, measure in measures.items()
    }
    return Scores(per_query, missing=len(qrels) - len(ranks), queries=len(qrels))


def _judgements(qrels: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return the judgements in the only shape that pytrec_eval 0.5.11 is safe with.

    Plain integers; none negative, as it writes outside its tables from -2 on and hangs or returns chance values where
    a query has nothing but -1; and no query without a judgement, which it gives the values of another query
    (github.com/cvangysel/pytrec_eval/issues/49).
    """
    if not qrels:
        raise EvaluationError("the judgements name no query, expected at least one; check the qrels file and the split")
    try:
        judgements = {
            q: {d: max(operator.index(level), 0) for d, level in judged.items()} for q, judged in qrels.items()
        }
    except TypeError as error:
        raise EvaluationError(f"a judgement is no integer ({error}); expected 0, 1, 2 …") from error
    for query, judged in judgements.items():
        if judged and max(judged.values()) > HIGHEST_JUDGEMENT:
            raise EvaluationError(
                f"a judgement of query {query!r} is {max(judged.values())}, expected a small integer such as 0 or 1; "
                "check that the qrels file has its columns in order"
            )
    return {query: judged for query, judged in judgements.items() if judged}


def _by_rank(query: str, scores: Mapping[str, float]) -> dict[str, float]:
    """Replace the scores by n, n-1 … 1 in the order of ``ranking``: exact in float32, and without ties."""
    documents, _ = ranking(query, scores)
    return {document: float(len(documents) - place) for place, document in enumerate(documents)}


def _check_parameters(measure: Measure) -> None:
    """Raise AssertionError or ValueError for parameters that ir_measures lets pass and no provider survives."""
    measure.validate_params()
    for parameter, highest in (("cutoff", sys.maxsize), ("rel", HIGHEST_REL)):
        value = measure.params.get(parameter, 1)
        if isinstance(value, bool) or not 1 <= value <= highest:
            raise ValueError(f"{parameter} is {value}")
    for gain in measure.params.get("gains", {}).values():
        if not isinstance(gain, int) or not 0 <= gain <= HIGHEST_JUDGEMENT:
            raise ValueError(f"a gain is {gain}")


def _nearest(name: str) -> str:
    from ir_measures.measures import registry

    word, rest = re.match(r"(\w*)(.*)", name.strip(), re.DOTALL).groups()  # type: ignore[union-attr]
    by_lower = {known.lower(): known for known in reversed(registry)}  # the main name wins over its aliases
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.5)
    return f"did you mean {by_lower[close[0]]}{rest}?" if close else f"expected one of {', '.join(DEFAULT_METRICS)}"
