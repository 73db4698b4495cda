"""Drift: how much a trained index loses once rows were folded in that it was not trained on.

Lists, codebooks and axes are fitted to the vectors of their day. Recall is measured on stored vectors as queries, drawn
from all that are there: their nearest neighbours by the index against those by exact comparison.
"""

from __future__ import annotations

import numpy as np

from searchapp.index.index import VectorIndex
from searchapp.index.manifest import Drift, Manifest

PROBES = 100
TOP = 10
LOSS = 0.02  # of recall, from which on it is said


def measured_recall(index: VectorIndex, seed: int = 0) -> float:
    """Recall@10 of the FAISS index over the rows it covers; equal scores count as equal. 1 where nothing is there."""
    covered = index.manifest.rows - index.manifest.fresh
    alive = np.ones(covered, dtype=bool) if index.alive is None else index.alive[:covered]
    rows = np.flatnonzero(alive)
    if len(rows) < 2:
        return 1.0
    probes = np.sort(np.random.default_rng(seed).choice(rows, size=min(PROBES, len(rows)), replace=False))
    queries = index.vectors.gather(probes)
    top = min(TOP, len(rows) - 1)
    _, found = index.search_first(queries, top + 1, None, index.alive, covered, covered)
    least = _exact(index, queries, probes, alive, top)
    hits = 0.0
    for number, row in enumerate(probes):
        others = found[number][(found[number] >= 0) & (found[number] != row)][:top]
        hits += float((index.vectors.gather(others) @ queries[number] >= least[number] - 1e-5).sum()) / top
    return hits / len(probes)


def _exact(index: VectorIndex, queries: np.ndarray, probes: np.ndarray, alive: np.ndarray, top: int) -> np.ndarray:
    """The score of the ``top``-th neighbour of each probe, itself not counted."""
    best = np.full((len(queries), top), -np.inf, dtype=np.float32)
    begin = 0
    for block in index.vectors.blocks():
        block = block[: len(alive) - begin]
        if not len(block):
            break
        scores = queries @ block.T
        scores[:, ~alive[begin : begin + len(block)]] = -np.inf
        own = (probes >= begin) & (probes < begin + len(block))
        scores[np.flatnonzero(own), probes[own] - begin] = -np.inf
        joined = np.hstack([best, scores])
        best = -np.partition(-joined, top - 1, axis=1)[:, :top]
        begin += len(block)
    least: np.ndarray = best.min(1)
    return least


def drifted(drift: Drift | None) -> bool:
    """Whether so much recall was lost that it has to be said."""
    return drift is not None and drift.now < drift.trained - LOSS


def drift_notice(manifest: Manifest, root: object) -> str | None:
    """One line that says what was lost and what mends it; None while little was."""
    drift = manifest.drift
    if drift is None or not drifted(drift):
        return None
    return (
        f"recall@{TOP} of the trained index has fallen from {drift.trained:.3f} to {drift.now:.3f} with the documents "
        f"added since; to train it again: searchapp compact {root}"
    )
