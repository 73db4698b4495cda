"""Drift: how much recall a trained index loses when rows are added to it that it was not trained on.

Lists, codebooks and axes are fitted to the vectors of their day. The probe queries of the index ask it as it was
trained, and again after each fold; stored vectors as queries would flatter it (docs/log.md). Where it has none, they
are made up from the vectors it had when first asked, so that it is the same ones every time.
"""

from __future__ import annotations

import numpy as np

from searchapp.index.ann.calibration import DEPTH, CalibrationQueries
from searchapp.index.ann.queries import read_queries, synthetic_queries_from
from searchapp.index.reader import VectorIndex
from searchapp.index.storage.manifest import Drift, Manifest

LOSS = 0.02  # of recall, from which on it is said


def drift(before: VectorIndex, after: VectorIndex) -> Drift:
    """The recall of an index as it was trained and after rows were folded in, from its states before and after that."""
    known, rows = before.manifest.drift, _covered(before)
    first = known.first if known and known.first else rows
    queries = _queries(before, first)
    trained = known.trained if known and known.first else measured_recall(before, queries)
    return Drift(trained, measured_recall(after, queries), after.manifest.rows, first)


def measured_recall(index: VectorIndex, queries: np.ndarray) -> float:
    """Recall@10 of the FAISS index over the rows it covers that are there; 1 where there are none."""
    covered = _covered(index)
    if not covered or (index.alive is not None and not index.alive[:covered].any()):
        return 1.0
    truth = CalibrationQueries.over(queries, index.vectors.among(index.alive).living(covered))
    cosines, _ = index.search_rows(queries, truth.depth, index.alive, indexed=covered, end=covered)
    return truth.recall(cosines)


def _covered(index: VectorIndex) -> int:
    return index.manifest.rows - index.manifest.unindexed_rows


def _queries(index: VectorIndex, first: int) -> np.ndarray:
    """The probe queries that are kept with an index, else some made up from its ``first`` vectors."""
    if index.manifest.probes is not None:
        return read_queries(index.snapshot.path(index.manifest.probes), index.manifest.dim)
    return synthetic_queries_from(index.vectors.gather, first)


def drifted(found: Drift | None) -> bool:
    """Whether enough recall was lost to tell the user."""
    return found is not None and found.now < found.trained - LOSS


def drift_notice(manifest: Manifest, root: object) -> str | None:
    """One line that says what was lost and what mends it; None while little was."""
    found = manifest.drift
    if found is None or not drifted(found):
        return None
    return (
        f"recall@{DEPTH} of the trained index has fallen from {found.trained:.3f} to {found.now:.3f} with the "
        f"documents added since; to train it again: searchapp compact {root}"
    )
