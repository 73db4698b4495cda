"""A smaller version of the large-on-small benchmark: memory must not grow with the vectors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("factory", ["IVF256,SQ8", "HR,RaBitQfs"])
def test_five_times_the_vectors_take_little_more_memory(tmp_path: Path, factory: str) -> None:
    peaks = {}
    for rows in (30_000, 150_000):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.large", "--rows", str(rows), "--dim", "256", "--factory", factory,
             "--work", str(tmp_path)],
            capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks[rows] = float(re.findall(r"peak memory ([0-9.]+) GB", done.stdout)[0])
    assert peaks[150_000] <= peaks[30_000] + 0.25, peaks  # float32 vectors would be 0.12 GB more, twice in FAISS
