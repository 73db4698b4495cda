"""Reranking evaluation: given candidates in a model's order, or a first stage before and after a model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from searchapp.evaluate.candidates import Candidates
from searchapp.evaluate.collection import Qrels
from searchapp.evaluate.metrics import UNJUDGED, Scores, score
from searchapp.evaluate.protocol import Ranking
from searchapp.evaluate.run import Run, ranking
from searchapp.evaluate.settings import FirstStageSetting, RerankSetting
from searchapp.progress import Progress
from searchapp.rerank import Reranker
from searchapp.rerank.bm25 import Bm25Reranker
from searchapp.search import Fusion, Stage
from searchapp.search.fusion import fuse

DEFAULT_METRICS = ("MAP", "MRR@10", "nDCG@10")
PAIRS = 8_192
"""Pairs of a query and a document that are scored at a time."""


@dataclass(frozen=True)
class Reranked:
    """One order of the candidates: ``setting`` says what made it, ``run`` is it, with its scores."""

    name: str
    setting: RerankSetting
    scores: Scores
    run: Ranking
    qrels: Qrels
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints for it."""
        metrics = {name: asdict(estimate) for name, estimate in self.scores.estimates().items()}
        return {"setting": self.setting.to_json(), "metrics": metrics}


def evaluate_reranking(
    candidates: Candidates,
    scorer: Reranker,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    instruction: str | None = None,
    depth: int | None = None,
    fusion: Fusion | None = None,
    progress: Progress | None = None,
) -> list[Reranked]:
    """Put each query's candidates in the scorer's order and measure it.

    Candidates of a run bring two results at least, before and after; ``depth`` (all of them without) is how many of a
    query's candidates the scorer sees, and those below keep their order behind them. Recall of the first stage at that
    depth, which nothing after it can exceed, is in the setting as ``first_stage``. With ``fusion`` BM25, with
    document frequencies over all candidates, and both together follow.

    Raises EvaluationError where a score is NaN.
    """
    common = RerankSetting(
        candidates.name,
        candidates.split,
        len(candidates.qrels),
        sum(map(len, candidates.documents.values())) / max(1, len(candidates.documents)),
        depth,
        kind="first stage",
        first_stage=_first_stage(candidates, depth) if candidates.before is not None else None,
    )
    asked = [*dict.fromkeys([*metrics, UNJUDGED])]

    def result(name: str, run: Run, setting: RerankSetting) -> Reranked:
        measured = score(run, candidates.qrels, asked)
        return Reranked(name, setting, measured, _listed(run), candidates.qrels, candidates.left_out)

    results = []
    if candidates.before is not None:
        given = {query: candidates.before[query] for query in candidates.documents}
        results.append(result("before", given, common))
    began = time.perf_counter()
    after = _reordered(candidates, scorer, depth, progress)
    seconds = time.perf_counter() - began
    pairs = sum(len(names[:depth]) for names in candidates.documents.values())
    own = replace(common, kind=scorer.kind, model=scorer.name, instruction=instruction)
    results.append(result("reranked", after, replace(own, seconds=seconds, pairs=pairs)))
    if fusion is not None:
        words = _reordered(candidates, Bm25Reranker(candidates.texts.values()), depth, None)
        results.append(result("bm25", words, replace(common, kind="bm25")))
        both = _fused(candidates, after, words, fusion)
        results.append(result("fusion", both, replace(own, kind="fusion", fusion=fusion)))
    return results


def _fused(candidates: Candidates, first: Run, second: Run, fusion: Fusion) -> Run:
    """Both orders of each query's candidates as one; for BM25 a candidate without a word of the query is no hit."""
    run: Run = {}
    for query, names in candidates.documents.items():
        number = {name: place for place, name in enumerate(sorted(names, reverse=True))}
        stages = []
        for side, least in ((first, -np.inf), (second, 0.0)):
            ordered, scores = ranking(query, side[query])
            kept = scores > least
            rows = np.array([number[name] for name in ordered], dtype=np.int64)[kept]
            stages.append(Stage("candidates", rows[None], scores[kept][None]))
        scores, rows = fuse(stages[0], stages[1], fusion, len(names))
        name_of = {place: name for name, place in number.items()}
        found = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        run[query] = {name_of[row]: score for row, score in found if row >= 0}
    return run


def _reordered(candidates: Candidates, scorer: Reranker, depth: int | None, progress: Progress | None) -> Run:
    """Score block by block, so that memory does not grow with the collection."""
    run: Run = {}
    if progress is not None:
        progress.stage(candidates.name, sum(len(names[:depth]) for names in candidates.documents.values()), "pair")
    block: list[Any] = []
    size = 0
    for number, query in enumerate(candidates.queries, 1):
        block.append(query)
        size += len(candidates.documents[query.id][:depth])
        if size < PAIRS and number < len(candidates.queries):
            continue
        asked = [[candidates.texts[name] for name in candidates.documents[one.id][:depth]] for one in block]
        # each text once, as a product's last digits depend on its row: equal texts are to have equal scores
        distinct = [list(dict.fromkeys(texts)) for texts in asked]
        scores = scorer.score([one.text for one in block], distinct, progress=progress)
        for one, texts, known, found in zip(block, asked, distinct, scores, strict=True):
            score_of = dict(zip(known, found.tolist(), strict=True))
            run[one.id] = _with_tail(candidates.documents[one.id], [score_of[text] for text in texts])
        block, size = [], 0
    return run


def _with_tail(names: Sequence[str], scores: Sequence[float]) -> dict[str, float]:
    """Give the candidates that were not scored places behind the others, in their order."""
    points = dict(zip(names, scores, strict=False))
    floor = min(points.values(), default=0.0)
    step = max(1.0, abs(floor)) / 1024  # wide enough to be told apart in single precision
    return points | {name: floor - step * (place + 1) for place, name in enumerate(names[len(scores) :])}


def _listed(run: Run) -> Ranking:
    listed = {}
    for query, hits in run.items():
        documents, scores = ranking(query, hits)
        listed[query] = list(zip(documents, scores.tolist(), strict=True))
    return listed


def _first_stage(candidates: Candidates, depth: int | None) -> FirstStageSetting:
    """Recall of what the scorer saw; a judged query without candidates counts 0."""
    seen = {query: {name: -float(place) for place, name in enumerate(names[:depth])} for query, names in
            candidates.documents.items()}  # fmt: skip
    most = depth or max(map(len, candidates.documents.values()))
    found = score(seen, candidates.qrels, [f"Recall@{most}"]).estimate(f"Recall@{most}")
    return FirstStageSetting(found.value, most)
