"""Checks an index against itself: every checksum, every count, and a search that must find what it looks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from searchapp.errors import SearchAppError
from searchapp.index.index import VectorIndex
from searchapp.index.store import Store

PROBES = 5  # stored vectors that are searched for
CANDIDATES = 10_000  # rows rescored where the index is not exact


def verify(path: Path) -> list[str]:
    """Return one line for each problem, none for a sound index; IndexStoreError if it cannot be opened."""
    store = Store.open(path)
    problems = [*store.notices, *store.check().values()]
    manifest = store.manifest
    if manifest is None or problems:
        return problems
    if manifest.state != "ready":
        return [f"the build has not finished (state: {manifest.state}); run the same `searchapp build` again"]
    index = VectorIndex(store)
    counted = 0
    for number, segment in enumerate(manifest.segments):
        rows = index.rows.batch(number).num_rows
        vectors = manifest.files[segment.vectors].size // (2 * manifest.dim)
        if segment.base != counted or not rows == vectors == segment.count:
            problems.append(
                f"segment {number} says rows {segment.base} to {segment.base + segment.count}, "
                f"but holds {rows} documents and {vectors} vectors and should begin at row {counted}"
            )
        counted += segment.count
    if counted != manifest.rows:
        problems.append(f"the segments hold {counted} documents, the manifest says {manifest.rows}")
    if not problems:
        problems += _search(index)
    return problems


def _search(index: VectorIndex) -> list[str]:
    """Search for stored vectors: each must come back with its own row, or one with an equal vector, on top.

    A reduced or compressed index may lose single ones without being damaged; it must find one of them at least.
    """
    there = np.arange(index.manifest.rows) if index.alive is None else np.flatnonzero(index.alive)
    if not len(there):
        return []
    rows = there[np.unique(np.linspace(0, len(there) - 1, PROBES).astype(np.int64))]
    vectors = index.vectors.gather(rows)
    problems = []
    exact = index.manifest.ann is not None and index.manifest.ann.candidates == 0
    try:
        covered = index.manifest.rows - index.manifest.fresh
        if covered and index.ann.rows != covered:
            problems.append(f"the FAISS index holds {index.ann.rows} vectors, the manifest says {covered}")
        scores, found = index.search_vectors(vectors, 1, candidates=None if exact else CANDIDATES)
    except SearchAppError as error:
        return [str(error)]
    missed = [
        row
        for row, vector, score, hit in zip(rows, vectors, scores[:, 0], found[:, 0], strict=True)
        if vector.any() and (hit < 0 or (hit != row and score < 0.999))
    ]
    if missed and (exact or len(missed) == len(rows)):
        names = ", ".join(repr(index.rows.read(int(row)).id) for row in missed)
        problems.append(f"searches for the stored vectors of {names} do not find them")
    return problems
