"""About how long ``searchapp bench index`` takes, and which baselines are left out where the time does not do."""

from __future__ import annotations

from collections.abc import Sequence

# Microseconds of one core that building takes a row, and more for each of its numbers, by how a name begins: measured
# on 82,000 x 256 and 100,000 x 1,024 (docs/benchmarks.md). Graphs take longer the more rows they have.
BUILDING = {
    "hnswlib": (65.0, 1.46),
    "usearch": (121.0, 1.72),
    "scann": (0.0, 0.79),
    "HNSW": (0.0, 1.36),
    "searchapp": (10.0, 0.15),
    "": (5.0, 0.08),
}
COMPARING = 0.25e-9  # seconds that exact search takes a number
QUERIES = 600  # that are compared exactly a round, and before the rounds to know recall
ROUND = 0.5  # seconds that a round takes an index, and finding its setting takes two of them


def build_seconds(name: str, rows: int, dim: int) -> float:
    """About how long it takes to build a baseline over ``rows`` vectors of ``dim`` numbers."""
    row, number = next(cost for start, cost in BUILDING.items() if name.startswith(start))
    return rows * (row + number * dim) / 1e6


def total_seconds(names: Sequence[str], rows: int, dim: int, rounds: int) -> float:
    """About how long the whole of a run takes: building, finding settings, and rounds."""
    building = sum(build_seconds(name, rows, dim) for name in ("searchapp", *names))
    return building + (rounds + 2) * ROUND * (len(names) + 1) + QUERIES * (rounds + 1) * rows * dim * COMPARING


def duration(seconds: float) -> str:
    """A time in words, coarsely."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{seconds / 60:.0f} min"
