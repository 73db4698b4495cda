"""Retrieval evaluation: one collection, one model, several ways to search; documents and queries are encoded once."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.corpus import Document, open_source
from searchapp.encoder import Encoder
from searchapp.errors import EvaluationError
from searchapp.evaluate.collection import Collection, Qrels
from searchapp.evaluate.metrics import DEFAULT_METRICS, UNJUDGED, Scores, score
from searchapp.evaluate.protocol import Corpus, Ranking, examine, ranked
from searchapp.evaluate.run import check_ids
from searchapp.index import Progress, Store, VectorIndex, build
from searchapp.index.ann.build_ann import build_ann
from searchapp.index.ann.request import AnnRequest

if TYPE_CHECKING:
    from searchapp.rerank import Advance, Reranker
    from searchapp.search.fusion import Fusion

DEPTH = 1_000  # documents retrieved for each query, as trec_eval's MAP takes them
RERANKED = 100
KINDS = {"bm25": "bm25", "fused": "hybrid", "reranked": "reranked"}
"""Stages of a search that are a way to search of their own; all others are the vectors'."""


@dataclass(frozen=True)
class Setting:
    """One way to index the same vectors; ``pca`` is a dimension, 0 for none, None to leave it to the rule."""

    pca: int | None = None
    factory: str = "auto"
    candidates: int | None = None

    @property
    def name(self) -> str:
        """A short name that can stand in a file name."""
        parts = [f"pca{self.pca}" if self.pca else "full", self.factory.replace(",", "-")]
        return "-".join(parts + ([f"candidates{self.candidates}"] if self.candidates is not None else []))


@dataclass(frozen=True)
class Request:
    """What is wanted of every setting.

    ``fusion`` asks for BM25 alone and for both together beside the vectors alone; ``reranker`` for the last of these
    with its first ``rerank_depth`` documents in the reranker's order. The rules are those of ``protocol.examine``.
    """

    metrics: Sequence[str] = DEFAULT_METRICS
    instruction: str | None = None
    depth: int = DEPTH
    fusion: Fusion | None = None
    reranker: Reranker | None = None
    rerank_depth: int = RERANKED
    self_rule: str = "auto"
    duplicate_rule: str = "keep"


