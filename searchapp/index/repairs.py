"""Mending a damaged index from what is left of it: copies, stored vectors, stored texts, or the sources.

What is mended from what: a manifest or tombstones from their copies; reduction, FAISS index and probes from the stored
vectors; hashes and vectors from the stored documents, which are encoded again; documents from the sources they came
from, told by their hashes, so that those which have not changed keep row and vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from searchapp.corpus import Document, open_source
from searchapp.corpus.source import CUT
from searchapp.corpus.walk import READ
from searchapp.encoder import Encoder
from searchapp.errors import CorpusError, IndexStoreError
from searchapp.index.encoder_match import require_match
from searchapp.index.extend import rebuilt
from searchapp.index.intake.files import (
    SCHEME,
    cutter_of,
)
from searchapp.index.intake.names import named
from searchapp.index.lexical.bm25 import ensure_postings
from searchapp.index.storage.commits import commits, damage
from searchapp.index.storage.deletions import write_tombstones
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.documents import DocumentStore
from searchapp.index.storage.hashes import ID, METADATA, TEXT, hash_document, hash_documents
from searchapp.index.storage.ledger import LedgerEntry, write_ledger
from searchapp.index.storage.manifest import Manifest, Segment, Tombstones
from searchapp.index.storage.segment import Files, encode, write_segment
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from searchapp.index.verification import examine
from searchapp.progress import Progress, Silent

Load = Callable[[Manifest], Encoder]


@dataclass
class Repaired:
    """What was mended, one line each, and how many documents were encoded for it."""

    mended: list[str] = field(default_factory=list)
    encoded: int = 0


def repair(
    path: Path, load: Load, sources: Sequence[str] = (), *, progress: Progress | None = None, disk: Disk | None = None
) -> Repaired:
    """Mend the newest state of an index that can be read; ``load`` gives its encoder, and is called if one is needed.

    ``sources`` are by default those recorded. Raises IndexStoreError, having changed nothing, where documents are lost
    and the sources do not have all of them.
    """
    with suppress(IndexStoreError):
        if not examine(path).problems:
            return Repaired()
    found = [*commits(path)] if path.is_dir() else []
    if not found:
        Snapshot.open(path)  # says what is the matter
    with Writer.open(path, disk) as writer:
        newest = next((state for state in found if state.manifest is not None), None)
        if newest is None or newest.manifest is None:
            raise IndexStoreError(
                f"no manifest of {path} can be read, nor a copy of one; build it again: "
                f"searchapp build SOURCE... --index {path} --overwrite"
            )
        work = _Repair(writer, newest.manifest, load, progress or Silent())
        for state in found:
            if state.manifest is None and state.number > newest.number:
                work.done.mended.append(
                    f"{state.path.name} is lost: the index is back at generation {newest.number}; "
                    "what was done after it has to be done again"
                )
            elif state.notice:
                work.done.mended.append(f"manifest {state.number} put in place from its copy")
        manifest = work.run([*sources])
        writer.manifest, writer.keep_older = manifest, False
        if manifest.state == "ready" and work.derive:
            folded = rebuilt(writer, manifest, (progress or Silent()).stage)
            work.done.mended += folded.notices
        else:
            writer.commit(manifest)
        writer.publish_rejections()
        return work.done


class _Repair:
    """One repair: the manifest that is mended, what is damaged of it, and the files written so far."""

    def __init__(self, writer: Writer, manifest: Manifest, load: Load, progress: Progress) -> None:
        self._writer, self._manifest, self._load, self._progress = writer, manifest, load, progress
        self._snapshot = Snapshot.of(writer, manifest)
        entries = manifest.files.items()
        self._damaged = {name: text for name, entry in entries if (text := damage(self._snapshot.path(name), entry))}
        self._files: Files = {}
        self.derive = False  # whether reduction and FAISS index have to be made again
        self.done = Repaired()

    def run(self, sources: list[str]) -> Manifest:
        """Write anew what is damaged; returns the manifest that names it, to be committed."""
        before = self._manifest
        stones, gone = self._tombstones()
        documents = self._documents(gone, sources)
        segments = tuple(
            self._segment(number, segment, documents.get(number), gone[segment.base : segment.base + segment.count])
            for number, segment in enumerate(before.segments)
        )
        staged = before.staged
        if staged is not None and self._is_damaged(*staged.names()):
            staged = None
            self._say("what an unfinished add had encoded is dropped; run it again")
        begun = before.reembedding
        if begun is not None and self._is_damaged(*(part.file for part in begun.vectors.values())):
            sound = {rows: part for rows, part in begun.vectors.items() if not self._is_damaged(part.file)}
            begun = replace(begun, vectors=sound)
            self._say("some of what an unfinished reembed had encoded is dropped; run it again")
        if self._is_damaged(*before.rejected_files()):
            self._say("a list of rejected records is lost; the next build or add of their source lists them again")
        ledger = before.ledger
        if self._is_damaged(*ledger):
            ledger = self._ledger(segments, gone)
        words = [name for name in before.postings() if name in self._damaged]
        if words:
            self._say(f"{', '.join(words)} counted again from the stored documents")
        derived = [name for name in before.derived() if name in self._damaged and name not in words]
        if derived:
            self._say(f"{', '.join(derived)} made again from the stored vectors")
        mended = before.with_files(
            segments=segments,
            tombstones=stones,
            staged=staged,
            reembedding=begun,
            rejections=self._sound(before.rejections),
            ledger=ledger,
            additions=tuple(replace(item, rejections=self._sound(item.rejections)) for item in before.additions),
            files=self._files,
        )
        self.derive = self.derive or bool(derived)
        mended = ensure_postings(self._writer, mended.without_postings(*words))
        return mended.bare(*derived, state=before.state) if self.derive else mended

    def _ledger(self, segments: Sequence[Segment], gone: np.ndarray) -> tuple[str, ...]:
        """The ledger made again from where the passages of texts stand; every file counts as changed."""
        found: dict[tuple[str, str], list[int]] = {}
        labels = {source.label for source in self._manifest.sources if source.kind in CUT}
        store = DocumentStore(self._writer.path(""), segments)
        for number, segment in enumerate(segments):
            kept = ~gone[segment.base : segment.base + segment.count]
            for document in store.documents(number, kept):
                file, name = document.metadata.get("file"), document.id.rpartition("#")[0]
                if not isinstance(file, str):
                    continue  # a table's
                source = name if name in labels else name.removesuffix(f"/{file}")
                if source in labels:
                    found.setdefault((source, file), []).append(hash_document(document)[ID])
        with self._writer.draft("files") as (name, draft, files):
            write_ledger(
                draft,
                (
                    LedgerEntry(source, file, 0, -1, "", "", READ, ids=np.array(ids, dtype=np.uint64))
                    for (source, file), ids in found.items()
                ),
            )
        self._files.update(files)
        self._say("the ledger of files made again from the documents; the next add reads its sources whole")
        return (name,)

    def _say(self, text: str) -> None:
        self.done.mended.append(text)

    def _is_damaged(self, *names: str) -> bool:
        return any(name in self._damaged for name in names)

    def _sound(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name not in self._damaged)

    def _tombstones(self) -> tuple[Tombstones | None, np.ndarray]:
        """The tombstones with two good files, and the mask of rows that are gone."""
        stones = self._manifest.tombstones
        if stones is None or not self._is_damaged(stones.file, stones.copy):
            return stones, self._snapshot.deleted
        good = [name for name in (stones.file, stones.copy) if name not in self._damaged]
        if not good:
            raise IndexStoreError(
                f"both copies of the deletions of {self._writer.root} are lost (data/{stones.file}); build it again: "
                f"searchapp build SOURCE... --index {self._writer.root} --overwrite"
            )
        gone = self._snapshot.at(replace(self._manifest, tombstones=replace(stones, file=good[0]))).deleted
        written, files = write_tombstones(self._writer, gone)
        self._files.update(files)
        self._say("deletions put in place from their copy")
        return written, gone

    def _documents(self, gone: np.ndarray, sources: list[str]) -> dict[int, list[Document]]:
        """The documents of the segments whose documents are damaged, by the segment's number, found in the sources."""
        segments = self._manifest.segments
        lost = [number for number, segment in enumerate(segments) if segment.documents_file in self._damaged]
        if not lost:
            return {}
        wanted: dict[int, tuple[int, int]] = {}  # hash of an id -> segment and row in it
        recorded_hashes: dict[int, np.ndarray] = {}
        for number in lost:
            segment = segments[number]
            if not segment.hashes_file or segment.hashes_file in self._damaged:
                raise IndexStoreError(
                    f"data/{segment.documents_file} and what tells its documents are lost; build the index again: "
                    f"searchapp build SOURCE... --index {self._writer.root} --overwrite"
                )
            recorded_hashes[number] = self._snapshot.hashes([number])
            for offset in np.flatnonzero(~gone[segment.base : segment.base + segment.count]):
                wanted[int(recorded_hashes[number][ID][offset])] = (number, int(offset))
        found: dict[tuple[int, int], Document] = {}
        exact: set[tuple[int, int]] = set()
        for document in self._read(sources):
            hashes = hash_document(document)
            place = wanted.get(hashes[ID])
            if place is None or place in exact:
                continue
            found[place] = document
            if all(int(recorded_hashes[place[0]][part][place[1]]) == hashes[part] for part in (TEXT, METADATA)):
                exact.add(place)
        if missing := len(wanted) - len(found):
            raise IndexStoreError(
                f"{missing:,} of {len(wanted):,} documents that are lost are in none of the sources; nothing was "
                f"changed: give the sources they came from, searchapp verify {self._writer.root} --repair SOURCE..."
            )
        empty = Document("", "")
        self._say(f"{len(wanted):,} documents of {len(lost)} segments put in place from their sources")
        return {n: [found.get((n, row), empty) for row in range(segments[n].count)] for n in lost}

    def _read(self, sources: list[str]) -> Iterator[Document]:
        """Every document of the sources, by default those that are recorded and still there."""
        recorded = [*self._manifest.build.sources, *(s for item in self._manifest.additions for s in item.sources)]
        opened = []
        for name in sources or dict.fromkeys(source["name"] for source in recorded):
            try:
                opened.append(open_source(name))
            except CorpusError:
                if sources:
                    raise
        cutter = None
        if self._manifest.scheme == SCHEME and any(source.is_cut for source in opened):
            opened = named(opened, (), self._manifest.sources)
            cutter = cutter_of(self._encoder, self._manifest)
        for source in opened:
            for record in source.records(cutter if source.is_cut else None):
                if isinstance(record.item, Document):
                    yield record.item

    def _segment(self, number: int, segment: Segment, documents: list[Document] | None, gone: np.ndarray) -> Segment:
        """A segment of which every file is good; texts whose vector is lost, or is another text's, are encoded."""
        if not self._is_damaged(*segment.names()):
            return segment
        lost = segment.vectors_file in self._damaged
        stale = np.full(segment.count, lost)
        if documents is None:
            documents = self._snapshot.documents.documents(number)
        else:
            stale |= self._snapshot.hashes([number])[TEXT] != hash_documents(documents)[TEXT]
        rows = segment.base + np.arange(segment.count)
        vectors = np.zeros((segment.count, self._manifest.dim), dtype="<f2")
        if not lost:
            vectors[:] = self._snapshot.vectors.stored(rows)
        if again := np.flatnonzero(stale & ~gone).tolist():
            self._progress.stage(f"encoding {len(again):,} documents again")
            vectors[again], _ = encode(self._encoder, [documents[row] for row in again], self._progress)
            self.done.encoded += len(again)
            self.derive = True
            self._say(f"{len(again):,} vectors of data/{segment.vectors_file} encoded again")
        if segment.hashes_file in self._damaged:
            self._say(f"data/{segment.hashes_file} made again from the documents")
        written, files = write_segment(self._writer, documents, vectors, segment.base)
        self._files.update(files)
        return written

    @cached_property
    def _encoder(self) -> Encoder:
        encoder = self._load(self._manifest)
        require_match(self._manifest, self._writer.root, encoder)
        return encoder
