"""Which ids are taken, in sixteen bytes a document instead of a Python object each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import numpy as np


def digest(text: str) -> int:
    """The first 64 bits of a text's blake2b."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little")


def digests(texts: Iterable[str]) -> np.ndarray:
    """``digest`` of each text, uint64 (n,)."""
    make, texts = hashlib.blake2b, list(texts)
    distinct = dict.fromkeys(texts)
    if 2 * len(distinct) <= len(texts):  # as metadata often are
        found = dict(zip(distinct, digests(distinct).tolist(), strict=True))
        return np.fromiter(map(found.__getitem__, texts), dtype=np.uint64, count=len(texts))
    return np.frombuffer(b"".join([make(text.encode(), digest_size=8).digest() for text in texts]), dtype="<u8")


def have_equal(hashes: np.ndarray) -> bool:
    """Whether two of these hashes (uint64) are equal."""
    ordered = np.sort(hashes)
    return bool((ordered[1:] == ordered[:-1]).any())


def among(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of these hashes (uint64) are among others, bool; ``np.isin`` takes longer."""
    if not len(others):
        return np.zeros(len(hashes), dtype=bool)
    ordered = np.sort(others)
    found: np.ndarray = ordered.take(np.searchsorted(ordered, hashes), mode="clip") == hashes
    return found


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
        self._recent.setdefault(digest(identifier), []).append(row)
        self._waiting += 1
        if self._waiting >= self._merge_at:
            self._merge()

    def extend(self, hashes: np.ndarray, rows: np.ndarray) -> None:
        """Record many rows at once, by the hashes of their ids (uint64)."""
        self._merge()
        joined = np.concatenate([self._hashes, hashes])
        order = np.argsort(joined, kind="stable")
        self._hashes, self._rows = joined[order], np.concatenate([self._rows, rows.astype(np.int64)])[order]

    def may_have(self, hashes: np.ndarray) -> bool:
        """Whether one of these hashes of ids (uint64) is that of an id that is here."""
        if not len(hashes) or not len(self._hashes) + len(self._recent):
            return False
        places = np.searchsorted(self._hashes, hashes)
        known = len(self._hashes) and (self._hashes.take(places, mode="clip") == hashes).any()
        return bool(known) or not self._recent.keys().isdisjoint(hashes.tolist())

    def rows_of(self, hashes: np.ndarray) -> np.ndarray | None:
        """The row of each of these hashes of ids (uint64); None where one is that of no row, or of several."""
        self._merge()
        begin = np.searchsorted(self._hashes, hashes, side="left")
        if not (np.searchsorted(self._hashes, hashes, side="right") - begin == 1).all():
            return None
        found: np.ndarray = self._rows[begin]
        return found

    def find(self, identifier: str) -> int | None:
        """The row that has this id, or None."""
        key = digest(identifier)
        begin = int(np.searchsorted(self._hashes, np.uint64(key), side="left"))
        end = int(np.searchsorted(self._hashes, np.uint64(key), side="right"))
        for row in [*self._rows[begin:end].tolist(), *self._recent.get(key, [])]:
            if self._read(row) == identifier:
                return int(row)
        return None

    def _merge(self) -> None:
        keys = [key for key, rows in self._recent.items() for _ in rows]
        rows = [row for rows in self._recent.values() for row in rows]
        self._recent, self._waiting = {}, 0
        if keys:
            self.extend(np.array(keys, dtype=np.uint64), np.array(rows, dtype=np.int64))
