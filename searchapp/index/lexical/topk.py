"""The k best rows of a sum of term weights, without adding up what cannot matter.

MaxScore (Turtle and Flood, "Query evaluation: strategies and optimizations", IPM 1995) over whole postings, term by
term: those with the highest bound are added up first, until the terms that are left could not lift a document that has
none of the others to the k-th best. From there on the left terms' weights are looked up for the candidates alone, which
get fewer with each. What comes out is exact: every score is the float32 sum of the weights in the order of the query.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import numpy as np

from searchapp.index.lexical.weights import TermWeights, Wanted

SPARE = 4  # sums kept for the next query
SCAN = 16  # rows that a scan over all sums passes in the time one posting takes to be looked at and cleared
FEW = 20_000  # postings that are added up sooner than thought about
SAMPLE = 500  # rows whose scores tell a query's bound before anything is added up
DEEP = 100  # k up to which that pays
SAMPLED = 2  # and how many times its work there has to be
BLOCK = 2**17  # rows whose sums, 512 KB, are done together
STEP = 3_000  # postings that are added up in the time the bookkeeping of one more term takes
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
    if allowed is None and sum(map(len, asked)) <= FEW:
        with sums.lent() as array:
            rows, scores = _added_up(asked, k, array, max(TINY, *(term.nth(k) for term in asked)), None)
        return highest(scores, rows, k)
    query = _Query.of(asked)
    if len(query.queue) == 1:
        rows, scores = _exact(asked, _of_one(asked[0], k, allowed))
    elif allowed is not None and _is_few(allowed, query.queue):
        few = Wanted(np.flatnonzero(allowed).astype(np.int32))
        rows, scores = _exact(asked, _narrowed(query, few, np.zeros(len(few), dtype=np.float32), k))
    else:
        least = 0.0 if allowed is not None else query.least(k, sum(map(len, asked)))
        with sums.lent() as array:
            work, count = query.plan(least, k)
            if allowed is None and work < sum(map(len, asked)):
                rows, scores = _exact(asked, _pruned(query, k, array, least, count))
            else:
                rows, scores = _added_up(asked, k, array, max(least * query.safe, TINY), allowed)
    return highest(scores, rows, k)


@dataclass
class _Query:
    """The terms that are left in ``queue``, highest bound first, how often each stands in the query, and bounds.

    ``rest`` is the most that the terms of the queue add to any document. Sums in another order differ by less than what
    ``safe`` takes off.
    """

    queue: list[TermWeights]
    times: dict[TermWeights, int]
    rest: float
    safe: float

    @classmethod
    def of(cls, asked: Sequence[TermWeights]) -> _Query:
        times: dict[TermWeights, int] = {}
        for term in asked:
            times[term] = times.get(term, 0) + 1
        queue = sorted(times, key=lambda term: -term.highest * times[term])
        rest = sum(term.highest * times[term] for term in queue)
        return cls(queue, times, rest, max(0.0, 1 - 2.5e-7 * (len(asked) + 8)))

    def least(self, k: int, work: int) -> float:
        """A score that k documents have: by a single term, and of a large query by all terms in some good rows."""
        least = max(self.times[term] * term.nth(k) for term in self.queue)
        rare = next((term for term in self.queue if len(term) >= k), None)
        looked_up = sum(term.lookup_cost for term in self.queue)
        if rare is None or k > DEEP or work < SAMPLED * (SAMPLE * looked_up + STEP * len(self.queue)):
            return least
        rows = rare.rows if len(rare) <= SAMPLE else rare.rows.compress(rare.weights >= rare.nth(SAMPLE))[: 2 * SAMPLE]
        wanted = Wanted(rows)
        scores = np.zeros(len(rows), dtype=np.float32)
        for term in self.queue:
            scores += self.weighted(term, term.at(wanted))
        return max(least, _nth(scores, k))

    def plan(self, least: float, k: int) -> tuple[float, int]:
        """How many terms are to be added up, so that the others need only be looked up, and the work in postings.

        Of the rows that are added up, so many are taken to be left as the square of the share that the terms still to
        come have in the least score.
        """
        rest, added, best = self.rest, 0, (math.inf, len(self.queue))
        exact = k * sum(term.lookup_cost for term in self.queue) + STEP * len(self.queue)  # the scores at the end
        after = [0.0]  # the looking up for a row that a term and all behind it cost
        bounds = [self.rest]
        for term in self.queue:
            bounds.append(bounds[-1] - term.highest * self.times[term])
        for term, bound in zip(self.queue[::-1], bounds[-2::-1], strict=True):
            after.append(after[-1] + term.lookup_cost * min(1.0, (bound / least) ** 2 if least > 0 else 1.0))
        after.reverse()
        for place, term in enumerate(self.queue):
            if rest < least * self.safe:
                best = min(best, (added * (1 + after[place]) + STEP * (len(self.queue) - place) + exact, place))
            rest -= term.highest * self.times[term]
            added += len(term)
        return best

    def weighted(self, term: TermWeights, weights: np.ndarray) -> np.ndarray:
        """Weights of a term as often as the query has it."""
        return weights if self.times[term] == 1 else weights * np.float32(self.times[term])

    def next(self) -> TermWeights:
        """The next term, which the queue loses."""
        term = self.queue.pop(0)
        self.rest -= term.highest * self.times[term]
        return term


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
    asked: Sequence[TermWeights], k: int, sums: np.ndarray, least: float, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The rows that are among the k best and have at least a score, and their scores, by adding up all weights."""
    work = sum(map(len, asked))
    if work > FEW and _is_scanned(sums, asked):
        return _in_blocks([(term.rows, term.weights) for term in asked], sums, least, k, allowed)
    if work <= FEW:
        np.add.at(sums, np.concatenate([term.rows for term in asked]), np.concatenate([term.weights for term in asked]))
    else:
        for term in asked:
            np.add.at(sums, term.rows, term.weights)
    rows = _reaching(sums, asked, least, allowed)
    scores = sums.take(rows)
    _clear(sums, asked)
    return rows, scores


