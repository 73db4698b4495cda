"""Shards of chunks: each a run of chunks in plan order, and an index directory like any other."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.ann.build_ann import build_ann
from searchapp.index.ann.queries import write_queries
from searchapp.index.intake.files import SCHEME
from searchapp.index.lexical.analyzer import Analyzer
from searchapp.index.lexical.bm25 import K1, B
from searchapp.index.lexical.postings import Postings
from searchapp.index.storage.deletions import write_tombstones
from searchapp.index.storage.directory import FileEntry, reaching
from searchapp.index.storage.documents import DocumentStore
from searchapp.index.storage.ids import among
from searchapp.index.storage.ledger import LedgerEntry, joined, read_ledger, write_ledger
from searchapp.index.storage.manifest import Build, Lexical, Manifest, NamedSource, Reach, Segment
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from searchapp.shards.chunk import DATA, ChunkDone
from searchapp.shards.plan import SHARD_ROWS, Plan
from searchapp.shards.root import FOLDER, SHARD_NAME, Shard, shard_of
from searchapp.shards.sealed import seal, unseal
from searchapp.shards.settle import Settled
from searchapp.shards.store import LocalStore, Store, fetch, working
from searchapp.shards.train import SharedTraining
from searchapp.unicode import json_bytes

DONE = "build/shards"
TAKEN = re.compile(r"duplicate id: document ([0-9]+) of this index has it")


@dataclass(frozen=True)
class ShardDone:
    """A shard as its root names it, but for its base, and the terms of its documents that can be found."""

    shard: Shard
    terms: int
    rejected: int


@dataclass(frozen=True, eq=False)
class Whole:
    """What all chunks together come to: ids that were settled, and the lines of its file before each chunk."""

    settled: Settled
    lines: np.ndarray

    @classmethod
    def of(cls, plan: Plan, done: Sequence[ChunkDone], settled: Settled) -> Whole:
        """Of all chunks in plan order."""
        before = np.zeros(len(done), dtype=np.int64)
        for number in range(1, len(done)):
            if plan.chunks[number].source == plan.chunks[number - 1].source:
                before[number] = before[number - 1] + done[number - 1].lines
        return cls(settled, before)


def grouped(plan: Plan, documents: Sequence[int]) -> list[range]:
    """Runs of chunks, one for each shard, by how many documents each chunk has; none is empty.

    They are as alike as chunks allow, so many as the plan says, or one for each ``SHARD_ROWS`` documents.
    """
    total = sum(documents)
    count = plan.shards or max(1, -(-total // SHARD_ROWS))
    groups: list[range] = []
    begin = held = before = 0
    for number, rows in enumerate(documents):
        held += rows
        wanted = total * (len(groups) + 1) / count
        if held and before + held >= wanted - rows / 2 and len(groups) < count - 1:
            groups.append(range(begin, number + 1))
            begin, before, held = number + 1, before + held, 0
    if held:
        groups.append(range(begin, len(documents)))
    elif groups:
        groups[-1] = range(groups[-1].start, len(documents))
    return groups


def shard_name(plan: Plan, number: int) -> str:
    """The name of a shard: two builds have none in common."""
    return f"{plan.digest[:8]}-{number:05d}"


def assemble(
    store: Store,
    plan: Plan,
    name: str,
    done: Sequence[ChunkDone],
    whole: Whole,
    training: SharedTraining,
    *,
    device: str = "cpu",
    stage: Callable[[str], None] | None = None,
) -> ShardDone:
    """Make the shard of a run of chunks and commit it; one that is done is read.

    One whose files are gone is made anew. Raises IndexStoreError where a chunk's file is damaged, or the disk is full.
    """
    record = f"{DONE}/{name}.json"
    try:
        known = _read(unseal(store.get(record), record))
        if is_there(store, known.shard):
            return known
        store.delete(record)
    except FileNotFoundError:
        pass
    with _directory(store, name) as folder:
        with Writer.open(folder, store.disk) as writer:
            manifest = _state(store, plan, writer, done, whole)
            if training.probes is not None:
                with writer.draft("probes") as (file, draft, entries):
                    write_queries(draft, training.probes)
                manifest = manifest.with_files(probes=file, files=entries)
            writer.commit(manifest)
            writer.publish_rejections()
            if manifest.documents:
                manifest = build_ann(writer, training.request, stage=stage, device=device, trained=training.trained)
            else:
                manifest = writer.commit(manifest.bare(state="ready"))
            found = ShardDone(shard_of(name, manifest), _terms(Snapshot.of(writer, manifest)), manifest.build.rejected)
        if not isinstance(store, LocalStore):
            _send(store, folder, name, manifest)
    store.put_new(record, seal(_written(found)))
    return found


def is_there(store: Store, shard: Shard) -> bool:
    """Whether the manifest of a shard is there as it was made."""
    try:
        return hashlib.sha256(store.get(shard.file)).hexdigest() == shard.sha256
    except FileNotFoundError:
        return False


@contextmanager
def _directory(store: Store, name: str) -> Iterator[Path]:
    """Where a shard is made: in its place where that is on this machine, else in a folder to work in."""
    if isinstance(store, LocalStore):
        folder = store.root / FOLDER / name
        with reaching(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            store.disk.sync_directory(store.root)
        yield folder
        return
    with working(store, name) as folder:
        yield folder


def _send(store: Store, folder: Path, name: str, manifest: Manifest) -> None:
    """Put the files of a shard into the store, its manifest last."""
    number = f"manifest-{manifest.number:010d}"
    names = [*(f"data/{file}" for file in manifest.files), f"{number}.copy", f"{number}.json"]
    for file in names:
        target = f"{FOLDER}/{name}/{file}"
        try:
            store.upload(folder / file, target)
        except FileExistsError:  # of a run that ended here
            store.delete(target)
            store.upload(folder / file, target)


def _state(store: Store, plan: Plan, writer: Writer, done: Sequence[ChunkDone], whole: Whole) -> Manifest:
    """The files of the chunks in the shard's directory, and the state that they make."""
    settled = whole.settled
    files: dict[str, FileEntry] = {}
    segments: list[Segment] = []
    words: dict[str, str] = {}
    gone: list[np.ndarray] = []
    reach, reasons, base = Reach(), Counter[str](), 0
    for one in done:
        for part in one.segments:
            for name in filter(None, (part.rows, part.vectors, part.marks, part.lexical)):
                if not writer.path(name).exists():
                    fetch(store, f"{DATA}/{name}", writer.path(name), one.files[name])
                files[name] = one.files[name]
            segments.append(Segment(part.rows, part.vectors, base, part.count, part.marks))
            if part.lexical:
                words[part.rows] = part.lexical
            base += part.count
        mask = np.zeros(one.documents, dtype=bool)
        mask[settled.of(one.number)] = True
        gone.append(mask)
        reach += Reach(*one.reach)
        reasons.update(one.reasons)
    dropped = np.concatenate([np.zeros(0, dtype=bool), *gone])
    if count := int(dropped.sum()):
        reasons["duplicate id"] += count
    tombstones, more = write_tombstones(writer, dropped)
    files |= more
    rejections, more = _rejections(store, plan, writer, done, whole)
    files |= more
    ledger, more = _ledger(store, writer, done, settled)
    files |= more
    analyzer = plan.analyzer or Analyzer()
    lexical = Lexical(words, analyzer.stemmer, analyzer.stop_words, K1, B, analysis=analyzer.version)
    build = Build(
        tuple(
            {"name": one.name, "kind": one.kind, "identity": one.identity, "label": one.label} for one in plan.sources
        ),
        consumed=sum(one.consumed for one in done),
        reach=reach,
        rejected=reasons.total(),
        reasons=dict(reasons),
        tokens=sum(one.tokens for one in done),
        segment_size=plan.segment_size,
        seconds={"encode": sum(one.seconds for one in done)},
    )
    return Manifest(
        plan.encoder, plan.dim, build, state="encoded", rows=base, segments=tuple(segments), rejections=rejections,
        tombstones=tombstones, lexical=lexical if plan.lexical else None, versions=plan.versions, scheme=SCHEME,
        cut=plan.cut, sources=tuple(NamedSource(one.label, one.name, one.kind) for one in plan.sources), ledger=ledger,
        files=files,
    )  # fmt: skip


