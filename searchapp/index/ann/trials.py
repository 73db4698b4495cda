"""Tries the rules that fit on a sample of the vectors, before one of them is built over all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from searchapp.index.ann.calibration import DEPTH, TIMED, Point, Probes, Subject, calibrate
from searchapp.index.ann.pca import Fit, Pca, reduced_blocks, reduced_sample
from searchapp.index.ann.rescore import exact_scores
from searchapp.index.ann.rules import STANDARD, Choice, Rule, bytes_of, made, start
from searchapp.index.ann.searcher import AnnIndex
from searchapp.index.ann.train import add, train, training_rows
from searchapp.index.storage.vectors import Held

SAMPLE = 20_000  # rows that the rules are tried on
DEEPENING = 0.4  # power of the number of rows that the candidates needed for a recall grow with (docs/log.md)
FINALISTS, CLOSE = 3, 3.0  # how many are built over all rows where these times the shortest time are expected
NEARLY = 1.1  # times the shortest time, within which a smaller index is preferred
EIGHTHS = (1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4)  # of the dimensions: the reductions that `auto` tries


@dataclass(frozen=True)
class Trial:
    """A choice, what it measured on the sample, and the milliseconds a query is expected to take over all rows."""

    rule: Rule
    choice: Choice
    point: Point | None = None
    expected: float = float("inf")
    close: bool = False  # so near to the fastest that only building it over all rows can tell

    def rank(self, shortest: float, dim: int, rows: int) -> tuple[float, float]:
        """What trials are sorted by: those up to ``shortest`` milliseconds by size, all others by time after them."""
        size = bytes_of(self.rule, self.choice.pca or dim, rows)
        return (0.0, size) if self.expected <= shortest else (1.0, self.expected)


def screen(
    pairs: Sequence[tuple[Rule, Choice]],
    sample: Held,
    rows: int,
    queries: np.ndarray,
    target: float,
    projection: Callable[[int], Pca],
) -> tuple[list[Trial], list[str]]:
    """The choices in the order in which they are to be built, and a sentence for each that missed on the sample.

    First the smallest of those that reached the target in nearly the shortest time, then the others that reached it,
    the fastest first; then exact search if it is among them, else the one that missed by least. ``sample`` are
    some of ``rows`` vectors.
    """
    probes = Probes.over(queries, sample.blocks())
    trials = [
        Trial(*pair)
        if pair[0].exact
        else _tried(*pair, sample, rows, probes, projection(pair[1].pca) if pair[1].pca else None, target)
        for pair in pairs
    ]
    reached = [trial for trial in trials if trial.point and trial.point.recall >= target]
    missed = [trial for trial in trials if trial.point and trial.point.recall < target]
    notes = [
        f"{trial.choice} reached recall {trial.point.recall:.3f} of {target:g} on {sample.count:,} vectors"
        for trial in missed
        if trial.point
    ]
    shortest = min((trial.expected for trial in reached), default=0.0)
    order = sorted(reached, key=lambda trial: trial.rank(NEARLY * shortest, sample.dim, rows))
    order = [
        replace(trial, close=number < FINALISTS and trial.expected <= CLOSE * shortest)
        for number, trial in enumerate(order)
    ]
    exact = [trial for trial in trials if trial.point is None]
    rest = exact or sorted(missed, key=lambda trial: trial.point.recall if trial.point else 0)[-1:]
    return [*order, *rest], notes


def _tried(
    rule: Rule, choice: Choice, sample: Held, rows: int, probes: Probes, pca: Pca | None, target: float
) -> Trial:
    """Build a choice over the sample, with as many lists as suit it, and measure it there."""
    small = made(rule, sample.count, sample.dim, choice.pca)
    index = train(small, reduced_sample(sample, training_rows(small.factory, choice.pca or sample.dim), pca))
    add(small, index, reduced_blocks(sample.blocks(), pca))
    subject = Subject(AnnIndex(index, {}), pca, sample)
    point = calibrate(subject, probes, small.factory, target)
    scan = _scan_milliseconds(subject, probes, point)
    larger = rows / sample.count
    rescoring = max(0.0, point.milliseconds - scan) * larger**DEEPENING
    return Trial(rule, choice, point, scan * larger**rule.growth + rescoring)


def _scan_milliseconds(subject: Subject, probes: Probes, point: Point) -> float:
    """CPU time of the first stage alone, one query at a time, median: the part that grows with the rows."""
    subject.ann.set(point.parameters)
    queries = probes.queries[:TIMED]
    spent = []
    for query in subject.reduced(queries):
        began = time.process_time()
        subject.ann.search(query[None], min(max(point.candidates, DEPTH), subject.ann.rows))
        spent.append(time.process_time() - began)
    return 1_000 * float(np.median(spent))


def smallest_dimension(sample: Held, queries: np.ndarray, fit: Fit, target: float) -> tuple[list[int], list[str]]:
    """The reductions from the smallest one on that reaches the target on the sample, and what the smaller ones reached.

    Measured is recall@10 after the best candidates of exact search in the reduced space are scored again. Empty where
    none reaches the target.
    """
    probes = Probes.over(queries, sample.blocks())
    dims = dimensions(sample.dim, fit.axes.shape[1])
    notes: list[str] = []
    for number, dim in enumerate(dims):
        pca = fit.pca(dim)
        exact = start("Flat", reduced=False)
        index = train(exact, np.empty((0, dim), dtype=np.float32))
        add(exact, index, reduced_blocks(sample.blocks(), pca))
        _, rows = index.search(pca.apply(queries), min(STANDARD, sample.count))
        found = probes.recall(exact_scores(sample, queries, rows))
        if found >= target:
            return dims[number:], notes
        notes.append(f"PCA {dim} reached recall {found:.3f} of {target:g} on {sample.count:,} vectors")
    return [], notes


def dimensions(dim: int, most: int) -> list[int]:
    """The reductions that are tried, ascending, whole bytes where there are enough dimensions."""
    step = 8 if dim >= 128 else 1
    found = {max(1, round(share * dim / step) * step) for share in EIGHTHS}
    return sorted(size for size in found if size <= most)
