"""Folding: rows that are searched exactly beside the FAISS index are added to it once there are many of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.ann.build_ann import build_ann
from searchapp.index.ann.files import check_written, read_whole, write_index
from searchapp.index.ann.request import AnnRequest
from searchapp.index.ann.rules import AnnConfig
from searchapp.index.ann.train import add
from searchapp.index.drift import drift, drift_notice
from searchapp.index.reader import VectorIndex
from searchapp.index.storage.manifest import Ann, Manifest
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer

FRESH_NUMBERS = 1 << 24  # numbers (rows x dim) compared exactly with each query: a few milliseconds of one core
FEW_NUMBERS = 1 << 17  # that are always left so: some 20 microseconds
FRESH_SHARE = 512  # of the numbers of an index, one in so many is left so: its file is written anew with each fold
EXACT_NUMBERS = 1 << 22  # of an exact index beyond which writing it anew takes longer than many searches
REMEASURED = 20  # one in so many of the rows an index was trained on is new before its recall is measured again
Stage = Callable[[str], None]


@dataclass(frozen=True)
class Extended:
    """The state whose FAISS index has all rows, and what there is to say of it."""

    manifest: Manifest
    notices: tuple[str, ...] = ()


def extend_index(writer: Writer, stage: Stage | None = None) -> Extended | None:
    """Add the unindexed rows to the FAISS index and commit it, if there are many; None where there are few.

    A trained index takes them as it is, without being trained again, and its recall is measured before and after. An
    exact one is written anew; so is any that turns out not to take them.
    """
    manifest, tell = writer.state, stage or (lambda _: None)
    if manifest.unindexed_rows * manifest.dim <= _left(manifest):
        return None
    if manifest.ann is not None and manifest.ann.factory != "Flat":
        tell(f"folding {manifest.unindexed_rows:,} documents into {manifest.ann.factory}")
        try:
            extended = _extended(writer, manifest, manifest.ann)
        except IndexStoreError:
            pass
        else:
            committed = writer.commit(extended)
            notice = drift_notice(committed, writer.root)
            return Extended(committed, (notice,) if notice else ())
    return rebuilt(writer, manifest, tell)


def _left(manifest: Manifest) -> int:
    """The numbers of fresh rows up to which these are compared exactly with each query."""
    whole = manifest.rows * manifest.dim
    if manifest.ann is not None and manifest.ann.is_exact and whole > EXACT_NUMBERS:
        return FRESH_NUMBERS
    return min(FRESH_NUMBERS, max(FEW_NUMBERS, whole // FRESH_SHARE))


def rebuilt(writer: Writer, manifest: Manifest, stage: Stage) -> Extended:
    """Make the reduction and the FAISS index again after a manifest and commit it.

    Where documents are too few for them, everything is searched exactly, and that is said.
    """
    if manifest.documents:
        try:
            return Extended(build_ann(writer, AnnRequest.of(manifest.build), manifest=manifest, stage=stage))
        except IndexStoreError as error:
            notice = f"searched exactly, without reduction and FAISS index, until there are more documents: {error}"
    else:
        notice = "no documents are left; the index is empty"
    return Extended(writer.commit(manifest.bare(state="ready")), (notice,))


def _extended(writer: Writer, manifest: Manifest, ann: Ann) -> Manifest:
    """The manifest with a FAISS index to which the fresh rows were added."""
    before = VectorIndex(Snapshot.of(writer, manifest))
    whole = read_whole(writer.path(ann.file))
    blocks = before.vectors.blocks(start=ann.rows)
    config = AnnConfig(ann.factory, ann.candidates, ann.parameters)
    projection = before.reduction
    add(config, whole, (projection.apply(block) if projection else block for block in blocks))
    with writer.draft("faiss") as (name, draft, files):
        write_index(draft, whole)
    first = before.vectors.gather(np.arange(1))
    check_written(writer.path(name), config, manifest.rows, projection.apply(first) if projection else first)
    after = manifest.with_files(ann=replace(ann, file=name, rows=manifest.rows), files=files)
    if (known := manifest.drift) is not None and REMEASURED * (manifest.rows - known.rows) < known.first:
        return replace(after, drift=known)  # measuring compares every row, and so few move nothing
    return replace(after, drift=drift(before, VectorIndex(Snapshot.of(writer, after))))
