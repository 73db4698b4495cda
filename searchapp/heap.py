"""How this process keeps memory that torch has freed on the CPU."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

# glibc's mallopt parameters, from malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 64 << 20  # bytes of an array that is taken from the heap, and not mapped anew each time
KEPT = 512 << 20  # bytes of free heap that are not given back
SMALL = 1 << 20  # of both, where memory counts more than the time to map it


def keep_freed_memory() -> bool:
    """Let glibc reuse freed arrays; return whether it took the setting.

    Each layer of a decoder frees arrays of some megabytes that the next one asks for again. By default glibc gives
    them back to the system, which hands out the same pages zeroed: on a CPU 10 to 25 % of the time of the bundled
    model in float32 (docs/log.md, 2026-11-24). Elsewhere than on glibc nothing is changed.
    """
    return _set(LARGEST, KEPT)


@contextmanager
def freed_memory_returned() -> Iterator[None]:
    """Inside, what is freed goes back to the system at once; afterwards it is kept as ``keep_freed_memory`` says.

    For work that goes through much data with few large arrays at a time, when the model has nothing to do.
    """
    if _set(SMALL, SMALL):
        trim_heap()
    try:
        yield
    finally:
        _set(LARGEST, KEPT)


def trim_heap() -> None:
    """Return to the system all that is free in the heap."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _set(largest: int, kept: int) -> bool:
    libc = _glibc()
    return libc is not None and bool(libc.mallopt(M_MMAP_THRESHOLD, largest) and libc.mallopt(M_TRIM_THRESHOLD, kept))


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library where it is glibc, which alone has these settings."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
