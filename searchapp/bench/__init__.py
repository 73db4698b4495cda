"""Benchmarks: how fast this machine embeds and searches, beside other programs."""

from __future__ import annotations

from searchapp.bench.encode import EncodePlan, bench_encode
from searchapp.bench.index import IndexPlan, bench_index

__all__ = ["EncodePlan", "IndexPlan", "bench_encode", "bench_index"]
