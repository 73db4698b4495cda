"""The cosines of one query with a few stored vectors, again and again: ``rescore.cosines`` without its many arrays."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np

from searchapp.index.ann.rescore import cosines_of, lengths_of
from searchapp.index.storage.vectors import ALONE, widen

MEASURED = 1 << 22  # stored numbers up to which the lengths of all vectors are kept: some milliseconds to compute


class Gathered:
    """Rows of fp16 vectors that lie one after the other, ``stored`` uint8 (rows x dim x 2), widened.

    Each thread keeps room for ``most`` rows at a time, in both forms. Safe to share between threads.
    """

    def __init__(self, stored: np.ndarray, dim: int) -> None:
        self.most = max(1, ALONE // dim)
        self._items = stored.view(f"V{2 * dim}")
        self._dim = dim
        self._kept = threading.local()
        self._lengths: np.ndarray | None = None
        if len(self._items) * dim <= MEASURED:
            parts = [
                np.arange(at, min(at + self.most, len(self._items))) for at in range(0, len(self._items), self.most)
            ]
            self._lengths = np.concatenate([lengths_of(self.take(part)) for part in parts])

    def cosines(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The cosine of a unit query (dim,) with each of at most ``most`` rows, float32."""
        if self._lengths is None:
            return cosines_of(self.take(rows), query)
        scores: np.ndarray = np.vecdot(self.take(rows), query)
        scores /= self._lengths.take(rows)
        return scores

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The float32 vectors (len(rows), dim) of at most ``most`` rows; they stand until this thread asks again.

        Row numbers are trusted. By PyTorch where the process has it, as ``widen`` does.
        """
        wide: np.ndarray
        try:
            items, source, wide, target = self._kept.views[len(rows)]
        except (AttributeError, KeyError):
            items, source, wide, target = self._views(len(rows))
        self._items.take(rows, out=items, mode="clip")  # the only mode that writes where it is told to
        if target is not None:
            target.copy_(source)
        elif "torch" in sys.modules:  # since this room was made
            del self._kept.views
            return self.take(rows)
        else:
            widen(source, wide.reshape(-1))
        found: np.ndarray = wide
        return found

    def _views(self, count: int) -> tuple[np.ndarray, Any, np.ndarray, Any]:
        """Room for so many rows: as they are stored, what is copied from; as float32, what is copied to."""
        kept = self._kept
        if not hasattr(kept, "views"):
            kept.items, kept.wide = np.empty(self.most, self._items.dtype), np.empty((self.most, self._dim), np.float32)
            kept.views = {}
        items, wide = kept.items[:count], kept.wide[:count]
        source, target = items.view("<f2"), None
        if "torch" in sys.modules:
            import torch

            source, target = torch.from_numpy(source), torch.from_numpy(wide.reshape(-1))
        views = kept.views[count] = items, source, wide, target
        return views
