"""Deleted rows: a bitmap over the rows of a state, bit ``i`` of the file (lowest first) set where row ``i`` is gone.

Rows that were added after the bitmap was written have no bit in it: they are there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.storage.directory import FileEntry
from searchapp.index.storage.manifest import Manifest, Tombstones
from searchapp.index.storage.store import Store


def write_tombstones(store: Store, gone: np.ndarray) -> tuple[Tombstones | None, dict[str, FileEntry]]:
    """Write the mask of rows that are gone, twice; no tombstones where there are none."""
    count = int(gone.sum())
    if not count:
        return None, {}
    bits = np.packbits(gone, bitorder="little").tobytes()
    names, files = [], {}
    for _ in range(2):
        with store.draft("deleted") as (name, draft, entries):
            draft.write(bits)
        names.append(name)
        files.update(entries)
    return Tombstones(names[0], names[1], count), files


def read_gone(folder: Path, manifest: Manifest) -> np.ndarray:
    """Boolean mask over the rows of a state: true where a row is gone. Raises IndexStoreError for a damaged file."""
    stones = manifest.tombstones
    if stones is None:
        return np.zeros(manifest.rows, dtype=bool)
    bits = np.fromfile(folder / stones.file, dtype=np.uint8)
    gone = np.unpackbits(bits, count=manifest.rows, bitorder="little").astype(bool)  # rows after the bitmap: zeros
    if int(gone.sum()) == stones.count:
        return gone
    raise IndexStoreError(
        f"data/{stones.file} does not hold {stones.count} deletions; mend it with `searchapp verify --repair`"
    )
