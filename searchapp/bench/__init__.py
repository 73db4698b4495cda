"""Benchmarks: how fast this machine embeds and searches, beside other programs."""

from __future__ import annotations

from searchapp.bench.encode import Plan, bench_encode
from searchapp.bench.index import Plan as IndexPlan
from searchapp.bench.index import bench_index

__all__ = ["IndexPlan", "Plan", "bench_encode", "bench_index"]
