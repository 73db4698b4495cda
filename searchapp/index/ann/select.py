"""Selects an index for a request, in three steps: rules, trials, finalists.

1. Rules: a table says which types are worth trying for so many vectors of so many dimensions.
2. Trials: what each needs is predicted from a sample, or, where that cannot be, measured with an index over the sample.
3. The most promising is built over all vectors and measured; where it misses its target, the next.

A factory string that the user gives leaves out the first two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.ann.builder import AnnBuilder, BuiltIndex
from searchapp.index.ann.calibration import CalibrationQueries
from searchapp.index.ann.finalists import comparison_notes, keeps_to, missed_targets, pick
from searchapp.index.ann.request import AnnRequest, Targets
from searchapp.index.ann.rules import GIVEN, AnnConfig, Rule, applicable, default_config, is_exact
from searchapp.index.ann.trials import SAMPLE, Trial, dimensions, finalists, smallest_dimensions, try_rules
from searchapp.index.storage.vectors import Vectors

FINALISTS = 3  # indexes built over all vectors where none keeps to a target of memory or latency


@dataclass(frozen=True)
class Selection:
    """The index that was selected, and sentences on how: what missed its target, what was slower."""

    index: BuiltIndex
    notes: tuple[str, ...]


def select(request: AnnRequest, builder: AnnBuilder, queries: CalibrationQueries, rows: int | None = None) -> Selection:
    """Build what a request asks for over the builder's vectors; of several indexes, pick one.

    ``rows`` is how many vectors such an index will have, where the builder's are a sample of them.

    Raises IndexStoreError where no type fits into the memory asked for.
    """
    expected, target = rows, request.targets.recall
    rows = rows or builder.vectors.rows
    built: list[BuiltIndex] = []
    reductions, notes = _reductions(request, builder, queries.queries)
    for reduced in reductions:
        candidates, more = _finalists(request, reduced, builder, queries.queries, expected)
        notes += more
        for finalist in candidates:
            if _settled(built, request.targets, rows):
                break
            likely = finalist.point.candidates if finalist.point else None
            built.append(builder.build(finalist.config, queries, target, likely))
            if request.factory != "auto":  # what the rules make has as many lists and codes as suit the vectors
                notes += [note for note in built[-1].notes if note not in notes]
        if _settled(built, request.targets, rows):
            break
    if not built:
        raise IndexStoreError(
            f"no index of {rows:,} vectors of {builder.vectors.dim} dimensions fits into "
            f"{request.targets.memory or 0:,.0f} bytes; give more memory (--memory), or a FAISS type (--factory)"
        )
    picked = pick(built, request.targets, rows)
    notes += comparison_notes(built, picked, target)
    notes += missed_targets(picked, request.targets, rows)
    return Selection(picked, tuple(notes))


def will_be_exact(request: AnnRequest, vectors: Vectors, rows: int | None = None) -> bool:
    """Whether a request can only come to exact search, whose recall need not be measured."""
    if request.factory != "auto" or isinstance(request.pca, str):
        return is_exact(request.factory, reduced=bool(request.pca))
    return all(config.candidates == 0 for _, config in _rules(request, request.pca, vectors, rows))


def _settled(built: Sequence[BuiltIndex], targets: Targets, rows: int) -> bool:
    """Whether one of the indexes keeps to all targets, or enough of them reached the recall and miss another one."""
    reached = [one for one in built if one.point.recall >= targets.recall]
    return any(keeps_to(one, targets, rows) for one in reached) or len(reached) >= FINALISTS


def _reductions(request: AnnRequest, builder: AnnBuilder, queries: np.ndarray) -> tuple[list[int | None], list[str]]:
    """The reductions to build, in order, until one reaches the target, and a sentence for each that was ruled out.

    Each is a dimension, 0 for no reduction, or None to leave it to the rules.
    """
    if not isinstance(request.pca, str):
        return [request.pca], []
    vectors = builder.vectors
    dims = dimensions(vectors.dim, vectors.count)
    if not dims:
        return [0], []
    fit = builder.fit(dims[-1])
    found, notes = smallest_dimensions(vectors.sample(SAMPLE), queries, fit, request.targets.recall)
    return [*found, 0], notes


def _finalists(
    request: AnnRequest, reduced: int | None, builder: AnnBuilder, queries: np.ndarray, rows: int | None
) -> tuple[list[Trial], list[str]]:
    """The trials to build for one reduction, in order, and a sentence for each that is expected to do worse."""
    vectors, target = builder.vectors, request.targets.recall
    if request.factory != "auto":
        config = default_config(request.factory, reduced=bool(reduced))
        return [Trial(GIVEN, replace(config, pca=reduced or None))], []
    rules = _rules(request, reduced, vectors, rows)
    if len(rules) < 2:
        return [Trial(rule, config) for rule, config in rules], []
    builder.stage(f"predicting {len(rules)} types of index from a sample")
    trials = try_rules(rules, vectors, queries, builder.projection, target, rows)
    trials = [trial.with_reading(builder.row_milliseconds) for trial in trials]
    return finalists(trials, vectors.dim, rows or vectors.rows, target)


def _rules(
    request: AnnRequest, reduced: int | None, vectors: Vectors, rows: int | None
) -> list[tuple[Rule, AnnConfig]]:
    """The rules worth trying for the documents not deleted; the rows of deleted ones take memory all the same."""
    targets = request.targets
    if rows is not None:
        return applicable(rows, vectors.dim, reduced, targets)
    if targets.memory is not None:
        targets = replace(targets, memory=targets.memory * vectors.count / vectors.rows)
    return applicable(vectors.count, vectors.dim, reduced, targets)
