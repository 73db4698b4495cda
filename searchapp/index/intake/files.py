"""The files of sources: how each is read, what becomes of it, and how many became what."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from searchapp.corpus import Document, Rejected, Source, passage_of
from searchapp.corpus.batch import DocumentBatch
from searchapp.corpus.cut_rule import CutRule
from searchapp.corpus.cutter import EMPTY as EMPTY_TEXT
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.file_state import CHANGED, FileState
from searchapp.corpus.source_file import SourceFile
from searchapp.corpus.walk import READ, REFUSED, SKIPPED
from searchapp.encoder import Encoder
from searchapp.errors import CorpusError
from searchapp.index.storage.ledger import LedgerEntry
from searchapp.index.storage.manifest import Manifest, Partial, Reach
from searchapp.progress import Progress

SCHEME = 2  # of the ids that a new index has
PENDING_REJECTIONS = 20_000  # records, after which they are committed even without a full segment
NO_RECORDS = "no records"  # why a table without any is refused
EMPTY = (EMPTY_TEXT, NO_RECORDS)  # reasons why a file that can be read has no document
SAMPLED = 256  # documents of a segment whose tokens are counted to say how much is beyond the encoder's reach

# What numbers must not be left out of, and colons and brackets not end: names in backticks, characters, bytes, UTF-8.
_KEPT = r"`[^`]*`|U\+[0-9A-F]+|0x[0-9a-f]+|\w+(?:-[0-9]+)+|(?<=\s)\.[0-9]+[A-Za-z]\w*"


@dataclass
class FileCounts:
    """What became of the files of a build or add: ``read + refused + skipped`` is ``walked``.

    ``unopened`` of those read had not changed since they were read before. ``reasons`` counts why files were refused
    or skipped, by outcome. ``notes`` count what was left out of files, such as pages without text: how many, of how
    many files.
    """

    walked: int = 0
    unopened: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=lambda: {REFUSED: Counter(), SKIPPED: Counter()})
    notes: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def read(self) -> int:
        """Files read, now or before."""
        return self.outcomes[READ]

    @property
    def refused(self) -> int:
        """Files that could not be read."""
        return self.outcomes[REFUSED]

    @property
    def skipped(self) -> int:
        """Files that nothing reads."""
        return self.outcomes[SKIPPED]

    def count(
        self, outcome: str, reason: str, *, unopened: bool = False, notes: Mapping[str, int] | None = None
    ) -> None:
        """Count a file."""
        for name, number in (notes or {}).items():
            known, files = self.notes.get(name, (0, 0))
            self.notes[name] = known + number, files + 1
        self.walked += 1
        self.outcomes[outcome] += 1
        self.unopened += unopened and outcome == READ
        if outcome != READ:
            self.reasons[outcome][kind_of_reason(reason)] += 1

    def to_json(self) -> dict[str, object]:
        """The counts as JSON values."""
        return {
            "walked": self.walked,
            "read": self.read,
            "unopened": self.unopened,
            "refused": self.refused,
            "skipped": self.skipped,
            "reasons": {outcome: dict(found) for outcome, found in self.reasons.items()},
            "notes": {name: {"count": count, "files": files} for name, (count, files) in self.notes.items()},
        }


def cutter_of(encoder: Encoder, manifest: Manifest | None = None, passwords: tuple[str, ...] = ()) -> Cutter:
    """What cuts the text files of an index: by the rule it was begun with, else by what the encoder reads."""
    rule = CutRule.from_json(manifest.cut) if manifest is not None and manifest.cut else None
    return replace(Cutter.of(encoder, rule), passwords=passwords)


def expect(progress: Progress, documents: int, fraction: float, rejected: int) -> None:
    """Say what the total will be, where ``documents`` are this share (0 to 1) of the sources."""
    if fraction > 0:
        progress.expect(max(documents, round(documents / fraction)), rejected=rejected)


class FileReader:
    """Reads one file of a source and remembers what its entry in the ledger is made of."""

    def __init__(self, source: Source, file: SourceFile) -> None:
        self.source, self.file = source, file
        self.records = 0  # read so far
        self._skip = 0
        self._ids: list[int] = []
        self.rejected = 0
        self.reason = ""  # of the first that was
        self._sha256 = ""
        self._state: FileState | None = None  # of the bytes that were read, where they are a file's
        self._failed = self._is_restless = False

    def go_on(self, partial: Partial, before: np.ndarray) -> None:
        """Begin behind what an earlier run has read; ``before`` are the hashes of the ids of documents among that."""
        self._skip, self._ids = partial.records, before.tolist()
        self.rejected, self.reason = partial.rejected, partial.reason

    def read(self) -> Iterator[tuple[Document | Rejected | DocumentBatch, float]]:
        """Yield what the file holds and the share of it that is read, without what an earlier run has read.

        A text file that cannot be read, or not to its end, is one rejection; any other raises CorpusError.
        """
        if self.file.outcome == REFUSED:
            yield self._refused(self.file.reason), 1.0
            return
        try:
            place = self.file.place
            watched = place is not None and self.file.request is not None  # by the process that reads it ahead
            self._state = state = FileState.of(place) if place is not None and not watched else None
            if state is None and not watched:
                self._sha256 = self.file.sha256()
            for item, progress in self.file.items():
                if isinstance(item, DocumentBatch):
                    yield from self._batch(item, progress)
                    continue
                self.records += 1
                if self.records > self._skip:
                    yield item, progress
            if watched:
                self._state = self.file.seen.state
                self._is_restless = self._state is None  # it could not be opened, or changed: the next add tries again
            if state is not None and place is not None and not state.holds(place):
                yield from self._changed()
        except CorpusError as error:
            if not self.file.is_cut:
                raise
            self._failed = True
            yield self._refused(str(error).removeprefix(f"{self.file.file}: ")), 1.0

    def _batch(self, batch: DocumentBatch, progress: float) -> Iterator[tuple[Document | DocumentBatch, float]]:
        """Yield documents that are columns; those behind what an earlier run has read, one by one."""
        if self.records >= self._skip:
            self.records += len(batch)
            yield batch, progress
            return
        for document in batch.documents():
            self.records += 1
            if self.records > self._skip:
                yield document, progress

    def _changed(self) -> Iterator[tuple[Rejected, float]]:
        """What is said of a file that changed while it was read; the next add reads it again."""
        self._is_restless = True
        if self.file.is_cut:
            self._failed = True
            yield self._refused(CHANGED), 1.0
        else:
            self.file.notes["files changed while they were read"] = 1

    def _refused(self, reason: str) -> Rejected:
        self.records += 1
        return Rejected(self.file.file, 1, reason)

    def accept(self, identifier: int) -> None:
        """Note a document that became a part of the index, by the hash of its id."""
        self._ids.append(identifier)

    def accept_all(self, identifiers: np.ndarray) -> None:
        """Note many documents that did, by the hashes of their ids (uint64)."""
        self._ids.extend(identifiers.tolist())

    def reject(self, item: Rejected) -> None:
        """Note a record that did not."""
        self.rejected += 1
        self.reason = self.reason or item.reason

    def entry(self) -> LedgerEntry:
        """What the ledger says of the file from now on. One that failed half-way will count as changed.

        Digest, size and time of change are those of the bytes that were read, not of what stands there now.
        """
        file, state = self.file, self._state
        sha256, size, mtime_ns = self._sha256, file.size, file.mtime_ns
        if state is not None:
            sha256, size, mtime_ns = state.sha256, state.size, state.mtime_ns
        if self._failed or self._is_restless:
            mtime_ns = -1
        outcome, reason = (READ, "") if self._ids and not self._failed else (REFUSED, self.reason or NO_RECORDS)
        return LedgerEntry(
            self.source.label, file.path, size, mtime_ns, sha256, file.reader,
            outcome, reason, self.rejected, np.array(self._ids, dtype=np.uint64), notes=dict(file.notes),
        )  # fmt: skip


def skipped_entry(source: Source, file: SourceFile) -> LedgerEntry:
    """What the ledger says of a file that nothing reads."""
    return LedgerEntry(source.label, file.path, file.size, file.mtime_ns, "", "", SKIPPED, file.reason)


def sampled_reach(encoder: Encoder, documents: Sequence[Document], uncut: Sequence[bool]) -> Reach:
    """How much the encoder does not read of a sample of the documents that were not cut here."""
    places = np.flatnonzero(uncut)
    if not len(places):
        return Reach()
    step = -(-len(places) // SAMPLED)
    tokens = encoder.document_tokens([passage_of(documents[place]) for place in places[::step]])
    beyond = np.maximum(tokens - encoder.document_reach, 0)
    return Reach(len(tokens), int(tokens.sum()), int(beyond.sum()))


def kind_of_reason(reason: str) -> str:
    """The part of a reason that many records share: what stands before a colon or bracket, numbers left out."""
    shared = re.match(rf"(?:{_KEPT}|[^:(])*", reason)
    counted = re.sub(rf"({_KEPT})|(?<!\w)[0-9][0-9,.]*", lambda found: found[1] or "N", shared[0] if shared else reason)
    return counted.strip()
