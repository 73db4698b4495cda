"""The k best rows of a sum of term weights, without adding up what cannot matter.

MaxScore (Turtle and Flood, "Query evaluation: strategies and optimizations", IPM 1995) over whole postings, term by
term: those with the highest bound are added up first, until the terms that are left could not lift a document that has
none of the others to the k-th best. From there on the left terms' weights are looked up for the candidates alone, which
get fewer with each. What comes out is exact: every score is the float32 sum of the weights in the order of the query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import numpy as np

from searchapp.index.lexical.weights import TermWeights, Wanted

SPARE = 4  # sums kept for the next query
PLAIN = 20_000  # postings of a query up to which bounds cost more than they save
SCAN = 16  # rows that a scan over all sums passes in the time one posting takes to be looked at and cleared
ALL, HALF, LOW = np.uint32(2**32 - 1), np.uint64(32), np.uint64(2**32 - 1)
TINY = float(np.finfo(np.float32).tiny)


class Sums:
    """Arrays of ``rows`` float32 zeros to add up weights in; one is lent at a time to a thread, and kept for others."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._free: list[np.ndarray] = []
        self._lock = Lock()

    @contextmanager
    def lent(self) -> Iterator[np.ndarray]:
        """An array of zeros, which has to be all zeros again at the end."""
        with self._lock:
            sums = self._free.pop() if self._free else None
        if sums is None:
            sums = np.zeros(self.rows, dtype=np.float32)
        yield sums  # after an error it is not kept
        with self._lock:
            if len(self._free) < SPARE:
                self._free.append(sums)


