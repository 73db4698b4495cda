"""Another model for a root of shards: all of them are embedded anew, and published as one generation.

The documents of all shards are encoded first, segment by segment, beside the root; then one training and the shards are
made of it: see ``searchapp.shards.remaking``. Until the new generation is there, the root answers as before.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from searchapp.encoder import Encoder
from searchapp.errors import IndexStoreError
from searchapp.index.ann.request import AnnRequest
from searchapp.index.building import PACKAGES
from searchapp.index.encoder_match import described, makes_the_same
from searchapp.index.reembedding import ReembedSettings
from searchapp.index.reencoding import TUNED, Reembedded, Reencoding, embedded_anew
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.manifest import Manifest, Reembedding
from searchapp.index.storage.writer import Writer
from searchapp.progress import Progress, Silent
from searchapp.provenance import package_versions
from searchapp.shards.combined import below
from searchapp.shards.place import BEGUN
from searchapp.shards.publish import MADE_BY
from searchapp.shards.remaking import Next, asked, forget, remake
from searchapp.shards.writer import RootWriter

VECTORS = "vectors"  # the directory below ``BEGUN`` in which new vectors gather
log = logging.getLogger("searchapp.index.reembed")


def reembed(
    path: Path,
    encoder: Encoder,
    settings: ReembedSettings | None = None,
    *,
    progress: Progress | None = None,
    disk: Disk | None = None,
) -> Reembedded:
    """Encode the documents of a root by another encoder, in place. An interrupted one goes on with the same encoder.

    Raises IndexStoreError where there is no root, another writes it, or its documents are damaged, and ModelError as
    encoding does; what was encoded stays.
    """
    settings, progress = settings or ReembedSettings(), progress or Silent()
    with RootWriter.update(path, disk) as writer:
        before = writer.generation
        if makes_the_same(before.encoder, described(encoder)):
            forget(path)
            return Reembedded(writer.state, path, already_done=True)
        request = settings.over(asked(before))
        request.check(encoder.dim, sum(one.documents for one in before.shards if not one.tail) or None)
        with _gathering(writer, encoder) as gathered:
            encoding = Reencoding(gathered, writer.snapshot, gathered.state, encoder, progress)
            made = _next(writer, gathered, encoding.run(), encoder)
            notices = list(encoding.notices)
            if any(part.lexical is not None and part.lexical.fusion is not None for part in writer.parts):
                notices.append(TUNED)
            manifest = _remade(writer, made, request, encoder, progress)
        forget(path)
        log.info("reembedded %s by %s", path, encoder.reference["model"])
        return encoding.outcome(manifest, path, notices)


def _remade(
    writer: RootWriter, made: list[Next], request: AnnRequest, encoder: Encoder, progress: Progress
) -> Manifest:
    settings = {name: value for name, value in writer.generation.settings.items() if name != MADE_BY}
    return remake(
        writer, made, request, encode=encoder.encode_queries, device=encoder.device, stage=progress.stage,
        encoder=described(encoder), dim=encoder.dim, versions=package_versions(PACKAGES), settings=settings,
    )  # fmt: skip


@contextmanager
def _gathering(writer: RootWriter, encoder: Encoder) -> Iterator[Writer]:
    """The directory in which new vectors gather, with what an earlier run left there; a damaged one begins anew."""
    folder = writer.root / BEGUN / VECTORS
    for _ in range(2):
        with Writer.open(folder, writer.disk) as gathered:
            if not gathered.notices:
                if gathered.manifest is None:
                    begun = Reembedding(described(encoder), encoder.dim)
                    gathered.commit(
                        Manifest(described(encoder), encoder.dim, writer.state.build, reembedding=begun).with_files()
                    )
                yield gathered
                return
        shutil.rmtree(folder)
    raise IndexStoreError(f"{folder} is damaged; remove it, and run the same command again")


def _next(writer: RootWriter, gathered: Writer, state: Reembedding, encoder: Encoder) -> list[Next]:
    """Every shard with its new vectors."""
    made = []
    for shard, before in zip(writer.generation.shards, writer.parts, strict=True):
        parts = [state.vectors[below(shard.name, one.documents_file)] for one in before.segments]
        segments = tuple(replace(one, vectors_file=part.file) for one, part in zip(before.segments, parts, strict=True))
        entries = {part.file: gathered.state.files[part.file] for part in parts}
        share = state.seconds * shard.documents / max(1, writer.snapshot.manifest.documents)
        manifest = embedded_anew(
            before, encoder, parts, share, {**before.files, **entries}, lexical=before.lexical, segments=segments
        )
        made.append(Next(shard, manifest, {name: gathered.path(name) for name in entries}))
    return made
