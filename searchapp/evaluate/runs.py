"""Runs and indexes measured from Python, as a table that a DataFrame takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchapp.errors import EvaluationError
from searchapp.evaluate.collection import Qrels, load_collection, read_qrels, read_query_texts
from searchapp.evaluate.metrics import DEFAULT_METRICS, score
from searchapp.evaluate.run import Run, read_run
from searchapp.html_table import Table

if TYPE_CHECKING:
    from searchapp.search import Index

DEPTH = 100  # hits of a query that are measured


def evaluate_runs(
    index_or_runs: Index | Run | Mapping[str, Run | str | Path] | str | Path,
    qrels: Qrels | str | Path,
    *,
    queries: Mapping[str, str] | str | Path | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    k: int = DEPTH,
    modes: Sequence[str] | None = None,
) -> Table:
    """Measure an index or runs against judgements: a row for each, with the mean of each metric and its 95 % interval.

    ``index_or_runs`` is an index, a run (query id → document id → score), the file of one (TREC), or a mapping of names
    to these. ``qrels`` are judgements (query id → document id → grade), their file, or a folder in BEIR layout, which
    has the queries too. An index needs ``queries`` (id → text, or their file) and is asked for ``k`` hits in each of
    ``modes`` (default: all that it has). Names of metrics are those of ir-measures, as in ``searchapp evaluate``.
    Raises EvaluationError for what cannot be read or measured.

    >>> run = {"q1": {"a": 2.0, "b": 1.0}}
    >>> table = evaluate_runs({"mine": run}, {"q1": {"b": 1}}, metrics=["MRR@10"])
    >>> table[0]["run"], table[0]["MRR@10"]
    ('mine', 0.5)
    """
    from searchapp.search import Index

    judged, texts = _judgements(qrels, queries)
    if isinstance(index_or_runs, Index):
        if texts is None:
            raise EvaluationError(
                "an index is measured by queries, and none were given; give queries={id: text}, or a folder in BEIR "
                "layout as the judgements"
            )
        named = _searched(index_or_runs, {key: texts[key] for key in judged if key in texts}, k, modes)
    else:
        named = _runs(index_or_runs)
    return Table(_row(name, run, judged, metrics) for name, run in named.items())


def _row(name: str, run: Run, judged: Qrels, metrics: Sequence[str]) -> dict[str, Any]:
    scores = score(run, judged, metrics)
    row: dict[str, Any] = {"run": name, "queries": scores.queries, "missing": scores.missing}
    for metric, estimate in scores.estimates().items():
        row |= {metric: estimate.value, f"{metric} low": estimate.low, f"{metric} high": estimate.high}
    return row


def _judgements(
    qrels: Qrels | str | Path, queries: Mapping[str, str] | str | Path | None
) -> tuple[Qrels, Mapping[str, str] | None]:
    texts = read_query_texts(queries) if isinstance(queries, str | Path) else queries
    if not isinstance(qrels, str | Path):
        return {query: dict(found) for query, found in qrels.items()}, texts
    if Path(qrels).is_dir():
        collection = load_collection(qrels)
        return collection.qrels, texts or {query.id: query.text for query in collection.queries}
    return read_qrels(qrels), texts


def _searched(index: Index, texts: Mapping[str, str], k: int, modes: Sequence[str] | None) -> dict[str, Run]:
    """What an index finds in each mode."""
    from searchapp.index.given import has_given_vectors

    manifest = index.vectors.manifest
    if not texts:
        raise EvaluationError(
            "none of the judged queries has a text; check that queries and judgements belong together"
        )
    if modes is None:
        modes = ["dense", "bm25", "hybrid"] if manifest.lexical is not None else ["dense"]
        if has_given_vectors(manifest):
            modes = [mode for mode in modes if mode == "bm25"]
    if not modes:
        raise EvaluationError("no model embeds the queries of this index, and it has no words; measure runs instead")
    runs = {}
    for mode in modes:
        answers = index.answer(list(texts.values()), k, mode=mode)
        runs[mode] = {
            key: {hit.id: hit.score for hit in answer.hits} for key, answer in zip(texts, answers, strict=True)
        }
    return runs


def _runs(given: Any) -> dict[str, Run]:
    if isinstance(given, str | Path):
        return {Path(given).name: read_run(given)}
    if not isinstance(given, Mapping) or not given:
        raise EvaluationError(
            f"found a {type(given).__name__} of runs; expected an index, a run, its file, or a mapping of names to runs"
        )
    first = next(iter(given.values()))
    if isinstance(first, Mapping) and not any(isinstance(part, Mapping) for part in first.values()):
        return {"run": {str(query): dict(scores) for query, scores in given.items()}}
    return {str(name): read_run(run) if isinstance(run, str | Path) else dict(run) for name, run in given.items()}
