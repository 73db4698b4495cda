"""The rows that pass a filter, kept by the filter's expression for as long as one state of an index is searched."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from threading import Lock
from typing import TypeVar

import numpy as np

KEPT_BYTES = 256 << 20  # of masks and what searches keep beside them; the one used last is always kept
Made = TypeVar("Made")


class Passing:
    """The rows that pass a filter: ``mask`` bool (rows,), read-only, and how many they are.

    Searches keep beside it what they made of it (``once``): the vectors or the codes of these rows. Safe to share
    between threads.
    """

    def __init__(self, mask: np.ndarray) -> None:
        mask.flags.writeable = False
        self.mask = mask
        self.count = int(np.count_nonzero(mask))
        self._lock = Lock()
        self._made: dict[str, object] = {}
        self._sizes: dict[str, int] = {}

    @cached_property
    def rows(self) -> np.ndarray:
        """The numbers of the rows, ascending."""
        return np.flatnonzero(self.mask)

    def before(self, row: int) -> int:
        """How many of the rows have a number below ``row``."""
        return int(np.searchsorted(self.rows, row))

    @property
    def nbytes(self) -> int:
        """Bytes of memory that are held."""
        return self.mask.nbytes + 8 * self.count + sum(self._sizes.values())

    def once(self, name: str, make: Callable[[], tuple[Made, int]]) -> Made:
        """What ``make`` returns first, with its size in bytes: made by one thread, and kept under a name."""
        if name not in self._made:
            with self._lock:
                if name not in self._made:
                    made, size = make()
                    self._sizes[name], self._made[name] = size, made
        return self._made[name]  # type: ignore[return-value]


class Masks:
    """``Passing`` by expression, the least recently used given up beyond ``limit`` bytes. Safe between threads."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit = limit
        self._lock = Lock()
        self._kept: OrderedDict[str, Passing] = OrderedDict()

    def passing(self, expression: str, make: Callable[[], np.ndarray]) -> Passing:
        """The rows that pass an expression; ``make`` gives the mask where it is not kept."""
        with self._lock:
            found = self._kept.get(expression)
            if found is not None:
                self._kept.move_to_end(expression)
        if found is None:
            found = Passing(make())
            with self._lock:
                found = self._kept.setdefault(expression, found)
        with self._lock:
            held = sum(one.nbytes for one in self._kept.values())
            while held > self._limit and len(self._kept) > 1:
                held -= self._kept.popitem(last=False)[1].nbytes
        return found

    def __len__(self) -> int:
        return len(self._kept)
