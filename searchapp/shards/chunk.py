"""One chunk of a build: encoded on this machine, put into the store file by file, its record last.

The record is the only truth about a chunk: where it is there, the chunk is done. Two workers that encode the same
chunk write files of different names; the record of the first counts, and the second removes its files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields

from searchapp.corpus.part import BYTES, lines_in
from searchapp.encoder import Encoder
from searchapp.errors import IndexStoreError
from searchapp.index.building import encode_sources
from searchapp.index.storage.directory import FileEntry
from searchapp.index.storage.manifest import Manifest, Reach
from searchapp.index.storage.manifest_json import FILE_NAME
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from searchapp.progress import Progress
from searchapp.shards.place import Place
from searchapp.shards.plan import Chunk, Plan
from searchapp.shards.sample import sample_of
from searchapp.shards.sealed import seal, unseal
from searchapp.shards.store import Store, working

DONE, FAILED, DATA = "build/done", "build/failed", "build/data"


@dataclass(frozen=True)
class SegmentFiles:
    """The files of a segment of ``count`` documents: rows, vectors, hashes, and postings ("" without words)."""

    rows: str
    vectors: str
    marks: str
    lexical: str
    count: int


@dataclass(frozen=True)
class ChunkDone:
    """What a chunk came to: its files in ``DATA``, and counts. ``lines`` are those before which the next one begins.

    ``tokens`` and ``documents`` are what was encoded, ``seconds`` by the clock; ``reach`` is as in ``Reach``.
    """

    id: str
    number: int
    documents: int
    tokens: int
    consumed: int
    rejected: int
    seconds: float
    lines: int
    sample: str
    segments: tuple[SegmentFiles, ...] = ()
    rejections: tuple[str, ...] = ()
    ledger: tuple[str, ...] = ()
    reasons: dict[str, int] = field(default_factory=dict)
    reach: tuple[int, int, int] = (0, 0, 0)
    files: dict[str, FileEntry] = field(default_factory=dict)
    worker: str = ""

    def to_bytes(self) -> bytes:
        """The bytes of its record."""
        return seal(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> ChunkDone:
        """Read a record. Raises IndexStoreError, which calls it ``name``, where it is damaged."""
        content = unseal(data, name)
        content["segments"] = tuple(SegmentFiles(**one) for one in content["segments"])
        content["files"] = {key: FileEntry(**entry) for key, entry in content["files"].items()}
        for key in ("rejections", "ledger", "reach"):
            content[key] = tuple(content[key])
        names = [content["sample"], *content["files"], *content["rejections"], *content["ledger"]]
        for part in content["segments"]:
            names += filter(None, (part.rows, part.vectors, part.marks, part.lexical))
        for one in names:
            if not FILE_NAME.fullmatch(one):
                raise IndexStoreError(f"{name} names a file {one[:80]!r}, which is none of a chunk; build again")
        return cls(**{item.name: content[item.name] for item in fields(cls)})


def done_name(chunk: Chunk) -> str:
    """Where the record of a chunk lies."""
    return f"{DONE}/{chunk.id}.json"


def is_done(store: Place, chunk: Chunk) -> bool:
    """Whether a chunk is done."""
    try:
        store.range(done_name(chunk), 0, 1)
    except FileNotFoundError:
        return False
    return True


def read_done(store: Place, chunk: Chunk) -> ChunkDone:
    """The record of a chunk that is done. Raises FileNotFoundError, or IndexStoreError for a damaged one."""
    return ChunkDone.from_bytes(store.get(done_name(chunk)), done_name(chunk))


def encode_chunk(
    store: Store,
    plan: Plan,
    number: int,
    encoder: Encoder,
    *,
    worker: str = "",
    progress: Progress | None = None,
    step: Callable[[str], None] | None = None,
) -> bool:
    """Encode a chunk and commit it; false where it is done already, or another worker was first.

    ``step`` is told each step, for tests that stop there. Raises what reading and encoding raise; then nothing is done.
    """
    chunk, step = plan.chunks[number], step or (lambda _: None)
    if is_done(store, chunk):
        return False
    began = time.perf_counter()
    put: list[str] = []
    with working(store, chunk.id) as folder:
        source = plan.open(chunk)
        with Writer.open(folder, store.disk) as writer:
            manifest = encode_sources(writer, [source], encoder, plan.settings, progress=progress)
            snapshot = Snapshot.of(writer, manifest)
            step("encoded")
            sample = sample_of(snapshot, chunk.tokens / max(1, plan.tokens), plan.sample).to_bytes()
            with writer.draft("sample") as (sampled, draft, entries):
                draft.write(sample)
            lines = 0
            if chunk.span.unit == BYTES and source.place is not None:
                (file,) = source.listed()
                lines = lines_in(file.place, chunk.span.begin, chunk.span.end) if file.place else 0
            record = _record(chunk, manifest, sampled, lines, time.perf_counter() - began, worker, entries)
            try:
                for name in record.files:
                    store.upload(writer.path(name), f"{DATA}/{name}")
                    put.append(name)
                    step("uploaded")
                store.put_new(done_name(chunk), record.to_bytes())
            except FileExistsError:  # another worker was first
                for name in put:
                    store.delete(f"{DATA}/{name}")
                return False
            step("done")
    return True


def _record(
    chunk: Chunk,
    manifest: Manifest,
    sampled: str,
    lines: int,
    seconds: float,
    worker: str,
    entries: dict[str, FileEntry],
) -> ChunkDone:
    words = manifest.lexical.files if manifest.lexical is not None else {}
    segments = tuple(
        SegmentFiles(one.documents_file, one.vectors_file, one.hashes_file, words.get(one.documents_file, ""), rows)
        for one in manifest.segments
        for rows in [one.count]
    )
    reach: Reach = manifest.build.reach
    return ChunkDone(
        chunk.id, chunk.number, manifest.rows, manifest.build.tokens, manifest.build.consumed, manifest.build.rejected,
        round(seconds, 3), lines, sampled, segments, manifest.rejections, manifest.ledger, manifest.build.reasons,
        (reach.documents, reach.tokens, reach.beyond), {**manifest.files, **entries},
        worker,
    )  # fmt: skip


def done_ids(store: Place) -> set[str]:
    """The ids of the chunks that are done, by one listing."""
    return {name.rpartition("/")[2].removesuffix(".json") for name in store.list(DONE)}


def missing(plan: Plan, done: set[str]) -> Sequence[Chunk]:
    """The chunks that are not done."""
    return [chunk for chunk in plan.chunks if chunk.id not in done]
