"""The ledger of an index: for each file of its sources, whether it was read and what it became.

It is kept in Arrow files, one for each commit of a build, which are joined when the build or add has finished. A later
entry of a file replaces an earlier one. An add asks it which files have changed, and which passages a file had; a build
that goes on asks it which files are done.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from searchapp.corpus.walk import READ
from searchapp.errors import IndexStoreError
from searchapp.index.storage.directory import ChecksumWriter

if TYPE_CHECKING:
    import pyarrow as pa

NO_IDS = np.zeros(0, dtype=np.uint64)
_TEXTS = ("source", "path", "sha256", "reader", "outcome", "reason")
_NUMBERS = ("size", "mtime_ns", "rejected")
_LISTS = ("ids", "former")
_NOTES = "notes"  # a column of indexes with documents


@dataclass(frozen=True, eq=False)
class LedgerEntry:
    """A file of a source: ``source`` is the source's label, ``path`` the file's path within it.

    ``size`` in bytes, ``mtime_ns`` the time of change, ``sha256`` of the content ("" where it was not read), ``reader``
    the reader and its version. ``outcome`` is read, refused or skipped, for ``reason``. ``rejected`` counts its
    rejected records; ``ids`` are 64-bit hashes (uint64) of the ids of its documents. ``former`` are hashes of the same
    kind: of documents that the table no longer has and the index still has. ``notes`` count what was left out of it,
    such as pages without text.
    """

    source: str
    path: str
    size: int
    mtime_ns: int
    sha256: str
    reader: str
    outcome: str
    reason: str = ""
    rejected: int = 0
    ids: np.ndarray = field(default_factory=lambda: NO_IDS)
    former: np.ndarray = field(default_factory=lambda: NO_IDS)
    notes: Mapping[str, int] = field(default_factory=dict)

    def equals(self, other: LedgerEntry) -> bool:
        """Whether all fields are equal."""
        same = all(getattr(self, name) == getattr(other, name) for name in (*_TEXTS, *_NUMBERS))
        same = same and dict(self.notes) == dict(other.notes)
        return same and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in _LISTS)

    @property
    def every(self) -> np.ndarray:
        """The hashes of the ids of all documents that the index has of it, those that it had once among them."""
        return np.union1d(self.ids, self.former)

    @property
    def key(self) -> tuple[str, str]:
        """Source and path: no other file of the index has both."""
        return self.source, self.path


class Ledger:
    """The entries of all files, by source and path."""

    def __init__(self, entries: Iterable[LedgerEntry] = ()) -> None:
        self._entries = {entry.key: entry for entry in entries}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[LedgerEntry]:
        return iter(self._entries.values())

    def find(self, source: str, path: str) -> LedgerEntry | None:
        """The entry of a file; None where there is none."""
        return self._entries.get((source, path))

    def of(self, source: str) -> list[LedgerEntry]:
        """The entries of one source."""
        return [entry for entry in self if entry.source == source]

    def put(self, entry: LedgerEntry) -> None:
        """Add an entry; it replaces an earlier one of the same file."""
        self._entries[entry.key] = entry

    def drop(self, entry: LedgerEntry) -> None:
        """Forget a file."""
        self._entries.pop(entry.key, None)


def joined(one: LedgerEntry, other: LedgerEntry) -> LedgerEntry:
    """What two parts of a file come to, which were read apart."""
    was_read = READ in (one.outcome, other.outcome)
    notes = Counter(one.notes)
    notes.update(other.notes)
    return replace(
        one,
        outcome=READ if was_read else one.outcome,
        reason="" if was_read else one.reason,
        rejected=one.rejected + other.rejected,
        ids=np.concatenate([one.ids, other.ids]),
        former=np.concatenate([one.former, other.former]),
        notes=dict(notes),
    )


def joined_ledgers(ledgers: Iterable[Ledger]) -> Ledger:
    """One ledger of several, in which a file has one entry whatever parts of it are in each."""
    entries: dict[tuple[str, str], LedgerEntry] = {}
    for entry in (entry for ledger in ledgers for entry in ledger):
        known = entries.get(entry.key)
        entries[entry.key] = entry if known is None else joined(known, entry)
    return Ledger(entries.values())


def write_ledger(draft: ChecksumWriter, entries: Iterable[LedgerEntry]) -> None:
    """Write entries as one Arrow IPC file."""
    import pyarrow as pa

    rows = list(entries)
    columns = {name: pa.array([getattr(row, name) for row in rows], pa.large_string()) for name in _TEXTS}
    columns |= {name: pa.array([getattr(row, name) for row in rows], pa.int64()) for name in _NUMBERS}
    for name in _LISTS:
        lists = [getattr(row, name) for row in rows]
        ends = np.cumsum([0, *map(len, lists)], dtype=np.int64)
        values = pa.array(np.concatenate([NO_IDS, *lists]), pa.uint64())
        columns[name] = pa.LargeListArray.from_arrays(pa.array(ends), values)
    if any(row.notes for row in rows):
        columns[_NOTES] = pa.array([json.dumps(dict(row.notes)) if row.notes else "" for row in rows])
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    draft.write(memoryview(sink.getvalue()))


def read_ledger(folder: Path, names: Sequence[str]) -> Ledger:
    """Read the files of a ledger, in order. Raises IndexStoreError for one that is damaged."""
    import pyarrow as pa

    ledger = Ledger()
    for name in names:
        try:
            with pa.OSFile(str(folder / name)) as file:
                table = pa.ipc.open_file(file).read_all()
            table.validate(full=True)
            texts = [table.column(column).to_pylist() for column in _TEXTS]
            numbers = [table.column(column).to_pylist() for column in _NUMBERS]
            lists = [_split(table.column(column).combine_chunks()) for column in _LISTS]
            noted = table.column(_NOTES).to_pylist() if _NOTES in table.column_names else [""] * len(table)
            notes = [json.loads(text) if text else {} for text in noted]
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise IndexStoreError(
                f"data/{name} cannot be read as a ledger of files ({error}); "
                f"mend it with `searchapp verify {folder.parent} --repair`"
            ) from error
        for values in zip(*texts, *numbers, *lists, notes, strict=True):
            ledger.put(LedgerEntry(**dict(zip((*_TEXTS, *_NUMBERS, *_LISTS, _NOTES), values, strict=True))))
    return ledger


def _split(lists: pa.LargeListArray) -> list[np.ndarray]:
    """The lists of a column, an array each."""
    ids, ends = lists.flatten().to_numpy(zero_copy_only=False), np.cumsum(lists.value_lengths().to_numpy())
    return np.split(ids, ends[:-1].astype(np.int64)) if len(lists) else []