def _rejections(
    store: Store, plan: Plan, writer: Writer, done: Sequence[ChunkDone], whole: Whole
) -> tuple[tuple[str, ...], dict[str, FileEntry]]:
    """One file of the rejected records of all chunks, with the lines of their files, and of what was settled."""
    settled = whole.settled
    if not any(one.rejections or len(settled.of(one.number)) for one in done):
        return (), {}
    with writer.draft("rejected") as (name, draft, files):
        for one in done:
            base, lines = int(settled.bases[one.number]), int(whole.lines[one.number])
            for part in one.rejections:
                for line in store.get(f"{DATA}/{part}").splitlines():
                    record = json.loads(line)
                    record["line"] += lines
                    if found := TAKEN.fullmatch(record["reason"]):
                        number = settled.document(base + int(found[1]) - 1)
                        record["reason"] = f"duplicate id: document {number} of this index has it"
                    draft.write(json_bytes(json.dumps(record, ensure_ascii=False)) + b"\n")
            rows = _rows(writer, one)
            for row in settled.of(one.number).tolist():
                record = {
                    "file": plan.sources[plan.chunks[one.number].source].name,
                    "line": 0,  # it is not kept with a document
                    "reason": f"duplicate id: document {settled.document(base + row)} of this index has it",
                    "id": rows.read(row).id,
                }
                draft.write(json_bytes(json.dumps(record, ensure_ascii=False)) + b"\n")
    return (name,), files