def best(
    asked: Sequence[TermWeights], k: int, sums: Sums, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k highest scores above 0, float32, and their rows, int64, best first; of equal ones the lowest rows first.

    ``asked`` are the terms of a query in its order, one that stands twice twice. ``allowed`` bool (rows,) leaves rows
    out.
    """
    asked = [term for term in asked if len(term)]
    if not asked or k < 1:
        return np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64)
    work = sum(len(term) for term in asked)
    with sums.lent() as array:
        if work <= PLAIN:
            rows, scores = _added_up(asked, k, array, allowed)
        else:
            rows, scores = _pruned(asked, k, array, allowed)
    return highest(scores, rows, k)


def highest(scores: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k highest of some scores above 0 and their rows, best first, equal ones in the order of the rows."""
    if len(scores) > k:
        keep = scores >= _nth(scores, k)
        scores, rows = scores.compress(keep), rows.compress(keep)
    # positive floats stand in the order of their bits; those turned round and the row make one number to sort by
    keys = (scores.view(np.uint32) ^ ALL).astype(np.uint64) << HALF | rows.astype(np.uint64)
    keys.sort()
    keys = keys[:k]
    return ((keys >> HALF).astype(np.uint32) ^ ALL).view(np.float32), (keys & LOW).astype(np.int64)


def _added_up(
    asked: Sequence[TermWeights], k: int, sums: np.ndarray, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and scores of all documents that may be among the k best, by adding up all weights."""
    least = TINY
    for term in asked:
        np.add.at(sums, term.rows, term.weights)
        if allowed is None:
            least = max(least, term.nth(k))
    rows = _reaching(sums, asked, least)
    if allowed is not None:
        rows = rows[allowed[rows]]
    scores = sums.take(rows)
    _clear(sums, asked)
    return rows, scores


def _pruned(
    asked: Sequence[TermWeights], k: int, sums: np.ndarray, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and scores of all documents that may be among the k best, by MaxScore."""
    times: dict[TermWeights, int] = {}
    for term in asked:
        times[term] = times.get(term, 0) + 1
    queue = sorted(times, key=lambda term: -term.highest * times[term])
    safe = max(0.0, 1 - 2.5e-7 * (len(asked) + 8))  # float32 sums in another order differ by less
    if len(queue) == 1:
        return _exact(asked, _of_one(queue[0], k, allowed))
    least = 0.0 if allowed is not None else max(times[term] * term.nth(k) for term in queue)
    rest = sum(term.highest * times[term] for term in queue)
    added: list[TermWeights] = []

    def add(term: TermWeights) -> None:
        np.add.at(sums, term.rows, term.weights if times[term] == 1 else term.weights * np.float32(times[term]))
        added.append(term)

    chosen = _few(allowed, queue)
    if chosen is None:
        left = sum(map(len, queue))
        while queue and (not added or rest >= least * safe):
            term = queue.pop(0)
            rest -= term.highest * times[term]
            left -= len(term)
            add(term)
            if left > len(term) >= k:
                least = max(least, _reached(sums, term.rows, k, least, allowed))
        chosen = _reaching(sums, added, max(TINY, least * safe - rest))
        if allowed is not None:
            chosen = chosen[allowed[chosen]]
    wanted, scores = Wanted(chosen), sums.take(chosen)
    while queue and len(wanted) > k:
        least = max(least, _nth(scores, k))
        keep = scores >= least * safe - rest
        if not keep.all():
            wanted, scores = wanted.kept(keep), scores.compress(keep)
        term = queue.pop(0)
        rest -= term.highest * times[term]
        if term.lookup_cost * len(wanted) < 2 * len(term) or len(added) == 0:
            found = term.at(wanted)
            scores += found if times[term] == 1 else found * np.float32(times[term])
        else:
            before = sums.take(wanted.rows)
            add(term)
            scores += sums.take(wanted.rows) - before
    _clear(sums, added)
    if len(wanted) > k:
        keep = scores >= max(TINY, _nth(scores, k) * safe)
        wanted = wanted.kept(keep)
    return _exact(asked, wanted)


def _exact(asked: Sequence[TermWeights], wanted: Wanted) -> tuple[np.ndarray, np.ndarray]:
    """Rows and their scores, added up in the order of the query; those above 0."""
    scores = np.zeros(len(wanted), dtype=np.float32)
    found: dict[TermWeights, np.ndarray] = {}
    for term in asked:
        if term not in found:
            found[term] = term.at(wanted)
        scores += found[term]
    above = scores > 0
    return wanted.rows.compress(above), scores.compress(above)


def _of_one(term: TermWeights, k: int, allowed: np.ndarray | None) -> Wanted:
    """The rows of a term that may be among its k best."""
    rows, weights = term.rows, term.weights
    least = 0.0
    if allowed is None:
        least = term.nth(k)
    else:
        passing = allowed[rows]
        rows, weights = rows.compress(passing), weights.compress(passing)
        if len(rows) > k:
            least = _nth(weights, k)
    return Wanted(rows.compress(weights >= least))


def _few(allowed: np.ndarray | None, queue: Sequence[TermWeights]) -> np.ndarray | None:
    """The allowed rows, where looking up all terms in them costs less than adding up the postings."""
    if allowed is None:
        return None
    count = int(np.count_nonzero(allowed))
    if count * sum(term.lookup_cost for term in queue) > 2 * sum(map(len, queue)):
        return None
    return np.flatnonzero(allowed).astype(np.int32)


def _reached(sums: np.ndarray, rows: np.ndarray, k: int, least: float, allowed: np.ndarray | None) -> float:
    """What k of some rows have at least, if that is above ``least``."""
    values = sums.take(rows)
    above = np.flatnonzero(values > least)
    if allowed is not None:
        above = above[allowed[rows[above]]]
    return _nth(values[above], k) if len(above) >= k else least


def _reaching(sums: np.ndarray, added: Sequence[TermWeights], least: float) -> np.ndarray:
    """The rows whose sums are at least so high, int32 and ascending."""
    if _is_scanned(sums, added):
        return np.flatnonzero(sums >= least).astype(np.int32)
    parts = [term.rows.compress(sums.take(term.rows) >= least) for term in added]
    if len(parts) == 1:
        return parts[0]
    rows = np.sort(np.concatenate(parts))
    first = np.ones(len(rows), dtype=bool)
    np.not_equal(rows[1:], rows[:-1], out=first[1:])
    return rows.compress(first)


def _clear(sums: np.ndarray, added: Sequence[TermWeights]) -> None:
    if _is_scanned(sums, added):
        sums.fill(0)
    else:
        for term in added:
            sums[term.rows] = 0


def _is_scanned(sums: np.ndarray, added: Sequence[TermWeights]) -> bool:
    """Whether all sums are passed over faster than the rows of the terms."""
    return sum(map(len, added)) * SCAN > len(sums)


def _nth(values: np.ndarray, k: int) -> float:
    """The k-th highest of at least k values."""
    return float(np.partition(values, len(values) - k)[len(values) - k])
