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
from searchapp.evaluate.settings import CollectionSetting, IndexSetting, RerankedBy, RetrievalSetting
from searchapp.index import BuildSettings, VectorIndex, Writer, build
from searchapp.index.ann.build_ann import build_ann
from searchapp.index.ann.request import AnnRequest

if TYPE_CHECKING:
    from searchapp.progress import Progress
    from searchapp.rerank import Reranker
    from searchapp.search.fusion import Fusion

DEPTH = 1_000  # documents retrieved for each query, as trec_eval's MAP takes them
RERANKED = 100
KINDS = {"bm25": "bm25", "fused": "hybrid", "reranked": "reranked"}
"""Stages of a search that are a way to search of their own; all others are the vectors'."""


@dataclass(frozen=True)
class IndexConfig:
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
    with its first ``rerank_depth`` documents in the reranker's order. ``dense=False`` leaves BM25 alone. The rules are
    those of ``protocol.examine``.
    """

    metrics: Sequence[str] = DEFAULT_METRICS
    instruction: str | None = None
    depth: int = DEPTH
    fusion: Fusion | None = None
    reranker: Reranker | None = None
    rerank_depth: int = RERANKED
    self_rule: str = "auto"
    duplicate_rule: str = "keep"
    dense: bool = True


@dataclass(frozen=True)
class Result:
    """What one setting brought: ``setting`` is all that decides it, ``run`` the documents of each query in order.

    ``scores`` were measured against ``qrels``: those of the collection, but for documents that count as one.
    """

    name: str
    setting: RetrievalSetting
    scores: Scores
    run: Ranking
    search_seconds: float
    qrels: Qrels = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints for it."""
        metrics = {name: asdict(estimate) for name, estimate in self.scores.estimates().items()}
        return {"setting": self.setting.to_json(), "metrics": metrics}


def evaluate_collection(
    collection: Collection,
    encoder: Encoder,
    configs: Sequence[IndexConfig],
    work: Path,
    request: Request | None = None,
    *,
    progress: Progress | None = None,
) -> list[Result]:
    """Encode a collection into an index at ``work`` once, then index, search and score it for every configuration.

    An index that is there already, from the same corpus by the same encoder, is used as it is.

    Raises IndexStoreError for a configuration that does not fit the encoder before anything is encoded; whether there
    are documents enough for it is known only after.
    """
    request = request or Request()
    for config in configs:
        AnnRequest(config.pca, config.factory).check(encoder.dim)
    settings = BuildSettings(configs[0].pca, configs[0].factory, lexical=request.fusion is not None)
    build([str(collection.corpus)], work, encoder, settings, progress=progress)
    vectors = _encode_queries(collection, encoder, request.instruction)
    results: list[Result] = []
    corpus = None
    for config in configs:
        with Writer.open(work) as writer:
            before = AnnRequest.of(writer.manifest.build) if writer.manifest else AnnRequest()
            ann_request = replace(before, pca=config.pca, factory=config.factory)
            if writer.manifest is None or ann_request != before:
                build_ann(writer, ann_request)
        index = VectorIndex.open(work)
        corpus = corpus or _examine(collection, index, request)
        results += _measure(collection, index, corpus, vectors, config, request, progress, lexical=not results)
    return results


