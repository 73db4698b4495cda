"""How many dimensions and bits a vector needs: every form of it searched and scored, in one encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.encoder import Encoder
from searchapp.errors import EvaluationError
from searchapp.evaluate.collection import Collection
from searchapp.evaluate.compare import Difference, differences
from searchapp.evaluate.metrics import Scores, parse_metric, score
from searchapp.evaluate.protocol import Corpus, examine, ranked
from searchapp.evaluate.significance import holm
from searchapp.evaluate.vector_forms import (
    FLOAT16,
    CompactIndex,
    Form,
    all_forms,
    check_dims,
    dimensions_for,
    kept_variance,
)
from searchapp.index import BuildSettings, VectorIndex, build
from searchapp.index.ann.pca import WHOLE, fit
from searchapp.index.ann.rules import STANDARD
from searchapp.index.storage.vectors import unit
from searchapp.progress import Silent

if TYPE_CHECKING:
    from searchapp.progress import Progress

METRICS = ("nDCG@10",)
SHARES = (0.5, 0.8, 0.9, 0.95, 0.99)  # of the variance: how many axes hold them says how fast a spectrum falls
DEPTH = 100  # documents of a query that are ranked, and candidates that are rescored


@dataclass(frozen=True)
class DimensionsRequest:
    """What is measured: the dimensions, by which metrics; the rules are those of ``protocol.examine``.

    ``candidates`` documents of a query are ranked, and rescored where a form is. ``auto`` also builds the index that
    ``build --pca auto`` would, and measures it as it stands.
    """

    dims: tuple[int, ...]
    metrics: tuple[str, ...] = METRICS
    instruction: str | None = None
    candidates: int = STANDARD
    self_rule: str = "auto"
    duplicate_rule: str = "keep"
    auto: bool = True

    def check(self, dim: int) -> None:
        """Raise EvaluationError for dimensions that do not fit, or a metric that looks below the last candidate."""
        if not self.dims:
            raise EvaluationError("--dims names no dimension; give numbers, such as 32,64,128")
        check_dims(self.dims, dim)
        for name in self.metrics:
            if (deepest := cutoff_of(name)) and deepest > self.candidates:
                raise EvaluationError(
                    f"{name} looks at {deepest} documents and --dims ranks {self.candidates} of a query; "
                    f"give a metric with a smaller cutoff, or --candidates {deepest}"
                )


@dataclass(frozen=True)
class MeasuredForm:
    """What a form of the vectors brought.

    ``bytes`` is what a vector takes in the index that is searched, ``rows`` what its float16 row takes beside it (0
    where nothing is rescored). ``variance`` is the share of the variance that its dimensions hold. ``differences`` are
    to all dimensions in float16, by metric, their p-values corrected for all the forms of the collection.
    """

    form: Form
    bytes: int
    rows: int
    variance: float
    scores: Scores
    differences: Mapping[str, Difference]

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints for it."""
        return {
            "form": {**asdict(self.form), "name": self.form.name},
            "bytes": self.bytes,
            "rows_bytes": self.rows,
            "explained_variance": self.variance,
            "metrics": {name: asdict(one) for name, one in self.scores.estimates().items()},
            "differences": {name: asdict(one) for name, one in self.differences.items()},
        }


@dataclass(frozen=True)
class AutoReduction:
    """What ``build --pca auto`` took, and how that index scores as it stands.

    ``dim`` is None where no reduction kept the recall. ``recall`` is its recall@10 against exact search, measured when
    it was built; ``notes`` say which reductions were passed over.
    """

    dim: int | None
    factory: str
    candidates: int
    recall: float
    bytes: float
    notes: tuple[str, ...]
    scores: Scores
    differences: Mapping[str, Difference]

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints for it."""
        return {
            **{name: getattr(self, name) for name in ("dim", "factory", "candidates", "recall", "bytes")},
            "notes": list(self.notes),
            "metrics": {name: asdict(one) for name, one in self.scores.estimates().items()},
            "differences": {name: asdict(one) for name, one in self.differences.items()},
        }


@dataclass(frozen=True)
class Dimensions:
    """The forms of one collection's vectors, all dimensions in float16 first.

    ``spectrum`` maps a share of the variance to how many leading axes hold it, None where more than the largest of
    ``--dims``.
    """

    collection: str
    split: str
    model: str
    dim: int
    documents: int
    queries: int
    candidates: int
    forms: tuple[MeasuredForm, ...]
    spectrum: Mapping[float, int | None]
    auto: AutoReduction | None = None
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints for it."""
        names = ("collection", "split", "model", "dim", "documents", "queries", "candidates")
        return {
            "setting": {name: getattr(self, name) for name in names},
            "spectrum": {f"{share:g}": count for share, count in self.spectrum.items()},
            "forms": [one.to_json() for one in self.forms],
            "auto": self.auto.to_json() if self.auto else None,
            "notes": list(self.notes),
        }


