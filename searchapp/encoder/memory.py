"""How this process keeps memory that torch has freed on the CPU."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# glibc's mallopt parameters, from malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 64 << 20  # bytes of an array that is taken from the heap, and not mapped anew each time
KEPT = 512 << 20  # bytes of free heap that are not given back


@cache
def keep_freed_memory() -> bool:
    """Let glibc reuse freed arrays; return whether it took the setting.

    Each layer of a decoder frees arrays of some megabytes that the next one asks for again. By default glibc gives
    them back to the system, which hands out the same pages zeroed: on a CPU 10 to 25 % of the time of the bundled
    model in float32 (docs/log.md, 2026-11-24). Elsewhere than on glibc nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))


def give_back_freed_memory() -> None:
    """Return to the system what ``keep_freed_memory`` has kept, when the model has nothing to do for a while."""
    if keep_freed_memory():
        ctypes.CDLL("libc.so.6").malloc_trim(0)
