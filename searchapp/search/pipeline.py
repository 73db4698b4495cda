"""The one path from queries to ranked rows: dense candidates, rescoring, BM25, fusion, reranking; each step kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from searchapp.corpus.document import passage_of
from searchapp.errors import SearchAppError
from searchapp.index import Filter, VectorIndex
from searchapp.index.ann.rescore import ordered
from searchapp.progress import Progress
from searchapp.search.fusion import Fusion, fuse
from searchapp.search.ranking import Stage
from searchapp.search.together import Sides, together

if TYPE_CHECKING:
    from searchapp.rerank import Reranker

RERANKED = 100  # candidates a reranker sees


@dataclass(frozen=True)
class Plan:
    """Which steps to take. The defaults are a plain dense search.

    ``dense=False`` with a ``fusion`` is BM25 alone. ``reranker`` sees the best ``rerank_depth`` of the step before.
    ``compressed`` keeps the index's own ranking as a stage of its own, which costs a second search.
    """

    k: int = 10
    candidates: int | None = None
    fusion: Fusion | None = None
    reranker: Reranker | None = None
    rerank_depth: int = RERANKED
    filter: Filter | None = None
    dense: bool = True
    compressed: bool = False

    def __post_init__(self) -> None:
        if self.k < 1:
            raise SearchAppError(f"k is {self.k}; ask for at least 1 hit")
        if self.candidates is not None and self.candidates < 0:
            raise SearchAppError(f"candidates is {self.candidates}; give 0 to rescore none, or a number above it")
        if self.rerank_depth < 1:
            raise SearchAppError(f"rerank depth is {self.rerank_depth}; expected at least 1 document")
        if not self.dense and self.fusion is None:
            raise SearchAppError("a search needs vectors or BM25; give one of them")


def run(
    index: VectorIndex,
    queries: Sequence[str],
    vectors: np.ndarray | None,
    plan: Plan,
    progress: Progress | None = None,
) -> list[Stage]:
    """Take the steps of a plan for a batch of queries; the last stage is the answer and is ``plan.k`` wide at most.

    ``vectors`` are the queries' unit vectors (n, dim); None where the plan has ``dense=False``. ``progress`` is told of
    the pairs a reranker has scored. Raises IndexStoreError where the index lacks a part the plan needs.
    """
    k = min(plan.k, max(1, index.manifest.documents))  # an empty index gives stages without a hit
    depth = max(k, plan.rerank_depth) if plan.reranker is not None else k
    each = max(depth, plan.fusion.depth) if plan.fusion is not None and plan.dense else depth
    stages: list[Stage] = []
    if plan.dense:
        if vectors is None:
            raise SearchAppError("the queries were not encoded; give their vectors")
        stages += _dense(index, vectors, plan, each)
    if plan.fusion is not None:
        began = time.perf_counter()
        scores, rows = index.search_words(queries, each, filter=plan.filter)
        stages.append(Stage("bm25", rows, scores, time.perf_counter() - began))
        if vectors is not None and plan.dense and plan.fusion.is_absolute:
            asked = Sides(index, queries, vectors, plan.candidates, plan.filter)
            stages[-2:] = together(asked, stages[-2], stages[-1], plan.fusion.weight, depth)
        elif plan.dense:
            began = time.perf_counter()
            scores, rows = fuse(stages[-2], stages[-1], plan.fusion, depth)
            stages.append(Stage("fused", rows, scores, time.perf_counter() - began))
    if plan.reranker is not None:
        stages.append(rerank(index, queries, stages[-1].cut(depth), plan.reranker, plan.rerank_depth, progress))
    stages[-1] = stages[-1].cut(k)
    return stages


def _dense(index: VectorIndex, vectors: np.ndarray, plan: Plan, k: int) -> list[Stage]:
    """The stages of the vectors: the index's own ranking, where it was asked for, and the answer."""
    depth = index.rescore_depth(k, plan.candidates)
    stages = []
    if plan.compressed and depth and not index.is_exact:
        began = time.perf_counter()
        scores, rows = index.search_vectors(vectors, k, candidates=0, filter=plan.filter)
        stages.append(Stage("compressed", rows, scores, time.perf_counter() - began))
    began = time.perf_counter()
    scores, rows = index.search_vectors(vectors, k, candidates=plan.candidates, filter=plan.filter)
    name = "exact" if index.is_exact else "rescored" if depth else "compressed"
    rescored = min(depth, index.manifest.documents)
    return [*stages, Stage(name, rows, scores, time.perf_counter() - began, rescored=rescored)]


def rerank(
    index: VectorIndex,
    queries: Sequence[str],
    stage: Stage,
    reranker: Reranker,
    depth: int,
    progress: Progress | None = None,
) -> Stage:
    """Put the first ``depth`` rows of each query in the reranker's order, and leave the rest below them.

    A row the reranker has not seen gets the lowest score it gave the query, minus 1, minus 2 and so on, so that the
    scores are those of the order and a cut-off loses nothing that the stage before had found.
    """
    began = time.perf_counter()
    texts = [
        [passage_of(document) for document in index.read(row for row in line[:depth].tolist() if row >= 0)]
        for line in stage.rows
    ]
    if progress is not None:
        progress.stage("reranking", sum(map(len, texts)), "pair")
    given = reranker.score(queries, texts, progress=progress)
    scores = np.full(stage.rows.shape, -np.inf, dtype=np.float32)
    rows = stage.rows.copy()
    for line, points in enumerate(given):
        count = len(points)
        (scores[line, :count],), (rows[line, :count],) = ordered(points[None], stage.rows[line, None, :count], count)
        rest = np.flatnonzero(stage.rows[line, count:] >= 0) + count
        floor = float(points.min(initial=0.0))
        scores[line, rest] = floor - 1 - np.arange(len(rest), dtype=np.float32)
    return Stage("reranked", rows, scores, time.perf_counter() - began, scored=depth)
