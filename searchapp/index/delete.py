"""Deleting: documents are gone at once, by tombstones; their bytes go with the next ``compact``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.filter import Filter
from searchapp.index.storage.deletions import read_gone, write_tombstones
from searchapp.index.storage.documents import Rows
from searchapp.index.storage.hashes import ID, read_marks
from searchapp.index.storage.ids import IdTable
from searchapp.index.storage.manifest import Manifest
from searchapp.index.storage.segment import completed
from searchapp.index.storage.store import Store


@dataclass(frozen=True)
class Deleted:
    """The new state, how many documents are gone with it, and the ids asked for that no document has."""

    manifest: Manifest
    deleted: int
    unknown: tuple[str, ...]


def delete(path: Path, ids: Iterable[str] = (), *, filter: str | None = None) -> Deleted:
    """Delete the documents of these ids, and those whose metadata pass a filter. Raises IndexStoreError.

    Ids that no document has are returned, not refused: a delete that was interrupted can be run again.
    """
    passes = Filter(filter) if filter else None
    with Store.update(path) as store:
        if store.manifest is None:
            raise IndexStoreError(f"{path} holds nothing yet; run `searchapp build`")
        manifest = completed(store, store.manifest)
        rows = Rows(store.data, manifest.segments)
        before = read_gone(store.data, manifest)
        gone = before.copy()
        table = IdTable(lambda row: rows.read(row).id)
        table.extend(read_marks(store.data, rows, manifest.segments)[ID][~before], np.flatnonzero(~before))
        unknown: dict[str, None] = {}
        for identifier in ids:
            row = table.find(identifier)
            if row is None:
                unknown[identifier] = None
            else:
                gone[row] = True
        if passes is not None:
            gone |= passes.mask(rows.fields())
        deleted = int(gone.sum() - before.sum())
        if deleted:
            tombstones, files = write_tombstones(store, gone)
            manifest = store.commit(manifest.with_files(tombstones=tombstones, files=files))
    return Deleted(manifest, deleted, tuple(unknown))
