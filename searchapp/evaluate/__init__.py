"""Test collections, runs and metrics: how good a search is, and how sure that is."""

from __future__ import annotations

from searchapp.evaluate.bootstrap import bootstrap_mean
from searchapp.evaluate.collection import Collection, Qrels, Query, load_collection, read_qrels
from searchapp.evaluate.metrics import DEFAULT_METRICS, Estimate, Scores, parse_metric, score
from searchapp.evaluate.run import Run, ranking, read_run, write_run

__all__ = [
    "DEFAULT_METRICS",
    "Collection",
    "Estimate",
    "Qrels",
    "Query",
    "Run",
    "Scores",
    "bootstrap_mean",
    "load_collection",
    "parse_metric",
    "ranking",
    "read_qrels",
    "read_run",
    "score",
    "write_run",
]