@dataclass(frozen=True)
class Result:
    """What one setting brought: ``setting`` says all that decides it, ``run`` the documents of each query in order.

    ``scores`` were measured against ``qrels``: those of the collection, but for documents that count as one.
    """

    name: str
    setting: dict[str, Any]
    scores: Scores
    run: Ranking
    search_seconds: float
    qrels: Qrels = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints for it."""
        metrics = {name: asdict(estimate) for name, estimate in self.scores.estimates().items()}
        return {"setting": self.setting, "metrics": metrics}


def evaluate_collection(
    collection: Collection,
    encoder: Encoder,
    settings: Sequence[Setting],
    work: Path,
    request: Request | None = None,
    *,
    progress: Progress | None = None,
    advance: Advance | None = None,
) -> list[Result]:
    """Encode a collection into an index at ``work`` once, then index, search and score it for every setting.

    An index that is there already, from the same corpus by the same encoder, is used as it is.

    Raises IndexStoreError for a setting that does not fit the encoder before anything is encoded; whether there are
    documents enough for it is known only after.
    """
    request = request or Request()
    for setting in settings:
        AnnRequest(setting.pca, setting.factory).check(encoder.dim)
    build(
        [str(collection.corpus)],
        work,
        encoder,
        pca=settings[0].pca,
        factory=settings[0].factory,
        lexical=request.fusion is not None,
        progress=progress,
    )
    vectors = _encode_queries(collection, encoder, request.instruction)
    results: list[Result] = []
    corpus = None
    for setting in settings:
        with Store.write(work) as store:
            before = AnnRequest.of(store.manifest.build) if store.manifest else AnnRequest()
            ann_request = replace(before, pca=setting.pca, factory=setting.factory)
            if store.manifest is None or ann_request != before:
                build_ann(store, ann_request)
        index = VectorIndex.open(work)
        corpus = corpus or _examine(collection, index, request)
        results += _measure(collection, index, corpus, vectors, setting, request, advance, lexical=not results)
    return results


def evaluate_index(
    collection: Collection,
    index: VectorIndex,
    encoder: Encoder,
    request: Request | None = None,
    *,
    candidates: int | None = None,
    advance: Advance | None = None,
) -> list[Result]:
    """Search an index that is already there. Raises EvaluationError when it lacks more than 5 % of what is judged."""
    request = request or Request()
    corpus = _examine(collection, index, request)
    reduction = index.manifest.reduction
    setting = Setting(reduction.dim if reduction else None, index.manifest.build.factory, candidates)
    vectors = _encode_queries(collection, encoder, request.instruction)
    return _measure(collection, index, corpus, vectors, setting, request, advance, lexical=True)


def _examine(collection: Collection, index: VectorIndex, request: Request) -> Corpus:
    return examine(collection, index, self_rule=request.self_rule, duplicate_rule=request.duplicate_rule)


def _encode_queries(collection: Collection, encoder: Encoder, instruction: str | None) -> np.ndarray:
    return encoder.encode_queries([query.text for query in collection.queries], instruction)


def _measure(
    collection: Collection,
    index: VectorIndex,
    corpus: Corpus,
    vectors: np.ndarray,
    setting: Setting,
    request: Request,
    advance: Advance | None,
    *,
    lexical: bool,
) -> list[Result]:
    """Search once and score what each step of the search left; ``lexical``: BM25 alone too."""
    from searchapp.search.pipeline import Plan, run

    plan = Plan(
        k=request.depth + (1 if corpus.selves else 0),  # one more, where one may be left out
        candidates=setting.candidates,
        fusion=request.fusion,
        reranker=request.reranker,
        rerank_depth=request.rerank_depth,
    )
    texts = [query.text for query in collection.queries]
    # files are mapped and libraries loaded at the first search: that is not the time a query takes
    run(index, texts[:1], vectors[:1], replace(plan, reranker=None))
    stages = run(index, texts, vectors, plan, advance)
    rescored = stages[0].rescored
    notes = (*corpus.sentences(), *_deep(index, setting, request, rescored))
    results: list[Result] = []
    for number, stage in enumerate(stages):
        kind = KINDS.get(stage.name, "dense")
        alone = kind in ("dense", "bm25")  # the others need all the steps before them too
        seconds = stage.seconds if alone else sum(one.seconds for one in stages[: number + 1])
        found, qrels = ranked(corpus, collection, stage.scores, stage.rows, request.depth)
        measured = score(
            {query: dict(hits) for query, hits in found.items()},
            qrels,
            [*dict.fromkeys([*request.metrics, UNJUDGED])],
        )
        described = {
            **_describe(collection, index, corpus, request, measured),
            "candidates": rescored,
            "depth": request.depth,
            "method": kind,
            "fusion": asdict(request.fusion) if kind == "hybrid" and request.fusion else None,
            "rerank": None,
            "search_ms_per_query": 1000 * seconds / max(1, len(vectors)),
        }
        name = {"dense": setting.name, "bm25": "bm25", "hybrid": f"{setting.name}-hybrid"}.get(kind, "")
        if kind == "reranked" and request.reranker is not None:
            before = results[-1]
            name = f"{before.name}-reranked"
            described |= {key: before.setting[key] for key in ("method", "fusion")}
            described |= _reranking(request, request.reranker, before)
        results.append(Result(name, described, measured, found, seconds, qrels, notes))
    return [result for result in results if lexical or result.name != "bm25"]


def _reranking(request: Request, reranker: Reranker, first: Result) -> dict[str, Any]:
    """What a reranked result says beside: of what it is made, and the recall it cannot exceed."""
    ceiling = score(
        {query: dict(hits[: request.rerank_depth]) for query, hits in first.run.items()},
        first.qrels,
        [f"Recall@{request.rerank_depth}"],
    )
    return {
        "rerank": reranker.name,
        "rerank_kind": reranker.kind,
        "rerank_depth": request.rerank_depth,
        "first_stage": first.name,
        "first_stage_recall": ceiling.estimate(f"Recall@{request.rerank_depth}").value,
    }


def _describe(
    collection: Collection,
    index: VectorIndex,
    corpus: Corpus,
    request: Request,
    measured: Scores,
) -> dict[str, Any]:
    manifest = index.manifest
    asked = request.instruction
    return {
        "collection": collection.name,
        "split": collection.split,
        "queries": measured.queries,
        "queries_missing": measured.missing,
        "queries_unknown": collection.unknown_queries,
        "documents": manifest.documents,
        "documents_rejected": manifest.rejected,
        **corpus.describe(),
        "model": manifest.encoder["reference"]["model"],
        "adapters": manifest.encoder["reference"]["adapters"],
        "fingerprint": manifest.encoder["fingerprint"]["sha256"],
        "instruction": asked if asked is not None else manifest.encoder["settings"]["query_instruction"],
        "dim": manifest.dim,
        "pca": manifest.reduction.dim if manifest.reduction else None,
        "explained_variance": manifest.reduction.explained_variance if manifest.reduction else None,
        "factory": manifest.ann.factory if manifest.ann else None,
    }


def _deep(index: VectorIndex, setting: Setting, request: Request, rescored: int) -> list[str]:
    """Say it where more was rescored than a search for ten hits would: that flatters the reduction."""
    usual = index.rescore_depth(10)
    if setting.candidates is not None or rescored <= usual:
        return []
    return [
        f"{rescored:,} documents a query are rescored, as {request.depth:,} are retrieved; a search for 10 rescores "
        f"{usual}: --depth 10 measures that, --candidates 0 the index alone"
    ]


def run_path(path: Path, name: str, alone: bool) -> Path:
    """Where a setting's run goes: the path as given, or with the setting's name before its suffix."""
    return path if alone else path.with_name(f"{path.stem}.{name}{path.suffix}")


def check_run_ids(collection: Collection, index: VectorIndex | None = None) -> None:
    """Raise EvaluationError where an id of a collection, or of the index that is asked, cannot stand in a TREC run."""
    if index is not None:
        documents = (name for name in index.ids() if name is not None)
    else:
        items = (record.item for record in open_source(str(collection.corpus)).records())
        documents = (item.id for item in items if isinstance(item, Document))
    check_ids((query.id for query in collection.queries), documents)


def check_writable(path: Path, option: str = "--run") -> None:
    """Raise EvaluationError unless a file can be written at ``path``: its folder is tried with a file of no name."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise EvaluationError(
            f"{option} {path} cannot be written: {error.strerror or error}; give a file in a folder you can write to"
        ) from error