def measure_dimensions(
    collection: Collection,
    encoder: Encoder,
    request: DimensionsRequest,
    work: Path,
    *,
    progress: Progress | None = None,
) -> Dimensions:
    """Encode a collection once into an index at ``work``, and measure every form of its vectors.

    Raises EvaluationError for dimensions that do not fit the encoder before anything is encoded; whether there are
    documents enough for PCA is known only after.
    """
    request.check(encoder.dim)
    source = [str(collection.corpus)]
    settings = BuildSettings(0, "Flat", lexical=False)
    build(source, work, encoder, settings, progress=progress)
    vectors = unit(encoder.encode_queries([query.text for query in collection.queries], request.instruction))
    measured = measure_index(collection, VectorIndex.open(work), vectors, request, progress=progress)
    if not request.auto:
        return measured
    build(source, work, encoder, replace(settings, pca="auto", factory="auto"), progress=progress)
    reference = measured.forms[0].scores
    return replace(measured, auto=_measure_auto(collection, VectorIndex.open(work), vectors, request, reference))


def measure_index(
    collection: Collection,
    index: VectorIndex,
    queries: np.ndarray,
    request: DimensionsRequest,
    *,
    progress: Progress | None = None,
) -> Dimensions:
    """Measure every form of the vectors that an index holds, by unit query vectors (n, dim) in the collection's order.

    Raises EvaluationError where the index lacks more than 5 % of what is judged, or dimensions do not fit.
    """
    vectors = index.vectors.among(index.alive)
    request.check(vectors.dim)
    check_dims(request.dims, vectors.dim, vectors.count)
    corpus = examine(collection, index, self_rule=request.self_rule, duplicate_rule=request.duplicate_rule)
    progress = progress or Silent()
    # All axes where that is quick, for the spectrum; of very long vectors those that are asked for.
    axes = fit(vectors, min(vectors.dim if vectors.dim <= WHOLE else max(request.dims), vectors.count))
    depth = request.candidates + (1 if corpus.selves else 0)
    forms = all_forms(vectors.dim, request.dims)
    progress.stage("searching every form of the vectors", len(forms), "forms")
    # Exact, as a search without an index is: what all else is compared with.
    exact = index.search_rows(queries, min(depth, vectors.count), index.allowed(), indexed=0)
    reference = _scored(collection, corpus, request, *exact)
    measured = [MeasuredForm(forms[0], FLOAT16 * vectors.dim, 0, 1.0, reference, differences(reference, reference))]
    built: CompactIndex | None = None
    for form in forms[1:]:
        if built is None or built.form != replace(form, rescored=False):
            built = CompactIndex.build(replace(form, rescored=False), vectors, axes)
        found = _scored(collection, corpus, request, *built.search(queries, depth, vectors, rescored=form.rescored))
        rows = FLOAT16 * vectors.dim if form.rescored else 0
        apart = differences(reference, found)
        measured.append(MeasuredForm(form, built.bytes, rows, kept_variance(form, axes), found, apart))
        progress.advance()
    return Dimensions(
        collection.name,
        collection.split,
        index.manifest.encoder["reference"]["model"],
        vectors.dim,
        index.manifest.documents,
        reference.queries,
        request.candidates,
        _corrected(measured),
        dimensions_for(SHARES, axes),
        notes=tuple(corpus.sentences()),
    )


def cutoff_of(metric: str) -> int | None:
    """How many documents a metric looks at; None for all of them."""
    found = parse_metric(metric.replace("Unjudged@", "Judged@")).params.get("cutoff")
    return int(found) if found is not None else None


def _measure_auto(
    collection: Collection,
    index: VectorIndex,
    queries: np.ndarray,
    request: DimensionsRequest,
    reference: Scores,
) -> AutoReduction:
    """Search an index as a user would: as deep as the metrics look, with the candidates that it chose for itself."""
    corpus = examine(collection, index, self_rule=request.self_rule, duplicate_rule=request.duplicate_rule)
    cutoffs = [cutoff_of(name) or request.candidates for name in request.metrics]
    k = max(cutoffs) + (1 if corpus.selves else 0)
    found = _scored(collection, corpus, request, *index.search_vectors(queries, k))
    manifest = index.manifest
    ann, reduction = manifest.ann, manifest.reduction
    return AutoReduction(
        reduction.dim if reduction else None,
        ann.factory if ann else "Flat",
        index.rescore_depth(k),
        float(ann.measured.get("recall", 1.0)) if ann else 1.0,
        float(ann.measured.get("bytes", 0.0)) if ann else 0.0,
        tuple(ann.notes) if ann else (),
        found,
        differences(reference, found),
    )


def _scored(
    collection: Collection, corpus: Corpus, request: DimensionsRequest, scores: np.ndarray, rows: np.ndarray
) -> Scores:
    found, qrels = ranked(corpus, collection, scores, rows, request.candidates)
    return score({query: dict(hits) for query, hits in found.items()}, qrels, request.metrics)


def _corrected(measured: Sequence[MeasuredForm]) -> tuple[MeasuredForm, ...]:
    """Correct the p-values of each metric for the number of forms beside the first."""
    tables = [dict(one.differences) for one in measured[1:]]
    for metric in measured[0].differences:
        for table, p in zip(tables, holm([table[metric].p for table in tables]), strict=True):
            table[metric] = replace(table[metric], p_holm=p)
    return (measured[0], *(replace(one, differences=own) for one, own in zip(measured[1:], tables, strict=True)))
