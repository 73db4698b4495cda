"""Which model for these documents: the same queries over the same documents by each, with what it costs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.encoder import Encoder
from searchapp.evaluate.bootstrap import bootstrap_mean
from searchapp.evaluate.collection import Collection
from searchapp.evaluate.retrieval import IndexConfig, Request, Result, evaluate_collection
from searchapp.evaluate.significance import paired_randomisation
from searchapp.index import Snapshot
from searchapp.search.fusion import DEFAULT

if TYPE_CHECKING:
    from searchapp.progress import Progress

METRIC = "nDCG@10"
METHODS = ("dense", "hybrid")  # vectors alone, and what a search does by default


@dataclass(frozen=True)
class Estimate:
    """A mean over the queries with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Gap:
    """A model's mean minus that of the first one, with its 95 % bootstrap interval and the randomisation test's p."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class ModelFigures:
    """What one model brings and costs.

    ``dense`` and ``hybrid`` are ``METRIC`` of the vectors alone and of a search by default; ``gaps`` are their
    differences to the first model, none for that one. ``tokens_per_second`` are those of encoding the
    documents here; ``vector_bytes`` are those of a document's vector as it is stored, ``model_bytes`` those of the
    model's weights on disk, with those it is put on. ``reach`` is the share of the tokens of a
    sample of the documents that it reads.
    """

    name: str
    dense: Estimate
    hybrid: Estimate
    gaps: dict[str, Gap]
    dimensions: int
    vector_bytes: int
    model_bytes: int
    tokens: int
    reach: float
    tokens_per_second: float
    device: str
    dtype: str

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints for it."""
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """A model's figures and, for the differences, its values by method and query."""

    figures: ModelFigures
    values: dict[str, np.ndarray]


def evaluate_models(
    collection: Collection,
    encoders: Sequence[tuple[str, Callable[[], Encoder]]],
    work: Path,
    *,
    progress: Progress | None = None,
    each: Callable[[ModelFigures], None] | None = None,
) -> list[ModelFigures]:
    """Measure every model on a collection, one after the other, and compare each with the first.

    ``encoders`` are names with what loads them, so that one model is in memory at a time; ``each`` is told what a model
    brought as soon as it is known. Indexes are made below ``work`` and removed. Raises ModelError for a model that
    cannot be loaded, and what ``evaluate_collection`` raises.
    """
    found: list[Measured] = []
    for number, (name, load) in enumerate(encoders):
        one = _measure(collection, name, load(), work / str(number), found[0] if found else None, progress)
        found.append(one)
        if each is not None:
            each(one.figures)
    return [one.figures for one in found]


def _measure(
    collection: Collection, name: str, encoder: Encoder, work: Path, first: Measured | None, progress: Progress | None
) -> Measured:
    request = Request((METRIC,), fusion=DEFAULT)
    config = IndexConfig(pca=0, factory="Flat")  # nothing but the model differs
    results = evaluate_collection(collection, encoder, [config], work, request, progress=progress)
    plan = Snapshot.open(work).manifest.build
    shutil.rmtree(work)
    by_method = {result.setting.method: result for result in results}
    values = {method: _values(by_method[method]) for method in METHODS}
    gaps = {} if first is None else {method: _gap(values[method] - first.values[method]) for method in METHODS}
    checkpoint = encoder.checkpoint
    weights = [checkpoint.weights] if checkpoint.weights.is_file() else list(checkpoint.weights.glob("*.safetensors"))
    weights += [file for adapter in checkpoint.adapters for file in adapter.glob("*.safetensors")]
    figures = ModelFigures(
        name,
        _estimate(values["dense"]),
        _estimate(values["hybrid"]),
        gaps,
        encoder.dim,
        2 * encoder.dim,  # stored as float16
        sum(file.stat().st_size for file in weights),
        plan.tokens,
        1 - plan.reach.beyond / max(1, plan.reach.tokens),
        plan.tokens / max(plan.seconds["encode"], 1e-9),
        encoder.device,
        encoder.dtype,
    )
    return Measured(figures, values)


def _values(result: Result) -> np.ndarray:
    """One number a query, in the order of their ids."""
    values = result.scores.per_query[METRIC]
    return np.array([values[query] for query in sorted(values)])


def _estimate(values: np.ndarray) -> Estimate:
    return Estimate(float(values.mean()), *bootstrap_mean(values))


def _gap(differences: np.ndarray) -> Gap:
    low, high = bootstrap_mean(differences)
    return Gap(float(differences.mean()), low, high, float(paired_randomisation(differences)[0]))
