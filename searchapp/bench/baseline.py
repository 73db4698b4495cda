"""What ``searchapp bench index`` compares: an index that is built, with the settings it can be searched with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

SearchParameters = dict[str, int]
Search = Callable[[np.ndarray], np.ndarray]  # unit queries (n, dim) -> rows (n, DEPTH), -1 for none
Searcher = Callable[[SearchParameters], Search]


@dataclass(frozen=True)
class RowFilter:
    """A filter that ``share`` of the rows pass: as a mask over the rows, and as searchapp's ``--filter`` has it."""

    share: float
    mask: np.ndarray
    expression: str


@dataclass(frozen=True)
class IndexBaseline:
    """An index that is built: its parameter grid, its bytes a vector, the processor seconds that building took.

    ``at`` sets search parameters and returns the search with them, valid until ``at`` is called again. What a library
    cannot do is None: ``passing`` is ``at`` among the rows that pass a filter, ``add`` takes unit vectors (n, dim),
    whose rows follow those that are there, ``delete`` takes row numbers.
    """

    name: str
    at: Searcher
    grid: tuple[SearchParameters, ...]
    size: float
    seconds: float
    notes: tuple[str, ...] = field(default=())
    passing: Callable[[RowFilter], Searcher] | None = None
    add: Callable[[np.ndarray], None] | None = None
    delete: Callable[[np.ndarray], None] | None = None