def evaluate_index(
    collection: Collection,
    index: VectorIndex,
    encoder: Encoder,
    request: Request | None = None,
    *,
    candidates: int | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """Search an index that is already there. Raises EvaluationError when it lacks more than 5 % of what is judged."""
    request = request or Request()
    corpus = _examine(collection, index, request)
    reduction = index.manifest.reduction
    config = IndexConfig(reduction.dim if reduction else None, index.manifest.build.factory, candidates)
    vectors = _encode_queries(collection, encoder, request.instruction)
    return _measure(collection, index, corpus, vectors, config, request, progress, lexical=True)


def _examine(collection: Collection, index: VectorIndex, request: Request) -> Corpus:
    return examine(collection, index, self_rule=request.self_rule, duplicate_rule=request.duplicate_rule)


def _encode_queries(collection: Collection, encoder: Encoder, instruction: str | None) -> np.ndarray:
    return encoder.encode_queries([query.text for query in collection.queries], instruction)


def _measure(
    collection: Collection,
    index: VectorIndex,
    corpus: Corpus,
    vectors: np.ndarray,
    config: IndexConfig,
    request: Request,
    progress: Progress | None,
    *,
    lexical: bool,
) -> list[Result]:
    """Search once and score what each step of the search left; ``lexical``: BM25 alone too."""
    from searchapp.search.pipeline import Plan, run

    plan = Plan(
        k=request.depth + (1 if corpus.selves else 0),  # one more, where one may be left out
        candidates=config.candidates,
        fusion=request.fusion,
        reranker=request.reranker,
        rerank_depth=request.rerank_depth,
        dense=request.dense,
    )
    texts = [query.text for query in collection.queries]
    # files are mapped and libraries loaded at the first search: that is not the time a query takes
    run(index, texts[:1], vectors[:1], replace(plan, reranker=None))
    stages = run(index, texts, vectors, plan, progress)
    rescored = stages[0].rescored
    notes = (*corpus.sentences(), *_deep(index, config, request, rescored))
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
        setting = RetrievalSetting(
            _describe_collection(collection, index, corpus, measured),
            _describe_index(index, request, rescored),
            kind,
            1000 * seconds / max(1, len(vectors)),
            request.fusion if kind == "hybrid" else None,
        )
        name = {"dense": config.name, "bm25": "bm25", "hybrid": f"{config.name}-hybrid"}.get(kind, "")
        if kind == "reranked" and request.reranker is not None:
            before = results[-1]
            name = f"{before.name}-reranked"
            by = _reranked_by(request, request.reranker, before)
            setting = replace(setting, method=before.setting.method, fusion=before.setting.fusion, reranked_by=by)
        results.append(Result(name, setting, measured, found, seconds, qrels, notes))
    return [result for result in results if lexical or result.name != "bm25"]


def _reranked_by(request: Request, reranker: Reranker, first: Result) -> RerankedBy:
    ceiling = score(
        {query: dict(hits[: request.rerank_depth]) for query, hits in first.run.items()},
        first.qrels,
        [f"Recall@{request.rerank_depth}"],
    )
    recall = ceiling.estimate(f"Recall@{request.rerank_depth}").value
    return RerankedBy(reranker.name, reranker.kind, request.rerank_depth, first.name, recall)


def _describe_collection(
    collection: Collection, index: VectorIndex, corpus: Corpus, measured: Scores
) -> CollectionSetting:
    return CollectionSetting(
        collection.name,
        collection.split,
        measured.queries,
        measured.missing,
        collection.unknown_queries,
        index.manifest.documents,
        index.manifest.rejected,
        corpus.judged,
        corpus.unknown,
        {"rule": corpus.self_rule, "same_id": corpus.same_id, "dropped": len(corpus.selves)},
        {"rule": corpus.duplicate_rule, "documents": corpus.repeated},
    )


def _describe_index(index: VectorIndex, request: Request, rescored: int) -> IndexSetting:
    manifest, reduction = index.manifest, index.manifest.reduction
    asked = request.instruction
    return IndexSetting(
        manifest.encoder["reference"]["model"],
        manifest.encoder["reference"]["adapters"],
        manifest.encoder["fingerprint"]["sha256"],
        asked if asked is not None else manifest.encoder["settings"].get("query_instruction"),
        manifest.dim,
        reduction.dim if reduction else None,
        reduction.explained_variance if reduction else None,
        manifest.ann.factory if manifest.ann else None,
        rescored,
        request.depth,
    )


def _deep(index: VectorIndex, config: IndexConfig, request: Request, rescored: int) -> list[str]:
    """Say it where more was rescored than a search for ten hits would: that flatters the reduction."""
    usual = index.rescore_depth(10)
    if config.candidates is not None or rescored <= usual:
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
