"""Encoding the stored documents of an index by another encoder, segment by segment, beside the state that stands.

What is encoded is committed after each segment, so that a run that was killed goes on after the last one; what was
added meanwhile is encoded as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.corpus import Document, passage_of
from searchapp.encoder import Encoder
from searchapp.errors import IndexStoreError
from searchapp.heap import trim_heap
from searchapp.index.building import PACKAGES
from searchapp.index.encoder_match import described, makes_the_same
from searchapp.index.storage.directory import FileEntry
from searchapp.index.storage.manifest import Encoded, Manifest, Reach, Reembedding, Segment
from searchapp.index.storage.segment import SEGMENT_DOCUMENTS, encode
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from searchapp.progress import Progress
from searchapp.provenance import package_versions

TUNED = (
    "the fusion was tuned to the vectors before, and is back to its defaults; tune it again: searchapp evaluate tune"
)


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


class Reencoding:
    """New vectors for the documents of ``origin``, which gather in the state of a writer from ``start`` on.

    ``place`` names the index of ``origin`` where the writer has another. ``notices`` are for the user to read.
    """

    def __init__(
        self,
        writer: Writer,
        origin: Snapshot,
        start: Manifest,
        encoder: Encoder,
        progress: Progress,
        *,
        place: str = "",
    ) -> None:
        self._writer, self._origin, self._manifest = writer, origin, start
        self._encoder, self._progress, self._place = encoder, progress, place
        self.notices: list[str] = []
        self._state = self._staged(start.reembedding)
        self._resumed = self._state.documents

    @property
    def files(self) -> dict[str, FileEntry]:
        """The files of the writer's state, the new vectors among them."""
        return self._manifest.files

    def run(self) -> Reembedding:
        """Encode what is left. Raises IndexStoreError for damaged documents, and what encoding raises."""
        documents = self._origin.manifest.documents
        self._progress.stage("encoding", total=documents, unit="doc", done=self._resumed)
        for number, segment in enumerate(self._origin.segments):
            if segment.documents_file not in self._state.vectors:
                self._encode(number, segment)
        trim_heap()
        return self._state

    def outcome(self, manifest: Manifest, root: Path, notices: Sequence[str]) -> Reembedded:
        """What the run came to, in the state that was published at ``root``."""
        parts = self._state.vectors.values()
        return Reembedded(
            manifest, root, encoded=sum(part.documents for part in parts) - self._resumed, resumed=self._resumed,
            tokens=sum(part.tokens for part in parts), long=sum(part.long for part in parts),
            beyond=sum(part.beyond for part in parts), seconds=self._state.seconds, notices=tuple(notices),
        )  # fmt: skip

    def _staged(self, begun: Reembedding | None) -> Reembedding:
        """What an earlier run encoded by the same encoder of segments that are still there."""
        fresh = Reembedding(described(self._encoder), self._encoder.dim, self._place)
        if begun is None:
            return fresh
        if not makes_the_same(begun.encoder, fresh.encoder):
            model = begun.encoder["reference"]["model"]
            self.notices.append(f"dropped: {begun.documents:,} documents that a reembed by {model} had encoded")
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


def embedded_anew(
    before: Manifest,
    encoder: Encoder,
    parts: Iterable[Encoded],
    seconds: float,
    known: dict[str, FileEntry],
    *,
    lexical: Any,
    **changes: Any,
) -> Manifest:
    """The state of an index whose segments have the vectors of another encoder, and no search index yet.

    ``known`` are the files that it may name, with those in ``changes``. The fusion of ``lexical`` is untuned.
    """
    held = [*parts]
    reach = Reach(*(sum(getattr(part, name) for part in held) for name in ("documents", "tokens", "beyond")))
    build = replace(
        before.build, tokens=reach.tokens - reach.beyond, reach=reach, seconds={"encode": seconds}, overwrite=False
    )
    return replace(before, files=known).with_files(
        encoder=described(encoder), dim=encoder.dim, build=build, state="encoded", reduction=None, ann=None, drift=None,
        probes=None, staged=None, reembedding=None, versions=package_versions(PACKAGES),
        lexical=None if lexical is None else replace(lexical, fusion=None), **changes,
    )  # fmt: skip
