"""The documents an index has, as an add looks them up: by id, by the hash of an id, by title and text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from searchapp.corpus import Document
from searchapp.index.storage.hashes import ID, TEXT
from searchapp.index.storage.ids import IdTable
from searchapp.index.storage.snapshot import Snapshot


class KnownDocuments:
    """Documents that are stored already: which row has an id, whether it is the same document, whether it was met."""

    def __init__(self, snapshot: Snapshot, kept: np.ndarray) -> None:
        self.snapshot = snapshot
        self._documents = snapshot.documents
        self._hashes = snapshot.hashes()
        self._ids = IdTable(lambda row: self._documents.read(row).id)
        self._rows = np.flatnonzero(kept)
        self._ids.extend(self._hashes[ID][self._rows], self._rows)
        self._by_id: tuple[np.ndarray, np.ndarray] | None = None
        self._by_text: tuple[np.ndarray, np.ndarray] | None = None
        self.met = np.zeros(len(kept), dtype=bool)

    def find(self, identifier: str) -> int | None:
        """The row that has an id, or None."""
        return self._ids.find(identifier)

    def may_have(self, hashes: np.ndarray) -> bool:
        """Whether one of these hashes of ids (uint64) is that of a document here."""
        return self._ids.may_have(hashes)

    def equal_rows(self, hashes: np.ndarray) -> np.ndarray | None:
        """The rows, not met so far, that have the ids, texts and metadata of documents with these hashes (3, n).

        None where one of the documents is not here, or not as it is.
        """
        rows = self._ids.rows_of(hashes[ID])
        if rows is None or self.met[rows].any() or not (self._hashes[:, rows] == hashes).all():
            return None
        return rows

    def has(self, row: int | None, hashes: tuple[int, int, int], *parts: int) -> bool:
        """Whether these parts of a document (by hash) equal those of a row."""
        return row is not None and all(int(self._hashes[part][row]) == hashes[part] for part in parts)

    def append(self, snapshot: Snapshot) -> None:
        """Take in the last segment of a snapshot, every document of which has been met."""
        self.snapshot = snapshot
        self._documents = snapshot.documents
        hashes = snapshot.hashes([len(snapshot.segments) - 1])
        self._ids.extend(hashes[ID], len(self.met) + np.arange(hashes.shape[1]))
        self._hashes = np.concatenate([self._hashes, hashes], axis=1)
        self.met = np.concatenate([self.met, np.ones(hashes.shape[1], dtype=bool)])

    def rows_with(self, ids: np.ndarray) -> np.ndarray:
        """The rows, of those kept at the beginning, whose id has one of these hashes (uint64)."""
        if self._by_id is None:
            self._by_id = self._sorted(ID)
        hashes, rows = self._by_id
        begin, end = np.searchsorted(hashes, ids, side="left"), np.searchsorted(hashes, ids, side="right")
        single = end - begin == 1
        more = [rows[a:b] for a, b in zip(begin[~single], end[~single], strict=True)]
        return np.concatenate([rows[begin[single]], *more]).astype(np.int64)

    def same_text(self, document: Document, text: int, is_sound: Callable[[int], bool]) -> int | None:
        """A row kept at the beginning whose title and text are those of a document; ``text`` is their hash."""
        if self._by_text is None:
            self._by_text = self._sorted(TEXT)
        hashes, rows = self._by_text
        place = int(np.searchsorted(hashes, np.uint64(text), side="left"))
        while place < len(hashes) and int(hashes[place]) == text:
            row = int(rows[place])
            if is_sound(row):
                found = self._documents.read(row)
                if (found.title, found.text) == (document.title, document.text):
                    return row
            place += 1
        return None

    def text_hashes(self, rows: np.ndarray) -> np.ndarray:
        """The hashes of the titles and texts of rows, uint64."""
        found: np.ndarray = self._hashes[TEXT][rows]
        return found

    def id_hashes(self, rows: np.ndarray) -> np.ndarray:
        """The hashes of the ids of rows, uint64."""
        found: np.ndarray = self._hashes[ID][rows]
        return found

    def id_of(self, row: int) -> str:
        """The id of a row."""
        return self._documents.read(row).id

    def _sorted(self, part: int) -> tuple[np.ndarray, np.ndarray]:
        hashes = self._hashes[part][self._rows]
        order = np.argsort(hashes, kind="stable")
        return hashes[order], self._rows[order]
