"""The second stage of search: exact cosines of the candidates, and an order of hits that is the same every time.

FAISS sums an inner product in another order for another batch size, so two equal vectors may get scores that differ
in the last bit, and chance decides which of them FAISS keeps. Here one kernel scores every pair alike. Where the last
hit may be tied with a row that was left out, the search takes more candidates.
"""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np

from searchapp.index.storage.vectors import Stored, widen

TIE = 4e-6  # cosines closer than this may be in the wrong order: the rounding of float32 sums over thousands of terms
TINY = np.float32(1e-30)  # in place of the squared length of a zero vector; the next one is 3.5e-15
CHUNK = 1 << 17  # numbers converted at a time: with their fp16 form less than a megabyte, which stays in the cache
SPARE = 8  # rows found beyond the k asked for where scores are exact: most ties end among them
DEEPER = 4  # times as many candidates for a query whose last hit may be tied
_kept = threading.local()


class FirstStage(Protocol):
    """What finds candidates: FAISS, exact comparison, or both."""

    def top(self, queries: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``depth`` best rows of each unit query (n, dim), best first: scores and rows, (n, depth); row -1: none.

        Both may be narrower where there are fewer rows.
        """


def best(
    first: FirstStage, vectors: Stored, queries: np.ndarray, k: int, depth: int, limit: int, *, exact: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The k best rows of each unit query: cosines float32 and rows int64, (n, k), padded with -inf and -1.

    ``depth`` candidates (at least k) of each query are rescored, of the ``limit`` rows that there are. With ``exact``
    the scores of the first stage are cosines up to rounding, and only queries with near-ties are rescored.
    """
    depth = min(k + SPARE if exact else depth, limit)
    if not exact:
        return _rescored(first, vectors, queries, k, depth, limit)
    scores, rows = first.top(queries, depth)
    close = (np.diff(scores[:, : k + 1], axis=1) > -TIE) & (rows[:, 1 : k + 1] >= 0)
    near_ties = np.flatnonzero(close.any(1))
    found = ordered(scores, rows, k)
    if len(near_ties):
        again = _rescored(first, vectors, queries[near_ties], k, depth, limit)
        found[0][near_ties], found[1][near_ties] = again
    return found


def _rescored(
    first: FirstStage, vectors: Stored, queries: np.ndarray, k: int, depth: int, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of ``depth`` candidates of each query; of more candidates while the last hit may be tied.

    One candidate more is looked at. Where the first stage cannot tell the last one from it, and that last one is among
    the hits, what was left out may be another row with the same vector.
    """
    scores = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    tied = np.arange(len(queries))
    while len(tied):
        asked = min(depth + 1, limit)
        points, candidates = first.top(queries[tied], asked)
        if asked == limit or candidates.shape[1] <= k:  # nothing was left out, or nothing more can be found
            scores[tied], rows[tied] = ordered(exact_scores(vectors, queries[tied], candidates), candidates, k)
            break
        same = (candidates[:, -1] >= 0) & (points[:, -2] - points[:, -1] <= TIE * np.maximum(1, np.abs(points[:, -2])))
        candidates = candidates[:, :-1]
        cosines = exact_scores(vectors, queries[tied], candidates)
        scores[tied], rows[tied] = ordered(cosines, candidates, k)
        tied = tied[same & (cosines[:, -1] >= scores[tied, -1] - TIE)]
        depth = min(DEEPER * depth, limit)
    return scores, rows


def exact_scores(vectors: Stored, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The cosine of each unit query (n, dim) with each of its rows (n, m), float32; -inf where a row is -1.

    The stored fp16 numbers are widened and summed as float32, and divided by the length that rounding left them with.
    """
    count, width = rows.shape
    scores = np.empty(rows.shape, dtype=np.float32)
    places = np.maximum(rows, 0)
    size = max(vectors.dim, CHUNK)
    across = max(1, min(width, size // vectors.dim))
    down = max(1, size // (vectors.dim * across))
    room = _room(size)
    for top in range(0, count, down):
        batch = queries[top : top + down, None]
        for left in range(0, width, across):
            part = places[top : top + down, left : left + across]
            found = widen(vectors.stored(part.ravel()), room).reshape(*part.shape, vectors.dim)
            lengths = np.sqrt(np.vecdot(found, found))
            products = np.vecdot(found, batch)
            scores[top : top + down, left : left + across] = products / np.where(lengths > 0, lengths, 1)
    scores[rows < 0] = -np.inf
    return scores


def cosines(vectors: Stored, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The cosine of one unit query (dim,) with each of some rows, float32: what ``exact_scores`` gives, sooner."""
    if len(rows) * vectors.dim > CHUNK:
        whole: np.ndarray = exact_scores(vectors, query[None], rows[None])[0]
        return whole
    return cosines_of(widen(vectors.stored(rows)), query)


def cosines_of(found: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The cosine of one unit query (dim,) with each of some float32 vectors (n, dim); 0 with one of zeros."""
    scores: np.ndarray = np.vecdot(found, query)
    scores /= lengths_of(found)
    return scores


def lengths_of(found: np.ndarray) -> np.ndarray:
    """The lengths of float32 vectors (n, dim), above 0 also for one of zeros."""
    lengths: np.ndarray = np.vecdot(found, found)
    lengths += TINY  # which changes none but that of a zero vector
    np.sqrt(lengths, lengths)
    return lengths


def _room(size: int) -> np.ndarray:
    """A float32 buffer that each thread keeps: new pages for every call would cost as much as the products."""
    room: np.ndarray | None = getattr(_kept, "room", None)
    if room is None or len(room) < size:
        room = _kept.room = np.empty(size, dtype=np.float32)
    return room


def nearest(scores: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each query and those tied with the last of them, in no order; padded with row -1."""
    if scores.shape[1] <= k:
        return scores, rows
    least = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    kept = scores >= least - TIE
    order = np.argsort(~kept, axis=1, kind="stable")[:, : int(kept.sum(1).max())]
    rows = np.take_along_axis(np.where(kept, rows, -1), order, 1)
    return np.take_along_axis(np.where(kept, scores, -np.inf), order, 1), rows


def ordered(scores: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort by score, best first, then by row; cut or pad to k, with row -1 and score -inf."""
    scores = np.where(rows < 0, -np.inf, scores).astype(np.float32, copy=False)
    if rows.shape[1] <= 4 * k:
        return _sorted(scores, rows, k)
    queries = np.arange(len(rows))[:, None]
    few = np.argpartition(scores, -k, axis=1)[:, -k:]  # the k best; the worst of these comes first
    tied = (scores >= scores[queries, few[:, :1]]).sum(1) > k  # the worst of them with a row outside
    found = _sorted(scores[queries, few], rows[queries, few], k)
    if tied.any():
        found[0][tied], found[1][tied] = _sorted(scores[tied], rows[tied], k)
    return found


def _sorted(scores: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    queries = np.arange(len(rows))[:, None]
    scores, rows = scores[queries, order], rows[queries, order]
    short = k - rows.shape[1]
    if short > 0:
        scores = np.pad(scores, ((0, 0), (0, short)), constant_values=-np.inf)
        rows = np.pad(rows, ((0, 0), (0, short)), constant_values=-1)
    return scores, rows
