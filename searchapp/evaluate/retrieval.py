"""Retrieval evaluation: one collection, one model, several ways to index; documents and queries are encoded once."""

from __future__ import annotations

import errno
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.encoder import Encoder
from searchapp.errors import EvaluationError
from searchapp.evaluate.collection import Collection
from searchapp.evaluate.metrics import DEFAULT_METRICS, Scores, score
from searchapp.index import Progress, Store, VectorIndex, build
from searchapp.index.derive import Wanted, derive

DEPTH = 1_000  # documents retrieved for each query, as trec_eval's MAP takes them
Ranking = dict[str, list[tuple[str, float]]]


@dataclass(frozen=True)
class Setting:
    """One way to index the same vectors."""

    pca: int | None = None
    factory: str = "auto"
    candidates: int | None = None

    @property
    def name(self) -> str:
        """A short name that can stand in a file name."""
        parts = [f"pca{self.pca}" if self.pca else "full", self.factory.replace(",", "-")]
        return "-".join(parts + ([f"candidates{self.candidates}"] if self.candidates is not None else []))


@dataclass(frozen=True)
class Result:
    """What one setting brought: ``setting`` says all that decides it, ``run`` the documents of each query in order."""

    name: str
    setting: dict[str, Any]
    scores: Scores
    run: Ranking
    search_seconds: float

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints for it."""
        metrics = {name: asdict(estimate) for name, estimate in self.scores.estimates().items()}
        return {"setting": self.setting, "metrics": metrics}


def evaluate_collection(
    collection: Collection,
    encoder: Encoder,
    settings: Sequence[Setting],
    work: Path,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    instruction: str | None = None,
    depth: int = DEPTH,
    progress: Progress | None = None,
) -> list[Result]:
    """Encode a collection into an index at ``work`` once, then index, search and score it for every setting.

    Raises IndexStoreError for a setting that does not fit the encoder before anything is encoded; whether there are
    documents enough for it is known only after.
    """
    for setting in settings:
        Wanted(setting.pca, setting.factory).check(encoder.dim)
    build([str(collection.corpus)], work, encoder, pca=settings[0].pca, factory=settings[0].factory, progress=progress)
    vectors = _encode_queries(collection, encoder, instruction)
    results = []
    for setting in settings:
        with Store.write(work) as store:
            current = store.manifest.build if store.manifest else None
            if current is None or (current.pca, current.factory) != (setting.pca, setting.factory):
                derive(store, setting.pca, setting.factory)
        results.append(_measure(collection, VectorIndex.open(work), vectors, setting, metrics, instruction, depth))
    return results


def evaluate_index(
    collection: Collection,
    index: VectorIndex,
    encoder: Encoder,
    *,
    candidates: int | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    instruction: str | None = None,
    depth: int = DEPTH,
) -> Result:
    """Search an index that is already there. Raises EvaluationError when it holds none of the judged documents."""
    judged = {document for judgements in collection.qrels.values() for document in judgements}
    if not judged.intersection(index.ids()):
        raise EvaluationError(
            f"{index.store.root} holds none of the {len(judged):,} documents judged in {collection.path}; "
            "evaluate the index of that collection"
        )
    reduction = index.manifest.reduction
    setting = Setting(reduction.dim if reduction else None, index.manifest.build.factory, candidates)
    vectors = _encode_queries(collection, encoder, instruction)
    return _measure(collection, index, vectors, setting, metrics, instruction, depth)


def _encode_queries(collection: Collection, encoder: Encoder, instruction: str | None) -> np.ndarray:
    return encoder.encode_queries([query.text for query in collection.queries], instruction)


def _measure(
    collection: Collection,
    index: VectorIndex,
    vectors: np.ndarray,
    setting: Setting,
    metrics: Sequence[str],
    instruction: str | None,
    depth: int,
) -> Result:
    began = time.perf_counter()
    scores, rows = index.search_vectors(vectors, depth, candidates=setting.candidates)
    seconds = time.perf_counter() - began
    names = index.ids()
    run: Ranking = {}
    for query, points, found in zip(collection.queries, scores, rows, strict=True):
        real = found >= 0
        run[query.id] = list(zip(names[found[real]].tolist(), points[real].tolist(), strict=True))
    measured = score({query: dict(ranking) for query, ranking in run.items()}, collection.qrels, metrics)
    manifest = index.manifest
    described = {
        "collection": collection.name,
        "split": collection.split,
        "queries": measured.queries,
        "queries_missing": measured.missing,
        "documents": manifest.documents,
        "documents_rejected": manifest.rejected,
        "model": manifest.encoder["reference"]["model"],
        "adapters": manifest.encoder["reference"]["adapters"],
        "fingerprint": manifest.encoder["fingerprint"]["sha256"],
        "instruction": instruction if instruction is not None else manifest.encoder["settings"]["query_instruction"],
        "dim": manifest.dim,
        "pca": setting.pca,
        "explained_variance": manifest.reduction.explained_variance if manifest.reduction else None,
        "factory": manifest.ann.factory if manifest.ann else None,
        "candidates": setting.candidates
        if setting.candidates is not None
        else (manifest.ann.candidates if manifest.ann else 0),
        "depth": depth,
        "search_ms_per_query": 1000 * seconds / max(1, len(vectors)),
    }
    return Result(setting.name, described, measured, run, seconds)


def run_path(path: Path, name: str, alone: bool) -> Path:
    """Where a setting's run goes: the path as given, or with the setting's name before its suffix."""
    return path if alone else path.with_name(f"{path.stem}.{name}{path.suffix}")


def check_run_path(path: Path) -> None:
    """Raise EvaluationError unless a run can be written at ``path``: its folder is tried with a file of no name."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise EvaluationError(
            f"--run {path} cannot be written: {error.strerror or error}; give a file in a folder you can write to"
        ) from error