def _pruned(query: _Query, k: int, sums: np.ndarray, least: float, count: int) -> Wanted:
    """The rows that may be among the k best, by MaxScore: the first ``count`` terms are added up.

    k documents have a score of ``least``, and the other terms together give none as much.
    """
    added = [query.next() for _ in range(count)]
    parts = [(term.rows, query.weighted(term, term.weights)) for term in added]
    floor = max(TINY, least * query.safe - query.rest)
    if _is_scanned(sums, added):
        rows, scores = _in_blocks(parts, sums, floor)
    else:
        for part in parts:
            np.add.at(sums, *part)
        rows = _reaching(sums, added, floor, None)
        scores = sums.take(rows)
        _clear(sums, added)
    return _narrowed(query, Wanted(rows), scores, k, least)


def _in_blocks(
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    sums: np.ndarray,
    least: float,
    k: int | None = None,
    allowed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of at least a score, and their scores, from all rows and weights of ``parts``; perhaps of the k best.

    Some rows of the index are done after the others, so that their sums stay in the processor's second cache.
    """
    total = len(sums)
    edges = np.arange(0, total + BLOCK, BLOCK, dtype=np.int32)
    cuts = [rows.searchsorted(edges).tolist() for rows, _ in parts]
    found: list[tuple[np.ndarray, np.ndarray]] = []
    many = 0
    for number, base in enumerate(range(0, total, BLOCK)):
        block = sums[: min(BLOCK, total - base)]
        for (rows, weights), cut in zip(parts, cuts, strict=True):
            start, end = cut[number], cut[number + 1]
            if start < end:
                np.add.at(block, np.subtract(rows[start:end], base, dtype=np.intp), weights[start:end])
        above = block >= least
        if allowed is not None:
            above &= allowed[base : base + BLOCK]
        here = above.nonzero()[0]
        if len(here):
            found.append(((here + base).astype(np.int32), block.take(here)))
            many += len(here)
        block.fill(0)
        if k is not None and many > 2 * k:  # those to come need the k-th best score of these
            rows, scores = map(np.concatenate, zip(*found, strict=True))
            least = max(least, _nth(scores, k))
            keep = scores >= least
            found = [(rows.compress(keep), scores.compress(keep))]
            many = len(found[0][0])
    if not found:
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
    rows, scores = map(np.concatenate, zip(*found, strict=True))
    return rows, scores


def _narrowed(query: _Query, wanted: Wanted, scores: np.ndarray, k: int, least: float = 0.0) -> Wanted:
    """Those of some rows that may be among the k best of them: what the terms of the queue add is looked up."""
    while len(wanted) > k:
        least = max(least, _nth(scores, k))
        keep = scores >= least * query.safe - query.rest
        if not keep.all():
            wanted, scores = wanted.kept(keep), scores.compress(keep)
        if not query.queue:
            break
        term = query.next()
        scores += query.weighted(term, term.at(wanted))
    return wanted


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


def _is_few(allowed: np.ndarray, terms: Sequence[TermWeights]) -> bool:
    """Whether looking up all terms in the allowed rows costs less than adding up the postings."""
    return int(np.count_nonzero(allowed)) * sum(term.lookup_cost for term in terms) < 2 * sum(map(len, terms))


def _reaching(sums: np.ndarray, added: Sequence[TermWeights], least: float, allowed: np.ndarray | None) -> np.ndarray:
    """The rows whose sums are at least so high, and that are allowed, int32 and ascending."""
    if _is_scanned(sums, added):
        above = sums >= least
        if allowed is not None:
            above &= allowed
        return np.flatnonzero(above).astype(np.int32)
    parts = [term.rows.compress(sums.take(term.rows) >= least) for term in added]
    rows = np.sort(np.concatenate(parts))
    first = np.ones(len(rows), dtype=bool)
    np.not_equal(rows[1:], rows[:-1], out=first[1:])
    rows = rows.compress(first)
    return rows if allowed is None else rows.compress(allowed[rows])


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
