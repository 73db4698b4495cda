"""Another model for an index that stands: its stored texts are encoded anew, without the sources.

Documents, their rows, deletions, words and ledger stay as they are; only vectors change, and what is made of them. In
place the state stays what it was, and readers and writers go on with it, while the new vectors gather beside it,
segment by segment (``Reembedding``); all of them take the place of the old ones in one commit. One that was killed goes
on after the last segment, and encodes what was added meanwhile. Into another directory it is the same, and the rest is
copied at the end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.corpus import Document, passage_of
from searchapp.encoder import Encoder
from searchapp.errors import IndexStoreError
from searchapp.heap import trim_heap
from searchapp.index.ann.build_ann import build_ann
from searchapp.index.ann.request import AnnRequest, Targets
from searchapp.index.building import PACKAGES
from searchapp.index.encoder_match import described, makes_the_same
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.hashes import ID, TEXT, write_hashes
from searchapp.index.storage.manifest import Encoded, Manifest, Reach, Reembedding, Segment
from searchapp.index.storage.segment import SEGMENT_DOCUMENTS, Files, completed, encode
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from searchapp.progress import Progress, Silent
from searchapp.provenance import package_versions

log = logging.getLogger("searchapp.index.reembed")  # the command, which is what people filter lines by

COPIED = 1 << 22  # bytes read at once


@dataclass(frozen=True)
class Reembedded:
    """The new state; how many documents this run encoded, and how many an earlier one had.

    ``long`` documents have more tokens than the new encoder reads, ``beyond`` of all ``tokens`` in all.
    """

    manifest: Manifest
    root: Path
    encoded: int = 0
    resumed: int = 0
    tokens: int = 0
    long: int = 0
    beyond: int = 0
    seconds: float = 0.0
    already_done: bool = False
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReembedSettings:
    """What the new index is to be: fields that are None stay as the index was made. See ``AnnRequest``."""

    pca: int | str | None = None
    factory: str | None = None
    targets: Targets | None = None

    def over(self, manifest: Manifest) -> AnnRequest:
        """What is asked of the search index."""
        before = AnnRequest.of(manifest.build)
        pca = before.pca if self.pca is None else self.pca
        return AnnRequest(pca, self.factory or before.factory, self.targets or before.targets)


def reembed(
    path: Path,
    encoder: Encoder,
    settings: ReembedSettings | None = None,
    *,
    to: Path | None = None,
    progress: Progress | None = None,
    disk: Disk | None = None,
) -> Reembedded:
    """Encode the documents of a finished index by another encoder, in place or into the directory ``to``.

    The index answers as before until the new one is there. An interrupted one goes on with the same encoder. Raises
    IndexStoreError where there is no finished index, its documents are damaged, or ``to`` holds something else, and
    ModelError as encoding does; what was encoded stays.
    """
    settings, progress = settings or ReembedSettings(), progress or Silent()
    if to is None or to.resolve() == path.resolve():
        with Writer.update(path, disk) as writer:
            if makes_the_same(writer.state.encoder, described(encoder)):
                return Reembedded(writer.state, path, already_done=True)
            origin = Snapshot.of(writer, completed(writer, writer.state))
            return _Run(writer, origin, origin.manifest, encoder, settings, progress).run()
    origin = Snapshot.open(path, ready=True)
    if origin.manifest.state != "ready":
        raise IndexStoreError(
            f"{path} holds an unfinished build; finish it with the same `{origin.manifest.made_by}` command"
        )
    with Writer.open(to, disk) as writer:
        start = _begun(writer, origin, encoder)
        if start.state == "ready":
            return Reembedded(start, to, already_done=True)
        return _Run(writer, origin, start, encoder, settings, progress).run()


def _begun(writer: Writer, origin: Snapshot, encoder: Encoder) -> Manifest:
    """The state of another directory to go on from. Raises IndexStoreError where it is of anything else."""
    place, found = str(origin.root.resolve()), writer.manifest
    if writer.notices:
        raise IndexStoreError(f"{writer.root} is damaged: {writer.notices[0]}; give another directory")
    if found is None:
        return Manifest(
            described(encoder), encoder.dim, replace(origin.manifest.build, overwrite=False, partial=None),
            reembedding=Reembedding(described(encoder), encoder.dim, place),
        )  # fmt: skip
    same = makes_the_same(found.encoder, described(encoder))
    if found.state == "ready" and same and np.array_equal(_contents(Snapshot.of(writer)), _contents(origin)):
        return found
    if found.reembedding is None or found.state == "ready" or found.reembedding.origin != place:
        raise IndexStoreError(f"{writer.root} holds an index already; give another directory with --out")
    return found


def _contents(snapshot: Snapshot) -> np.ndarray:
    """What tells the ids and texts of the documents apart, in their order."""
    return snapshot.hashes()[[ID, TEXT]][:, ~snapshot.deleted]


class _Run:
    """One run over a writer; ``origin`` has the documents, and is the writer's own state where it is in place."""

    def __init__(
        self,
        writer: Writer,
        origin: Snapshot,
        start: Manifest,
        encoder: Encoder,
        settings: ReembedSettings,
        progress: Progress,
    ) -> None:
        self._writer, self._origin, self._manifest = writer, origin, start
        self._encoder, self._progress = encoder, progress
        self._apart = origin.root.resolve() != writer.root.resolve()
        self._request = settings.over(origin.manifest)
        self._notices: list[str] = []
        self._state = self._staged(start.reembedding)

    def run(self) -> Reembedded:
        """Encode what is left, and put it in place."""
        documents = self._origin.manifest.documents
        self._request.check(self._encoder.dim, documents or None)
        resumed = self._state.documents
        self._progress.stage("encoding", total=documents, unit="doc", done=resumed)
        for number, segment in enumerate(self._origin.segments):
            if segment.documents_file not in self._state.vectors:
                self._encode(number, segment)
        trim_heap()
        parts = self._state.vectors.values()
        manifest = self._publish()
        log.info("reembedded %s by %s", self._writer.root, self._encoder.reference["model"])
        return Reembedded(
            manifest, self._writer.root, encoded=sum(part.documents for part in parts) - resumed, resumed=resumed,
            tokens=sum(part.tokens for part in parts), long=sum(part.long for part in parts),
            beyond=sum(part.beyond for part in parts), seconds=self._state.seconds, notices=tuple(self._notices),
        )  # fmt: skip

    def _staged(self, begun: Reembedding | None) -> Reembedding:
        """What an earlier run encoded by the same encoder of segments that are still there."""
        fresh = Reembedding(
            described(self._encoder), self._encoder.dim, str(self._origin.root.resolve()) if self._apart else ""
        )
        if begun is None:
            return fresh
        if not makes_the_same(begun.encoder, fresh.encoder):
            model = begun.encoder["reference"]["model"]
            self._notices.append(f"dropped: {begun.documents:,} documents that a reembed by {model} had encoded")
            return fresh
        there = {segment.documents_file for segment in self._origin.segments}
        kept = {rows: part for rows, part in begun.vectors.items() if rows in there}
        return replace(fresh, vectors=kept, seconds=begun.seconds)

    def _encode(self, number: int, segment: Segment) -> None:
        """Encode one segment's documents and commit their vectors beside the state; deleted ones get none."""
        if damaged := self._origin.check([segment.documents_file]):
            raise IndexStoreError(
                f"{self._origin.root} is damaged: {next(iter(damaged.values()))}; mend it with `searchapp verify "
                f"{self._origin.root} --repair`"
            )
        began = time.perf_counter()
        kept = ~self._origin.deleted[segment.base : segment.base + segment.count]
        counts = np.zeros(3, dtype=np.int64)
        with self._writer.draft("vectors") as (name, draft, files):
            for alive, documents in self._some(number, kept):
                vectors = np.zeros((len(alive), self._encoder.dim), dtype="<f2")
                vectors[alive], _ = encode(self._encoder, documents, self._progress)
                draft.write(vectors.tobytes())
                counts += self._reach(documents)
        tokens, long, beyond = counts.tolist()
        part = Encoded(name, int(kept.sum()), tokens, long, beyond)
        self._state = replace(
            self._state,
            vectors={**self._state.vectors, segment.documents_file: part},
            seconds=self._state.seconds + time.perf_counter() - began,
        )
        self._manifest = self._writer.commit(self._manifest.with_files(reembedding=self._state, files=files))

    def _some(self, number: int, kept: np.ndarray) -> Iterator[tuple[np.ndarray, list[Document]]]:
        """Some rows of a segment after the other: a mask of those that are there, and their documents."""
        for start in range(0, len(kept), SEGMENT_DOCUMENTS):
            mask = np.zeros(len(kept), dtype=bool)
            mask[start : start + SEGMENT_DOCUMENTS] = kept[start : start + SEGMENT_DOCUMENTS]
            yield kept[start : start + SEGMENT_DOCUMENTS], self._origin.documents.documents(number, mask)

    def _reach(self, documents: list[Document]) -> np.ndarray:
        """Tokens of documents, how many documents have more of them than the encoder reads, and how many those are."""
        if not documents:
            return np.zeros(3, dtype=np.int64)
        tokens = self._encoder.document_tokens([passage_of(document) for document in documents])
        beyond = np.maximum(tokens - self._encoder.document_reach, 0)
        return np.array([tokens.sum(), (beyond > 0).sum(), beyond.sum()], dtype=np.int64)

    def _publish(self) -> Manifest:
        """Commit the state with the new vectors, reduction and FAISS index in the place of the old ones."""
        before, parts = self._origin.manifest, self._state.vectors
        segments = tuple(replace(item, vectors_file=parts[item.documents_file].file) for item in before.segments)
        changes: dict[str, Any] = {"segments": segments, "files": {}}
        if self._apart:
            changes |= self._copied(segments)
        elif before.staged is not None:
            self._notices.append("what an unfinished add had encoded by the model before is dropped; run it again")
        lexical = changes.get("lexical", before.lexical)
        if lexical is not None and lexical.fusion is not None:
            lexical = replace(lexical, fusion=None)
            self._notices.append(
                "the fusion was tuned to the vectors before, and is back to its defaults; tune it again: "
                "searchapp evaluate tune"
            )
        known = parts.values()
        reach = Reach(*(sum(getattr(part, name) for part in known) for name in ("documents", "tokens", "beyond")))
        build = replace(
            before.build,
            tokens=reach.tokens - reach.beyond,
            reach=reach,
            seconds={"encode": self._state.seconds},
            overwrite=False,
        )
        made = replace(before, files=self._manifest.files).with_files(
            encoder=described(self._encoder), dim=self._encoder.dim, build=build, state="encoded", reduction=None,
            ann=None, drift=None, probes=None, staged=None, reembedding=None,
            versions=package_versions(PACKAGES), **(changes | {"lexical": lexical}),
        )  # fmt: skip
        if not made.documents:  # nothing to search: an index is made over what is added
            return self._writer.commit(replace(made, state="ready"))
        manifest = build_ann(
            self._writer,
            self._request,
            manifest=made,
            stage=self._progress.stage,
            encode=self._encoder.encode_queries,
            device=self._encoder.device,
        )
        self._writer.publish_rejections()
        return manifest

    def _copied(self, segments: tuple[Segment, ...]) -> dict[str, Any]:
        """What the state is made of beside vectors, copied into this directory under names of its own."""
        before, files = self._origin.manifest, Files()
        self._progress.stage(f"copying {before.documents:,} documents")
        names: dict[str, str] = {}

        def copy(name: str) -> str:
            if name not in names:
                names[name] = self._copy(name, files)
            return names[name]

        placed = []
        for number, segment in enumerate(segments):
            hashes = copy(segment.hashes_file) if segment.hashes_file else self._hashes(number, files)
            placed.append(replace(segment, documents_file=copy(segment.documents_file), hashes_file=hashes))
        stones, lexical = before.tombstones, before.lexical
        if stones is not None:
            stones = replace(stones, file=copy(stones.file), copy=copy(stones.copy))
        if lexical is not None:
            there = {segment.documents_file for segment in segments}
            held = {copy(rows): copy(words) for rows, words in lexical.files.items() if rows in there}
            lexical = replace(lexical, files=held)
        return {
            "segments": tuple(placed),
            "tombstones": stones,
            "lexical": lexical,
            "ledger": tuple(map(copy, before.ledger)),
            "rejections": tuple(map(copy, before.rejections)),
            "additions": tuple(
                replace(item, rejections=tuple(map(copy, item.rejections))) for item in before.additions
            ),
            "files": files,
        }

    def _copy(self, name: str, files: Files) -> str:
        """Copy a data file. Raises IndexStoreError where it is not what was written."""
        with self._writer.draft(name.partition("-")[0]) as (new, draft, entries):
            with self._origin.path(name).open("rb") as source:
                while part := source.read(COPIED):
                    draft.write(part)
        if entries[new].checksum != self._origin.manifest.files[name].checksum:
            raise IndexStoreError(
                f"{self._origin.root} is damaged: data/{name} has changed since it was written; mend it with "
                f"`searchapp verify {self._origin.root} --repair`"
            )
        files.update(entries)
        return new

    def _hashes(self, number: int, files: Files) -> str:
        """The hashes of a segment of an index that has none."""
        with self._writer.draft("marks") as (name, draft, entries):
            write_hashes(draft, self._origin.hashes([number]))
        files.update(entries)
        return name
