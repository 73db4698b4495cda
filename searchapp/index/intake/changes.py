"""What has changed in the files of sources since an index was made of them, and what of the index goes with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from searchapp.corpus import Document, Rejected, Source
from searchapp.corpus.batch import DocumentBatch
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.file_state import FileState
from searchapp.corpus.source import EmptyFolderError
from searchapp.corpus.source_file import SourceFile
from searchapp.corpus.walk import READ, REFUSED, SKIPPED
from searchapp.errors import CorpusError, IndexStoreError
from searchapp.index.intake.files import EMPTY, FileCounts, FileReader, kind_of_reason, skipped_entry
from searchapp.index.intake.known import KnownDocuments
from searchapp.index.storage.ids import among
from searchapp.index.storage.ledger import NO_IDS, LedgerEntry
from searchapp.index.storage.manifest import NamedSource
from searchapp.index.storage.snapshot import Snapshot

LOCKED = "password"  # why a file is refused that asks for one
NAMED = 5  # files and sources named in a message


class Changes:
    """Compares the files of sources with the ledger of an index, in one add.

    ``removed`` masks the rows that go; ``counts`` says what became of the files, ``missing`` names those that the index
    has and the sources have no more; ``unchanged`` counts the documents of files that were not read. The add that reads
    what ``read`` yields puts the hashes of the texts it took into ``new_texts``.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        index: KnownDocuments,
        cutter: Cutter,
        *,
        sync: bool,
        prune: bool,
        retry_refused: bool = False,
    ) -> None:
        self.cutter, self.ledger = cutter, snapshot.ledger()
        self.removed = np.zeros(snapshot.manifest.rows, dtype=bool)
        self.counts = FileCounts()
        self.missing: list[str] = []
        self.unchanged = 0
        self.new_texts: set[int] = set()
        self._retries = retry_refused
        self._root, self._index, self._sync, self._prune = snapshot.root, index, sync, prune
        self._rewritten = np.zeros(snapshot.manifest.rows, dtype=bool)  # of those removed: of texts that were edited
        self._entries: list[LedgerEntry] = []  # new and changed ones
        self._dropped: list[LedgerEntry] = []

    def read(
        self, sources: Sequence[Source]
    ) -> Iterator[tuple[float, Document | Rejected | DocumentBatch, FileReader | None]]:
        """Yield the records of the files that have to be read; settle every file, and what is gone from the sources."""
        files = [(source, self._listed(source)) for source in sources]
        total, before = max(1, sum(file.size for _, found in files for file in found)), 0
        self.cutter.readers.expect(
            file.request
            for source, found in files
            for file in found
            if file.request is not None and self._looks_changed(file, self.ledger.find(source.label, file.path))
        )
        for source, found in files:
            for file in found:
                entry = self.ledger.find(source.label, file.path)
                if file.outcome == SKIPPED and file.path.endswith("/"):
                    continue  # a folder that is ignored is no file
                if file.outcome == SKIPPED:
                    self._settle(skipped_entry(source, file), entry, file)
                elif entry is not None and (same := self._same(file, entry)) is not None:
                    self._keep(same, entry)
                    if same.rejected:
                        yield before / total, Rejected(file.file, 1, same.reason), None
                else:
                    reader = FileReader(source, file)
                    for item, fraction in reader.read():
                        yield (before + fraction * file.size) / total, item, reader
                    self._settle(reader.entry(), entry, file)
                before += file.size
            self._find_missing(source, found)
        self.cutter.readers.close()

    @staticmethod
    def _looks_changed(file: SourceFile, entry: LedgerEntry | None) -> bool:
        """Whether a document will be read, as far as that shows without opening it."""
        return entry is None or (entry.size, entry.mtime_ns, entry.reader) != (file.size, file.mtime_ns, file.reader)

    def _listed(self, source: Source) -> list[SourceFile]:
        """The files of a source. A folder without a text is refused, but where it is to be emptied."""
        found: list[SourceFile] = []
        try:
            found.extend(source.files(self.cutter))
        except EmptyFolderError as error:
            if not self._sync or not self.ledger.of(source.label):
                raise
            if not self._prune:
                raise nothing_there(error, self._root, source.label) from error
        return found

    def _same(self, file: SourceFile, entry: LedgerEntry) -> LedgerEntry | None:
        """The entry of a file that has not changed, with its present time of change; None where it is to be read.

        A file with rejected records is read, to list them again; so is one of which documents were deleted since.
        """
        whole = file.is_cut and entry.outcome == REFUSED and entry.rejected == 1  # refused as a whole
        if entry.reader != file.reader or file.outcome != READ or (entry.rejected and not whole):
            return None
        if len(self._index.rows_with(entry.ids)) < len(entry.ids):
            return None
        if whole and (self._retries or (entry.reason == LOCKED and self.cutter.passwords)):
            return None
        if file.place is not None and (entry.size, entry.mtime_ns) == (file.size, file.mtime_ns):
            return entry
        if not entry.sha256 or entry.mtime_ns < 0:
            return None
        state = FileState.of(file.place) if file.place is not None else None
        size, mtime_ns = (file.size, file.mtime_ns) if state is None else (state.size, state.mtime_ns)
        try:
            same = (file.sha256() if state is None else state.sha256) == entry.sha256
        except CorpusError:
            return None
        return replace(entry, size=size, mtime_ns=mtime_ns) if same else None

    def _keep(self, same: LedgerEntry, before: LedgerEntry) -> None:
        """Take the documents of a file as they are."""
        rows = self._index.rows_with(same.ids)
        self._index.met[rows] = True
        self.unchanged += len(rows)
        self.counts.count(same.outcome, same.reason, unopened=True, notes=same.notes)
        if self._sync and len(same.former):
            self._remove(same.former)
            same = replace(same, former=same.former[:0])
        if same is not before:
            self._entries.append(same)

    def _settle(self, after: LedgerEntry, before: LedgerEntry | None, file: SourceFile) -> None:
        """Note what became of a file; passages of a text that it does not have any more are removed."""
        self.counts.count(after.outcome, after.reason, notes=after.notes)
        stale = after.former
        if before is not None:
            every = before.every
            stale = every[~among(every, after.ids)]
        if len(stale) and (after.outcome == READ or kind_of_reason(after.reason) in EMPTY):
            if file.is_cut or self._sync:
                self._remove(stale)
                if file.is_cut and after.outcome == READ:  # another text stands in their place
                    self._rewritten[self._index.rows_with(stale)] = True
            else:  # a table: what it had before stays
                after = replace(after, former=stale)
        elif len(stale) and after.outcome == SKIPPED and self._sync:  # no text any more
            self._remove(stale)
        elif len(stale):  # it cannot be read now: what is known of it stays
            if after.outcome == SKIPPED:
                self.missing.append(f"{after.source}/{after.path}")
            after = replace(after, ids=np.union1d(after.ids, stale))
        self._entries.append(after)

    def _find_missing(self, source: Source, found: Sequence[SourceFile]) -> None:
        """Look for the files of a source that are in the index and no more in the source."""
        walked = {file.path for file in found}
        closed = (file.path for file in found if file.path.endswith("/") and file.outcome == REFUSED)
        hidden = tuple(closed)  # folders that cannot be listed
        gone = [entry for entry in self.ledger.of(source.label) if entry.path not in walked]
        gone = [entry for entry in gone if not entry.path.startswith(hidden)] if hidden else gone
        if self._sync:
            self._drop(gone)
            return
        self._dropped += [entry for entry in gone if not len(entry.every)]
        self.missing += [f"{source.label}/{entry.path}" for entry in gone if len(entry.every)]

    def drop(self, sources: Sequence[NamedSource]) -> None:
        """Remove all that the index has of sources that are not there."""
        for source in sources:
            self._drop(self.ledger.of(source.label))

    def update_ledger(self) -> bool:
        """Take into the ledger what became of the files; returns whether it says anything else now."""
        for entry in self._dropped:
            self.ledger.drop(entry)
        changed = bool(self._dropped)
        for entry in self._entries:
            old = self.ledger.find(*entry.key)
            changed = changed or old is None or not entry.equals(old)
            self.ledger.put(entry)
        return changed

    def _drop(self, entries: Sequence[LedgerEntry]) -> None:
        for entry in entries:
            self._remove(entry.every)
        self._dropped += entries

    def _remove(self, ids: np.ndarray) -> None:
        """Remove the documents with these hashes of ids, but those that were met in this add."""
        rows = self._index.rows_with(ids)
        self.removed[rows[~self._index.met[rows]]] = True

    def spare_shared(self) -> None:
        """Keep the documents that another file has too: a later one of tables took the place of an earlier one's."""
        rows = np.flatnonzero(self.removed)
        if not len(rows):
            return
        entries = {entry.key: entry for entry in self.ledger}
        for entry in self._dropped:
            entries.pop(entry.key, None)
        entries |= {entry.key: entry for entry in self._entries}
        owned = np.concatenate([NO_IDS, *(entry.ids for entry in entries.values())])
        self.removed[rows[np.isin(self._index.id_hashes(rows), owned)]] = False

    def require_few_removed(self, labels: Sequence[str]) -> None:
        """Refuse to remove more than half of what the index has of its sources: it may be a disk that is missing."""
        if not self._sync or self._prune:
            return
        rows = np.flatnonzero(self.removed & ~self._rewritten & ~self._index.met)
        texts = self._index.text_hashes(rows)
        lost = sum(int(text) not in self.new_texts for text in texts)  # what was only renamed is not lost
        had = sum(len(entry.every) for label in labels for entry in self.ledger.of(label))
        if lost * 2 > had:
            raise IndexStoreError(
                f"{lost:,} of {had:,} passages that {self._root} has of {', '.join(labels[:NAMED])} would go, "
                "more than half; none was removed: give --prune if that is meant, or look with --dry-run --prune"
            )


def nothing_there(error: CorpusError, root: object, label: str) -> IndexStoreError:
    """What is said where a source is not there, or has no file, and a sync would empty the index of it."""
    return IndexStoreError(
        f"{error}. Nothing was removed from {root}; is a disk not mounted? To remove all that the index has of "
        f"{label}, give --sync --prune"
    )
