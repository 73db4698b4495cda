"""The curve of recall against time of an index that is there, and other search parameters for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.ann.builder import Stage
from searchapp.index.ann.calibration import DEPTH, CalibrationQueries, MeasuredIndex, OperatingPoint, sweep, timed
from searchapp.index.ann.cold import with_point
from searchapp.index.ann.files import open_ann
from searchapp.index.ann.queries import read_queries, synthetic_queries
from searchapp.index.ann.rules import CANDIDATES, parameter_grid
from searchapp.index.reader import VectorIndex
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.manifest import RESCORED_A_HIT, Ann, Manifest
from searchapp.index.storage.writer import Writer

DEPTHS = tuple(sorted({RESCORED_A_HIT * DEPTH, *CANDIDATES}))  # the first is the least that ten hits rescore


@dataclass(frozen=True)
class Curve:
    """Every setting measured, the one the index is set to among them, and where the queries came from."""

    points: tuple[OperatingPoint, ...]
    current: OperatingPoint
    queries: int
    origin: str

    def pareto_front(self) -> tuple[OperatingPoint, ...]:
        """The points that no other one beats in both recall and time, the fastest first."""
        kept: list[OperatingPoint] = []
        for point in sorted(self.points, key=lambda point: (point.milliseconds, -point.recall)):
            if not kept or point.recall > kept[-1].recall:
                kept.append(point)
        return tuple(kept)

    def fastest(self, recall: float) -> OperatingPoint:
        """The fastest point that reaches a recall. Raises IndexStoreError where none does."""
        reaching = [point for point in self.points if point.recall >= recall]
        if not reaching:
            most = max(point.recall for point in self.points)
            raise IndexStoreError(
                f"no setting of this index reaches recall {recall:g}, the best {most:.3f}; "
                f"give a lower --recall, or make another index: searchapp reindex --recall {recall:g}"
            )
        return min(reaching, key=lambda point: point.milliseconds)


def tune(index: VectorIndex, queries: np.ndarray | None = None, stage: Stage | None = None) -> Curve:
    """Measure the settings of an index with its probe queries, or with unit query vectors (n, dim) of the user's."""
    manifest, tell = index.manifest, stage or (lambda _: None)
    ann = manifest.ann
    alive = None if ann is None or index.alive is None else index.alive[: ann.rows]
    if ann is None or not ann.rows or (alive is not None and not alive.any()):
        root = index.snapshot.root
        raise IndexStoreError(
            f"{root} has too few documents ({manifest.documents:,}) for the FAISS index it was made with, so there is "
            f"nothing to tune; add some with `searchapp add {root} SOURCE...`, then `searchapp compact {root}`"
        )
    origin, vectors = "of the user's", index.vectors.among(index.alive)
    if queries is None and manifest.probes is not None:
        queries = read_queries(index.snapshot.path(manifest.probes), manifest.dim)
        origin = "fragments of the documents"
    if queries is None:
        queries, origin = synthetic_queries(vectors), "made up from stored vectors"
    tell("finding the exact hits")
    truth = CalibrationQueries.over(queries, vectors.living(ann.rows))
    measured = MeasuredIndex(open_ann(index.snapshot.path(ann.file), ann.parameters), index.reduction, vectors, alive)
    current = timed(measured, truth, _current(measured, truth, ann))
    points = [current]
    for number, steps in enumerate([] if ann.is_exact else sweep(measured, truth, _grid(ann), DEPTHS)):
        tell(f"measuring, step {number + 1}")
        points += [timed(measured, truth, point) for point in steps if _differs(point, current)]
    return Curve(tuple(points), current, len(queries), origin)


def _grid(ann: Ann) -> list[dict[str, int]]:
    """The search parameters to measure, those that are set among them."""
    grid = parameter_grid(ann.factory)
    return grid if ann.parameters in grid else [*grid, ann.parameters]


def _differs(point: OperatingPoint, other: OperatingPoint) -> bool:
    return (point.parameters, point.candidates) != (other.parameters, other.candidates)


def _current(measured: MeasuredIndex, queries: CalibrationQueries, ann: Ann) -> OperatingPoint:
    """The operating point that the index is set to, not yet timed."""
    if ann.is_exact:
        return OperatingPoint(ann.parameters, 0, 1.0)
    return next(sweep(measured, queries, [ann.parameters], [ann.candidates]))[0]


def settle(path: Path, before: Manifest, point: OperatingPoint, queries: int, *, disk: Disk | None = None) -> Manifest:
    """Store a point as the index's setting. Raises IndexStoreError where the index changed since it was measured."""
    with Writer.open(path, disk) as writer:
        manifest = writer.manifest
        if manifest is None or manifest.ann is None or before.ann is None or manifest.ann.file != before.ann.file:
            raise IndexStoreError(f"{path} was made anew while it was measured; run `searchapp tune` again")
        measured = {"recall": point.recall, "milliseconds": point.milliseconds, "queries": queries}
        ann = replace(
            manifest.ann,
            parameters=point.parameters,
            candidates=point.candidates,
            measured=with_point({**manifest.ann.measured, **measured}, manifest.ann.candidates, point),
        )
        return writer.commit(manifest.with_files(ann=ann))


def draw(curve: Curve, to: Path, *, title: str, chosen: OperatingPoint | None = None) -> None:
    """Draw recall against milliseconds a query as a PNG: all points, the Pareto front, the stored setting."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(*_coordinates(curve.points), color="0.7", s=14, label="settings")
    axes.plot(*_coordinates(curve.pareto_front()), color="tab:blue", marker="o", markersize=4, label="best of them")
    axes.scatter(*_coordinates([curve.current]), color="tab:orange", marker="*", s=130, zorder=3, label="as it is set")
    if chosen is not None:
        axes.scatter(*_coordinates([chosen]), color="tab:red", marker="D", s=40, zorder=3, label="chosen")
    axes.set(xscale="log", xlabel="milliseconds a query (one thread)", ylabel="recall@10", title=title)
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3, which="both")
    figure.savefig(to, dpi=120)


def _coordinates(points: Sequence[OperatingPoint]) -> tuple[list[float], list[float]]:
    return [point.milliseconds for point in points], [point.recall for point in points]
