"""Checks an index against itself: every checksum, every count, and a search that must find what it looks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from searchapp.errors import SearchAppError
from searchapp.index.drift import drift_notice
from searchapp.index.reader import VectorIndex
from searchapp.index.storage.commits import CommitOnDisk, commits, copy_of, damage
from searchapp.index.storage.manifest import Manifest
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import REJECTED

PROBES = 5  # stored vectors that are searched for
CANDIDATES = 10_000  # rows rescored where the index is not exact


@dataclass(frozen=True)
class Report:
    """One line for each problem, with the command that mends it; and what is no damage, but should be known."""

    problems: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def verify(path: Path) -> list[str]:
    """Return one line for each problem, none for a sound index; IndexStoreError if it cannot be opened."""
    return list(examine(path).problems)


def examine(path: Path) -> Report:
    """Read every file of every state that is kept, search the newest. Raises IndexStoreError if none can be read."""
    found = [*commits(path)] if path.is_dir() else []
    newest = next((state.manifest for state in found if state.manifest is not None), None)
    if newest is None:
        Snapshot.open(path)  # says what is the matter
        return Report()
    problems = [*_files(path, found), *_rejected(path, found)]
    if problems:
        return Report(tuple(problems))
    if newest.state != "ready":
        unfinished = f"the build has not finished (state: {newest.state}); run the same `{newest.made_by}` again"
        return Report((unfinished,))
    snapshot = Snapshot.open(path)
    manifest = snapshot.manifest
    index = VectorIndex(snapshot)
    problems = examine_search(index)
    notice = drift_notice(manifest, path)
    staged = manifest.staged
    pending = (
        f"an add of {', '.join(staged.sources)} has not finished ({staged.rows:,} documents encoded); run it again"
        if staged
        else None
    )
    mend = f"; mend it with `searchapp verify {path} --repair`"
    begun = manifest.reembedding
    other = (
        f"a reembed by {begun.encoder['reference']['model']} has not finished ({begun.documents:,} documents encoded); "
        "run it again"
        if begun
        else None
    )
    return Report(tuple(text + mend for text in problems), tuple(text for text in (notice, pending, other) if text))


def examine_search(index: VectorIndex) -> list[str]:
    """Whether the segments add up to the manifest, and a search finds what is stored; a line for each problem."""
    return [*_counts(index)] or _search(index)


def _files(path: Path, found: list[CommitOnDisk]) -> Iterator[str]:
    """What is wrong with the manifests, their copies, and the files they name."""
    told: set[str] = set()
    plain = f"mend it with `searchapp verify {path} --repair`"
    for state in found:
        if state.manifest is None:
            yield f"{state.problems[0]}, nor can its copy be; {plain}, which goes back to the state before"
            continue
        if state.notice:
            yield f"{state.notice}; {plain}"
        else:
            copy = copy_of(state.path)
            if copy.exists() and copy.read_bytes() != state.path.read_bytes():
                yield f"{copy.name} is not the copy of {state.path.name}; {plain}"
        documents = {segment.documents_file for segment in state.manifest.segments}
        for name, entry in state.manifest.files.items():
            problem = None if name in told else damage(path / "data" / name, entry)
            if problem is None or not state.path.exists():  # a writer has removed this state meanwhile
                continue
            told.add(name)
            if name in documents:
                names = " ".join(_sources(state.manifest))
                yield f"{problem}; mend it from its sources with `searchapp verify {path} --repair {names}`"
            else:
                yield f"{problem}; {plain}"


def _sources(manifest: Manifest) -> dict[str, None]:
    recorded = [*manifest.build.sources, *(source for item in manifest.additions for source in item.sources)]
    return dict.fromkeys(source["name"] for source in recorded)


def _rejected(path: Path, found: list[CommitOnDisk]) -> Iterator[str]:
    """Whether ``rejected.jsonl`` is what one of the states recorded; a command that was stopped leaves an older one."""
    if not (path / REJECTED).exists() or any(state.missing or state.manifest is None for state in found):
        return
    written = (path / REJECTED).read_bytes()
    for state in found:
        names = state.manifest.rejected_files() if state.manifest else []
        if state.manifest is None or state.manifest.state != "ready":
            return
        if b"".join((path / "data" / name).read_bytes() for name in names) == written:
            return
    yield f"{REJECTED} is not what was recorded; mend it with `searchapp verify {path} --repair`"


def _counts(index: VectorIndex) -> Iterator[str]:
    manifest = index.manifest
    counted = 0
    for number, segment in enumerate(manifest.segments):
        rows = index.rows.batch(number).num_rows
        vectors = manifest.files[segment.vectors_file].size // (2 * manifest.dim)
        if segment.base != counted or not rows == vectors == segment.count:
            yield (
                f"segment {number} says rows {segment.base} to {segment.base + segment.count}, "
                f"but holds {rows} documents and {vectors} vectors and should begin at row {counted}"
            )
        counted += segment.count
    if counted != manifest.rows:
        yield f"the segments hold {counted} documents, the manifest says {manifest.rows}"
    try:
        _ = index.snapshot.deleted
    except SearchAppError as error:
        yield str(error)


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
    covered = index.manifest.rows - index.manifest.unindexed_rows
    try:
        problems += index.lexical.problems() if index.manifest.lexical is not None else []
        if covered and index.indexed_rows != covered:
            problems.append(f"the FAISS index holds {index.indexed_rows} vectors, the manifest says {covered}")
        scores, found = index.search_vectors(vectors, 1, candidates=None if index.is_exact else CANDIDATES)
    except SearchAppError as error:
        return [str(error)]
    missed = [
        row
        for row, vector, score, hit in zip(rows, vectors, scores[:, 0], found[:, 0], strict=True)
        if vector.any() and (hit < 0 or (hit != row and score < 0.999))
    ]
    if missed and (index.is_exact or len(missed) == len(rows)):
        names = ", ".join(repr(index.rows.read(int(row)).id) for row in missed)
        problems.append(f"searches for the stored vectors of {names} do not find them")
    return problems
