"""More like this: the stored vector of a document as the query. No model is loaded for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice

import numpy as np

from searchapp.errors import SearchAppError
from searchapp.index import Filter, VectorIndex
from searchapp.index.storage.hashes import ID
from searchapp.index.storage.ids import digest
from searchapp.search.hit import Answer, Hit, Place
from searchapp.unicode import find_surrogate

NAMED = 3  # ids that a refusal names
COMPARED = 20_000  # ids that are compared letter by letter with one that is unknown


def known_row(index: VectorIndex, identifier: str) -> int | None:
    """The row of the document with an id; None where there is none."""
    return index.row_of(identifier)


def rows_of(index: VectorIndex, identifiers: Sequence[str]) -> np.ndarray:
    """The rows of the documents with these ids, int64. Raises SearchAppError for one that none has."""
    if len(identifiers) == 1 or index.is_remote:
        return np.array([find_row(index, identifier) for identifier in identifiers], dtype=np.int64)
    hashes = index.snapshot.hashes()[ID]
    there = np.arange(len(hashes)) if index.alive is None else np.flatnonzero(index.alive)
    order = there[np.argsort(hashes[there], kind="stable")]
    ranked = hashes[order]
    rows = np.empty(len(identifiers), dtype=np.int64)
    for number, identifier in enumerate(identifiers):
        key = np.uint64(digest(identifier)) if find_surrogate(identifier) is None else np.uint64(0)
        begin, end = np.searchsorted(ranked, key, side="left"), np.searchsorted(ranked, key, side="right")
        found = [int(row) for row in order[begin:end] if index.rows.read(int(row)).id == identifier]
        rows[number] = found[0] if found else find_row(index, identifier)
    return rows


def find_row(index: VectorIndex, identifier: str) -> int:
    """The row of the document with an id. Raises SearchAppError, which names ids like it, where there is none."""
    row = known_row(index, identifier)
    if row is not None:
        return row
    near = near_ids(index, identifier)
    there = f"near it: {', '.join(near)}" if near else "`searchapp search … --json` prints the ids of hits"
    raise SearchAppError(f"no document of {index.snapshot.root} has the id {identifier!r}; {there}")


def near_ids(index: VectorIndex, identifier: str) -> list[str]:
    """Ids that hold this one, in the order of rows; where none does, those most like it, best first."""
    names = [name for name in index.ids().tolist() if name is not None]
    wanted = identifier.casefold()
    if wanted.strip() and (holding := list(islice((name for name in names if wanted in name.casefold()), NAMED))):
        return holding
    import difflib

    return difflib.get_close_matches(identifier, names[:COMPARED], NAMED)


def like(
    index: VectorIndex, identifier: str, k: int = 10, *, filter: str | None = None, candidates: int | None = None
) -> Answer:
    """The k documents whose vectors are closest to that of a document, itself left out; the answer's query is "".

    Raises SearchAppError for an id that no document has, and for numbers out of range.
    """
    if k < 1:
        raise SearchAppError(f"k is {k}; ask for at least 1 hit")
    if candidates is not None and candidates < 0:
        raise SearchAppError(f"candidates is {candidates}; give 0 to rescore none, or a number above it")
    row = find_row(index, identifier)
    began = time.perf_counter()
    vector = index.vectors.gather(np.array([row], dtype=np.int64))
    passes = Filter(filter) if filter else None
    scores, rows = index.search_vectors(vector, k + 1, candidates=candidates, filter=passes)
    stage = "exact" if index.is_exact else "rescored" if index.rescore_depth(k + 1, candidates) else "compressed"
    found = [pair for pair in zip(rows[0].tolist(), scores[0].tolist(), strict=True) if pair[0] >= 0 and pair[0] != row]
    hits = []
    for rank, (place, score) in enumerate(found[:k], 1):
        [document] = index.read([place])
        places = {stage: Place(rank, score)}
        hits.append(Hit(document.id, score, document.title, document.text, document.metadata, stage, places))
    return Answer("", tuple(hits), 0.0, time.perf_counter() - began)
