"""Which ids are taken, in sixteen bytes a document instead of a Python object each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np


def _hash(identifier: str) -> int:
    return int.from_bytes(hashlib.blake2b(identifier.encode("utf-8"), digest_size=8).digest(), "little")


class IdTable:
    """Maps ids to rows by a 64-bit hash; ``read`` (row → id) settles the rare case that two ids share one.

    Rows are added in order. Recent ones wait in a dict and are merged into sorted arrays now and then.
    """

    def __init__(self, read: Callable[[int], str], merge_at: int = 16_384) -> None:
        self._read = read
        self._merge_at = merge_at
        self._hashes = np.zeros(0, dtype=np.uint64)
        self._rows = np.zeros(0, dtype=np.int64)
        self._recent: dict[int, list[int]] = {}
        self._waiting = 0

    def add(self, identifier: str, row: int) -> None:
        """Record that ``row`` has this id."""
        self._recent.setdefault(_hash(identifier), []).append(row)
        self._waiting += 1
        if self._waiting >= self._merge_at:
            self._merge()

    def find(self, identifier: str) -> int | None:
        """The row that has this id, or None."""
        key = _hash(identifier)
        begin = int(np.searchsorted(self._hashes, np.uint64(key), side="left"))
        end = int(np.searchsorted(self._hashes, np.uint64(key), side="right"))
        for row in [*self._rows[begin:end].tolist(), *self._recent.get(key, [])]:
            if self._read(row) == identifier:
                return int(row)
        return None

    def _merge(self) -> None:
        keys = [key for key, rows in self._recent.items() for _ in rows]
        rows = [row for rows in self._recent.values() for row in rows]
        hashes = np.concatenate([self._hashes, np.array(keys, dtype=np.uint64)])
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._rows = np.concatenate([self._rows, np.array(rows, dtype=np.int64)])[order]
        self._recent, self._waiting = {}, 0
