"""The weights of one term in the documents that hold it, its bounds, and its weights in documents that are asked for.

Rows of a common term are found through a bitmap with counts (Jacobson, "Space-efficient Static Trees and Graphs", FOCS
1989): one bit for each row, and for each 64 of them how many bits stand before. A rare term's rows are searched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

COMMON = 4_096  # documents from which on a term has a bitmap and its highest weights kept
SHARE = 256  # and at least one document in so many: the bitmap is smaller than the postings
KEPT = 1_024  # highest weights kept of a common term
DEPTHS = 8  # of which the k-th highest weight is kept
ONE = np.uint64(1)


class Wanted:
    """Rows whose weights are asked for, int32 and ascending, and where their bits are in any bitmap."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def kept(self, mask: np.ndarray) -> Wanted:
        """Those that a mask keeps."""
        return Wanted(self.rows.compress(mask))

    @cached_property
    def bits(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The number of each row's word, the row's bit in it, and all bits below."""
        bit = ONE << (self.rows & 63).astype(np.uint64)
        return (self.rows >> 6).astype(np.intp), bit, bit - ONE


@dataclass(frozen=True, eq=False)
class TermWeights:
    """A term's ``rows`` (int32, ascending) and ``weights`` (float32) of an index of any number of rows.

    ``highest`` is the highest weight, 0.0 without any. ``top`` are the highest weights of a common term, descending;
    ``bitmap`` (uint64) and ``before`` (int32) find its rows. They are None for a rare term. ``known`` are the k-th
    highest weights that were asked for.
    """

    rows: np.ndarray
    weights: np.ndarray
    highest: float
    top: np.ndarray | None = None
    bitmap: np.ndarray | None = None
    before: np.ndarray | None = None
    known: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: np.ndarray, weights: np.ndarray, total: int) -> TermWeights:
        """What a term of an index of ``total`` rows is to be searched with."""
        highest = float(weights.max(initial=0.0))
        if len(rows) < max(COMMON, total // SHARE):
            return cls(rows, weights, highest)
        kept = min(KEPT, len(rows))
        top = np.sort(np.partition(weights, len(weights) - kept)[len(weights) - kept :])[::-1]
        present = np.zeros(-(-total // 64) * 64, dtype=bool)
        present[rows] = True
        bitmap = np.packbits(present, bitorder="little").view("<u8").astype(np.uint64, copy=False)
        counts = np.bitwise_count(bitmap)
        before = np.cumsum(counts, dtype=np.int32) - counts
        return cls(rows, weights, highest, top, bitmap, before.astype(np.int32, copy=False))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """How much memory it takes, in postings of 8 bytes."""
        arrays = (self.bitmap, self.before)
        return len(self.rows) + sum(array.nbytes for array in arrays if array is not None) // 8

    @property
    def lookup_cost(self) -> int:
        """About how long the weight in one row takes to be found, beside 1 for adding up one posting."""
        return 3 if self.bitmap is not None else 4 + 2 * len(self.rows).bit_length()

    def nth(self, k: int) -> float:
        """The k-th highest weight; 0.0 where fewer documents hold the term."""
        found = self.known.get(k)
        if found is None:
            found = self._nth(k)
            if len(self.known) < DEPTHS:
                self.known[k] = found
        return found

    def _nth(self, k: int) -> float:
        if k > len(self.weights):
            return 0.0
        if self.top is not None and k <= len(self.top):
            return float(self.top[k - 1])
        return float(np.partition(self.weights, len(self.weights) - k)[len(self.weights) - k])

    def at(self, wanted: Wanted) -> np.ndarray:
        """The weight in each wanted row, float32; 0 where the row does not hold the term."""
        if len(self.rows) == 0:
            return np.zeros(len(wanted), dtype=np.float32)
        if self.bitmap is not None and self.before is not None:
            word, bit, below = wanted.bits
            bits = self.bitmap.take(word)
            place = self.before.take(word) + np.bitwise_count(bits & below)
            here = (bits & bit) != 0
        else:
            place = self.rows.searchsorted(wanted.rows)
            here = self.rows.take(place, mode="clip") == wanted.rows
        found: np.ndarray = self.weights.take(place, mode="clip")
        found *= here
        return found
