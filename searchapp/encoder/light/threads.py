"""Keeps NumPy's matrix products on one thread while they are small.

OpenBLAS wakes a thread a core for each product and lets it spin between two of them. A query has some thirty products
of a tenth of a millisecond: on a busy machine the spinning takes longer than the whole search (docs/log.md).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from threading import Lock

SMALL = 20_000_000_000  # floating-point operations, about half a second of one thread
PREFIXES, SUFFIXES = ("scipy_openblas", "openblas"), ("64_", "")  # as NumPy's wheels name its functions, and systems


@dataclass
class _Library:
    """OpenBLAS's own switch, which holds for the whole process; ``users`` are those that now want one thread."""

    get: Callable[[], int]
    set: Callable[[int], None]
    users: int = 0
    before: int = 1
    lock: Lock = field(default_factory=Lock)

    def enter(self) -> None:
        with self.lock:
            if not self.users:
                self.before = self.get()
                self.set(1)
            self.users += 1

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                self.set(self.before)


@contextmanager
def threads_for(operations: float) -> Iterator[None]:
    """Run a block on one thread of OpenBLAS, if it has no more than ``SMALL`` operations; else, or elsewhere, as is."""
    library = _library() if operations <= SMALL else None
    if library is None:
        yield
        return
    library.enter()
    try:
        yield
    finally:
        library.leave()


def numpy_has_openblas(*, threads: int) -> bool:
    """Whether NumPy's products are OpenBLAS's, and on so many threads."""
    library = _library()
    return library is not None and library.get() == threads


@cache
def _library() -> _Library | None:
    """The OpenBLAS that NumPy is linked to; None where it is another library, or cannot be asked."""
    try:
        linked = ctypes.CDLL(import_module("numpy._core._multiarray_umath").__file__)
    except (ImportError, AttributeError, OSError):
        return None
    for prefix in PREFIXES:
        for suffix in SUFFIXES:
            get = getattr(linked, f"{prefix}_get_num_threads{suffix}", None)
            put = getattr(linked, f"{prefix}_set_num_threads{suffix}", None)
            if get is not None and put is not None:
                return _Library(get, put)
    return None
