"""Trials: the rules are tried on a sample of the vectors, before any of them is built over all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from searchapp.index.ann.calibration import DEPTH, TIMED, CalibrationQueries, MeasuredIndex, OperatingPoint, calibrate
from searchapp.index.ann.pca import Fit, Pca, reduced_blocks, reduced_sample
from searchapp.index.ann.predict import ROWS, Sample, predict, predictable
from searchapp.index.ann.rescore import exact_scores
from searchapp.index.ann.rules import DEEPENING, STANDARD, AnnConfig, Rule, bytes_of, default_config, instantiate
from searchapp.index.ann.searcher import AnnIndex
from searchapp.index.ann.train import add, train, training_rows
from searchapp.index.storage.vectors import Held, Vectors

SAMPLE = 20_000  # rows that the rules are tried on
NEARLY = 1.1  # times the shortest time, within which a smaller index is preferred
EIGHTHS = (1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4)  # of the dimensions: the reductions that `auto` tries


@dataclass(frozen=True)
class Trial:
    """A config, its operating point, and the milliseconds that a query is expected to take over all rows.

    The point was measured on a sample, or predicted from one, as ``where`` says. It is None for exact search, whose
    recall is 1, and for a config that the user gave.
    """

    rule: Rule
    config: AnnConfig
    point: OperatingPoint | None = None
    expected: float = float("inf")
    where: str = "by prediction"

    def rank(self, shortest: float, dim: int, rows: int) -> tuple[float, float]:
        """The sort key: trials expected within ``shortest`` milliseconds by size, then all others by time."""
        size = bytes_of(self.rule, self.config.pca or dim, rows)
        return (0.0, size) if self.expected <= shortest else (1.0, self.expected)

    def with_reading(self, row_milliseconds: float) -> Trial:
        """The same, where each candidate takes so much longer on average as it has to be read from disk."""
        candidates = self.point.candidates if self.point else 0
        return replace(self, expected=self.expected + candidates * row_milliseconds)


def try_rules(
    rules: Sequence[tuple[Rule, AnnConfig]],
    vectors: Vectors,
    queries: np.ndarray,
    pca: Callable[[int | None], Pca | None],
    target: float,
    rows: int | None = None,
) -> list[Trial]:
    """A trial of each rule over a sample of the vectors: codes are predicted, what else there is, is built and timed.

    ``rows`` is how many vectors the index will have where that is not all of these.
    Where both kinds meet, the best of the codes is built as well, so that predicted times are those of this machine.
    """
    rows, sample = rows or vectors.rows, vectors.sample(SAMPLE)
    seen = Sample.of(np.concatenate(list(sample.sampled_blocks(ROWS))), queries)
    trials, others = [], []
    for rule, config in rules:
        if predictable(rule):
            found = predict(rule, config, seen, rows, pca(config.pca), target)
            point = OperatingPoint(dict(config.parameters), found.candidates, found.recall)
            trials.append(Trial(rule, config, point, found.milliseconds))
        else:
            others.append((rule, config))
    if not any(not rule.exact for rule, _ in others):
        return [*trials, *(Trial(rule, config) for rule, config in others)]
    truth = CalibrationQueries.over(queries, sample.blocks())
    if reached := [trial for trial in trials if trial.point and trial.point.recall >= target]:
        best = min(reached, key=lambda trial: trial.expected)
        built = try_rule(best.rule, best.config, sample, rows, truth, pca(best.config.pca), target)
        slower = built.expected / best.expected
        trials = [replace(trial, expected=slower * trial.expected) for trial in trials]
    return trials + [try_rule(rule, config, sample, rows, truth, pca(config.pca), target) for rule, config in others]


def try_rule(
    rule: Rule,
    config: AnnConfig,
    sample: Held,
    rows: int,
    queries: CalibrationQueries,
    pca: Pca | None,
    target: float,
) -> Trial:
    """Build a config over a sample of ``rows`` vectors, with as many lists as suit the sample, and measure it there.

    ``queries`` have their ground truth among the sample. The time over all rows is extrapolated in two parts: that of
    the first stage by the rule's ``growth``, that of rescoring by ``DEEPENING``.
    """
    if rule.exact:
        return Trial(rule, config)
    small = instantiate(rule, sample.count, sample.dim, config.pca)
    raw = train(small, reduced_sample(sample, training_rows(small.factory, config.pca or sample.dim), pca))
    add(small, raw, reduced_blocks(sample.blocks(), pca))
    index = MeasuredIndex(AnnIndex(raw, {}), pca, sample)
    point = calibrate(index, queries, small.factory, target)
    scan = _scan_milliseconds(index, queries, point)
    larger = rows / sample.count
    rescoring = max(0.0, point.milliseconds - scan) * larger**DEEPENING
    expected = scan * larger**rule.growth + rescoring
    return Trial(rule, config, point, expected, f"on {sample.count:,} vectors")


def finalists(trials: Sequence[Trial], dim: int, rows: int, target: float) -> tuple[list[Trial], list[str]]:
    """The trials whose configs are to be built, in order, until one reaches the target; a sentence for each other one.

    First the smallest of those that reached the target in nearly the shortest time, then the others that reached it,
    the fastest first. Last comes exact search if it was tried, else the config that missed the target by least.
    """
    reached = [trial for trial in trials if trial.point and trial.point.recall >= target]
    missed = [trial for trial in trials if trial.point and trial.point.recall < target]
    notes = [
        f"{trial.config} reached recall {trial.point.recall:.3f} of {target:g} {trial.where}"
        for trial in missed
        if trial.point
    ]
    shortest = min((trial.expected for trial in reached), default=0.0)
    order = sorted(reached, key=lambda trial: trial.rank(NEARLY * shortest, dim, rows))
    notes += [f"{trial.config} is expected to take {trial.expected:.2f} ms a query" for trial in order[1:]]
    exact = [trial for trial in trials if trial.point is None]
    return [*order, *(exact or sorted(missed, key=lambda trial: trial.point.recall if trial.point else 0)[-1:])], notes


def _scan_milliseconds(index: MeasuredIndex, queries: CalibrationQueries, point: OperatingPoint) -> float:
    """CPU time of the first stage alone, one query at a time, median: the part that grows with the rows."""
    index.ann.set(point.parameters)
    spent = []
    for query in index.reduced(queries.queries[:TIMED]):
        began = time.process_time()
        index.ann.search(query[None], min(max(point.candidates, DEPTH), index.ann.rows))
        spent.append(time.process_time() - began)
    return 1_000 * float(np.median(spent))


def smallest_dimensions(sample: Held, queries: np.ndarray, fit: Fit, target: float) -> tuple[list[int], list[str]]:
    """The reductions from the smallest one on that reaches the target on the sample, and a sentence for each smaller.

    Measured is recall@10 after rescoring the best candidates of exact search in the reduced space. Empty where no
    reduction reaches the target.
    """
    truth = CalibrationQueries.over(queries, sample.blocks())
    dims = dimensions(sample.dim, fit.axes.shape[1])
    notes: list[str] = []
    for number, dim in enumerate(dims):
        pca = fit.pca(dim)
        exact = default_config("Flat", reduced=False)
        index = train(exact, np.empty((0, dim), dtype=np.float32))
        add(exact, index, reduced_blocks(sample.blocks(), pca))
        _, rows = index.search(pca.apply(queries), min(STANDARD, sample.count))
        found = truth.recall(exact_scores(sample, queries, rows))
        if found >= target:
            return dims[number:], notes
        notes.append(f"PCA {dim} reached recall {found:.3f} of {target:g} on {sample.count:,} vectors")
    return [], notes


def dimensions(dim: int, most: int) -> list[int]:
    """The reductions that are tried, ascending, whole bytes where there are enough dimensions."""
    step = 8 if dim >= 128 else 1
    found = {max(1, round(share * dim / step) * step) for share in EIGHTHS}
    return sorted(size for size in found if size <= most)
