"""Deleting: documents are gone at once, by tombstones; their bytes go with the next ``compact``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from searchapp.index.columns import Columns
from searchapp.index.filter import Filter
from searchapp.index.storage.deletions import write_tombstones
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.hashes import ID
from searchapp.index.storage.ids import IdTable
from searchapp.index.storage.manifest import Manifest
from searchapp.index.storage.segment import completed
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Update, Writer
from searchapp.unicode import find_surrogate


@dataclass(frozen=True)
class Deleted:
    """The new state, how many documents are gone with it, and the ids asked for that no document has."""

    manifest: Manifest = field(repr=False)
    deleted: int
    unknown: tuple[str, ...]


def delete(
    path: Path,
    ids: Iterable[str] = (),
    *,
    filter: str | None = None,
    disk: Disk | None = None,
    update: Update = Writer.update,
) -> Deleted:
    """Delete the documents of these ids, and those whose metadata pass a filter. Raises IndexStoreError.

    ``update`` opens what is written. Ids that no document has are returned, not refused: a delete that was interrupted
    can be run again.
    """
    passes = Filter(filter) if filter else None
    with update(path, disk) as writer:
        manifest = completed(writer, writer.state)
        snapshot = Snapshot.of(writer, manifest)
        rows, before = snapshot.documents, snapshot.deleted
        gone = before.copy()
        table = IdTable(lambda row: rows.read(row).id)
        table.extend(snapshot.hashes()[ID][~before], np.flatnonzero(~before))
        unknown: dict[str, None] = {}
        for identifier in ids:
            # an id with a lone surrogate (a name in the shell that is no UTF-8) is never in an index
            row = table.find(identifier) if find_surrogate(identifier) is None else None
            if row is None:
                unknown[identifier] = None
            else:
                gone[row] = True
        if passes is not None:
            gone |= passes.mask(Columns(rows.fields(), rows.prove), lambda number: rows.column(number, "metadata"))
        deleted = int(gone.sum() - before.sum())
        if deleted:
            tombstones, files = write_tombstones(writer, gone)
            manifest = writer.commit(manifest.with_files(tombstones=tombstones, files=files))
    return Deleted(manifest, deleted, tuple(unknown))
