"""Another model for an index that stands: its stored texts are encoded anew, without the sources.

Documents, their rows, deletions, words and ledger stay as they are; only vectors change, and what is made of them. In
place the state stays what it was, and readers and writers go on with it, while the new vectors gather beside it,
segment by segment (``Reembedding``); all of them take the place of the old ones in one commit. One that was killed goes
on after the last segment, and encodes what was added meanwhile. Into another directory it is the same, and the rest is
copied at the end.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.encoder import Encoder
from searchapp.errors import IndexStoreError
from searchapp.index.ann.build_ann import build_ann
from searchapp.index.ann.request import AnnRequest, Targets
from searchapp.index.encoder_match import described, makes_the_same
from searchapp.index.reencoding import TUNED, Reembedded, Reencoding, embedded_anew
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.hashes import ID, TEXT, write_hashes
from searchapp.index.storage.manifest import Manifest, Reembedding, Segment
from searchapp.index.storage.segment import Files, completed
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from searchapp.progress import Progress, Silent

log = logging.getLogger("searchapp.index.reembed")  # the command, which is what people filter lines by

COPIED = 1 << 22  # bytes read at once


__all__ = ["ReembedSettings", "Reembedded", "reembed"]


@dataclass(frozen=True)
class ReembedSettings:
    """What the new index is to be: fields that are None stay as the index was made. See ``AnnRequest``."""

    pca: int | str | None = None
    factory: str | None = None
    targets: Targets | None = None

    def over(self, before: AnnRequest) -> AnnRequest:
        """What is asked of the search index, where it was made as ``before``."""
        return before.changed(self.pca, self.factory, self.targets)


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
        self._writer, self._origin = writer, origin
        self._encoder, self._progress = encoder, progress
        self._apart = origin.root.resolve() != writer.root.resolve()
        self._request = settings.over(AnnRequest.of(origin.manifest.build))
        self._notices: list[str] = []
        place = str(origin.root.resolve()) if self._apart else ""
        self._encoding = Reencoding(writer, origin, start, encoder, progress, place=place)

    def run(self) -> Reembedded:
        """Encode what is left, and put it in place."""
        self._request.check(self._encoder.dim, self._origin.manifest.documents or None)
        encoding = self._encoding
        state = encoding.run()
        self._notices += encoding.notices
        manifest = self._publish(state)
        log.info("reembedded %s by %s", self._writer.root, self._encoder.reference["model"])
        return encoding.outcome(manifest, self._writer.root, self._notices)

    def _publish(self, state: Reembedding) -> Manifest:
        """Commit the state with the new vectors, reduction and FAISS index in the place of the old ones."""
        before, parts = self._origin.manifest, state.vectors
        segments = tuple(replace(item, vectors_file=parts[item.documents_file].file) for item in before.segments)
        changes: dict[str, Any] = {"segments": segments, "files": {}}
        if self._apart:
            changes |= self._copied(segments)
        elif before.staged is not None:
            self._notices.append("what an unfinished add had encoded by the model before is dropped; run it again")
        changes.setdefault("lexical", before.lexical)
        if changes["lexical"] is not None and changes["lexical"].fusion is not None:
            self._notices.append(TUNED)
        made = embedded_anew(before, self._encoder, parts.values(), state.seconds, self._encoding.files, **changes)
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
