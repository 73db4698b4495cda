"""Benchmarks: how fast this machine embeds, beside other programs and beside its own matrix products."""

from __future__ import annotations

from searchapp.bench.encode import Plan, bench_encode

__all__ = ["Plan", "bench_encode"]
