"""Deleted rows: a bitmap over the rows of a state, bit ``i`` of the file (lowest first) set where row ``i`` is deleted.

Rows that were added after the bitmap was written have no bit in it: they are not deleted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.storage.directory import FileEntry, reading
from searchapp.index.storage.manifest import Tombstones
from searchapp.index.storage.writer import Writer


def write_tombstones(writer: Writer, deleted: np.ndarray) -> tuple[Tombstones | None, dict[str, FileEntry]]:
    """Write the mask of deleted rows, twice; no tombstones where there are none."""
    count = int(deleted.sum())
    if not count:
        return None, {}
    bits = np.packbits(deleted, bitorder="little").tobytes()
    names, files = [], {}
    for _ in range(2):
        with writer.draft("deleted") as (name, draft, entries):
            draft.write(bits)
        names.append(name)
        files.update(entries)
    return Tombstones(names[0], names[1], count), files


def read_deleted(folder: Path, tombstones: Tombstones, rows: int) -> np.ndarray:
    """Boolean mask over ``rows`` rows: true where a row is deleted. Raises IndexStoreError for a damaged file."""
    with reading(folder / tombstones.file):
        bits = np.fromfile(folder / tombstones.file, dtype=np.uint8)
    deleted = np.unpackbits(bits, count=rows, bitorder="little").astype(bool)  # rows after the bitmap: zeros
    if int(deleted.sum()) == tombstones.count:
        return deleted
    raise IndexStoreError(
        f"data/{tombstones.file} does not hold {tombstones.count} deletions; mend it with `searchapp verify --repair`"
    )
