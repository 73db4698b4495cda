"""Opens what a path holds: one index, or a root of shards, behind the same interface."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from searchapp.errors import IndexStoreError
from searchapp.index import Snapshot, VectorIndex
from searchapp.index.storage.commits import numbered
from searchapp.index.storage.directory import reaching
from searchapp.index.storage.snapshot import ATTEMPTS
from searchapp.shards.kind import is_root

if TYPE_CHECKING:  # what only a root needs is imported where there is one
    from searchapp.shards.combined import CombinedSnapshot
    from searchapp.shards.root import Root
    from searchapp.shards.sharded import ShardedIndex

MOST_ROWS = 2**31 - 1  # rows are 32-bit numbers in postings
log = logging.getLogger(__name__)


def open_index(path: str | Path, device: str = "cpu") -> VectorIndex:
    """Open the newest state of an index, or of a root of shards, for searching. Raises IndexStoreError."""
    return open_root(path, device) if is_root(path) else VectorIndex.open(path, device)


def open_snapshot(path: str | Path, *, ready: bool = False) -> Snapshot:
    """Open the newest state of an index, or of a root of shards, for reading. Raises IndexStoreError."""
    return _snapshot(Path(path), None, None)[0] if is_root(path) else Snapshot.open(Path(path), ready=ready)


def open_root(
    path: str | Path,
    device: str = "cpu",
    *,
    generation: int | None = None,
    names: Sequence[str] | None = None,
    all_there: bool = True,
) -> ShardedIndex:
    """Open a generation of a root, by default the newest, with all of its shards or those that names stand for.

    Raises IndexStoreError for a root or a shard that is missing or damaged, and, with ``all_there``, for a name that
    stands for none: see ``Root.named``.
    """
    from searchapp.shards.sharded import ShardedIndex

    snapshot, root = _snapshot(Path(path), generation, names, all_there)
    index = ShardedIndex(snapshot, root, device)
    count = len(snapshot.shards)
    documents = index.manifest.documents
    log.info("opened %s: %d documents in %d shards, generation %d", path, documents, count, root.generation)
    return index


def states(path: str | Path) -> list[tuple[int, Path]]:
    """Numbers and manifest files of the states of an index or a root, newest first. Raises OSError."""
    if not is_root(path):
        return numbered(Path(path))
    from searchapp.shards.place import LocalPlace
    from searchapp.shards.root import generations, root_name

    place = LocalPlace(path)
    return [(number, place.path(root_name(number))) for number in generations(place)]


def targets_of(index: VectorIndex) -> dict[str, float]:
    """The targets that an index was asked to meet, or a root with all of its shards."""
    root = getattr(index, "root", None)
    found = index.manifest.build.targets if root is None else root.settings.get("targets", {})
    return dict(found)


def _snapshot(
    path: Path, generation: int | None, names: Sequence[str] | None, all_there: bool = True
) -> tuple[CombinedSnapshot, Root]:
    from searchapp.shards.combined import CombinedSnapshot
    from searchapp.shards.place import LocalPlace
    from searchapp.shards.root import generations, load_root, root_name

    place = LocalPlace(path)
    with reaching(path):
        for _ in range(ATTEMPTS):
            root = load_root(place, generation, where=str(path))
            shards = root.shards if names is None else root.named(names, all_there=all_there)
            shards = tuple(sorted(shards, key=lambda shard: shard.base))
            if (rows := sum(shard.rows for shard in shards)) > MOST_ROWS:
                raise IndexStoreError(
                    f"the shards hold {rows:,} documents, one process searches {MOST_ROWS:,} at most; serve them from "
                    "several: `searchapp serve ROOT --shards A,B`"
                )
            parts = []
            for shard in shards:
                part = Snapshot.numbered(path / shard.folder, shard.manifest, bytes.fromhex(shard.sha256))
                if part is None:
                    break
                parts.append(part)
            else:
                snapshot = CombinedSnapshot(path, root, shards, parts)
                snapshot.watch(place.path(root_name(root.generation)).open("rb"))
                return snapshot, root
            if generations(place)[:1] == [root.generation] or generation is not None:
                raise IndexStoreError(
                    f"{path} is damaged: generation {root.generation} names manifest {shard.manifest} of the shard "
                    f"{shard.name}, which is not there"
                )
    raise IndexStoreError(f"{path} changes too fast to be opened; try again")
