"""What the settings of glibc's heap do, by the memory that a process of its own has left."""

from __future__ import annotations

import subprocess
import sys

import pytest

from searchapp.heap import keep_freed_memory

SCRIPT = """
import contextlib, sys
import numpy as np
from searchapp.heap import freed_memory_returned, trim_heap, keep_freed_memory

def megabytes():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

keep_freed_memory()
before = megabytes()
way = sys.argv[1]
with freed_memory_returned() if way == "returned" else contextlib.nullcontext():
    arrays = [np.ones(1 << 20) for _ in range(20)]  # 8 MB each
    held = megabytes() - before
    del arrays
    if way == "given back":
        trim_heap()
    left = megabytes() - before
if way == "returned":  # and kept again afterwards
    arrays = [np.ones(1 << 20) for _ in range(20)]
    del arrays
    assert megabytes() - before > 100, megabytes() - before
print(held, left)
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="glibc alone has these settings")
@pytest.mark.parametrize(("way", "most"), [("kept", None), ("given back", 20), ("returned", 20)])
def test_freed_arrays_are_kept_given_back_or_returned_at_once(way: str, most: float | None) -> None:
    out = subprocess.run([sys.executable, "-c", SCRIPT, way], capture_output=True, text=True, check=True).stdout
    held, left = map(float, out.split())
    assert held > 150
    assert left > 150 if most is None else left < most