def _rows(writer: Writer, one: ChunkDone) -> DocumentStore:
    """The documents of a chunk, whose files are in the shard's directory."""
    base, segments = 0, []
    for part in one.segments:
        segments.append(Segment(part.rows, part.vectors, base, part.count, part.marks))
        base += part.count
    return DocumentStore(writer.spill, segments)


def _ledger(
    store: Store, writer: Writer, done: Sequence[ChunkDone], settled: Settled
) -> tuple[tuple[str, ...], dict[str, FileEntry]]:
    """One ledger: a file that several chunks read is one entry, without the ids that were left out."""
    entries: dict[tuple[str, str], LedgerEntry] = {}
    with working(store, "ledger") as folder:
        for one in done:
            for name in one.ledger:
                fetch(store, f"{DATA}/{name}", folder / name, one.files[name])
            out = _hashes(writer, one)[settled.of(one.number)]
            for entry in read_ledger(folder, one.ledger):
                if len(out):
                    entry = replace(entry, ids=entry.ids[~among(entry.ids, out)])
                known = entries.get(entry.key)
                entries[entry.key] = entry if known is None else joined(known, entry)
    if not entries:
        return (), {}
    with writer.draft("files") as (name, draft, files):
        write_ledger(draft, entries.values())
    return (name,), files


def _hashes(writer: Writer, one: ChunkDone) -> np.ndarray:
    """The hashes of the ids of a chunk's documents."""
    parts = [np.fromfile(writer.path(part.marks), dtype="<u8", count=part.count) for part in one.segments]
    return np.concatenate([np.zeros(0, dtype=np.uint64), *parts])


def _terms(snapshot: Snapshot) -> int:
    """The terms of all documents that can be found; 0 where no words were counted."""
    lexical, total = snapshot.manifest.lexical, 0
    for segment in snapshot.segments if lexical is not None else ():
        name = lexical.files[segment.documents_file] if lexical is not None else ""
        lengths = Postings(snapshot.path(name), segment.count).lengths
        alive = snapshot.alive
        kept = lengths if alive is None else lengths[alive[segment.base : segment.base + segment.count]]
        total += int(kept.sum(dtype=np.int64))
    return total


def _written(found: ShardDone) -> dict[str, object]:
    return {"shard": asdict(found.shard), "terms": found.terms, "rejected": found.rejected}


def _read(content: dict[str, Any]) -> ShardDone:
    try:
        shard = Shard(**content["shard"])
        if not SHARD_NAME.fullmatch(shard.name):
            raise ValueError(f"it names a shard {shard.name[:80]!r}")
        return ShardDone(shard, int(content["terms"]), int(content["rejected"]))
    except (TypeError, KeyError, ValueError) as error:
        raise IndexStoreError(f"a record of a shard is damaged ({error}); build again with --overwrite") from error
