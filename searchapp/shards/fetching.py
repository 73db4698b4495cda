"""An index in an object store, copied to this machine to be searched: only what is not here yet, by checksum."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable
from pathlib import Path

from searchapp.errors import IndexStoreError, reason_of
from searchapp.index.storage.directory import FileEntry, checksum, reaching
from searchapp.index.storage.manifest_json import CorruptManifestError, load
from searchapp.shards.collecting import collect
from searchapp.shards.root import Root, Shard, load_root, root_name
from searchapp.shards.store import LocalStore, Store, fetch, put_or_same

log = logging.getLogger(__name__)


def fetch_root(store: Store, folder: Path, *, stage: Callable[[str], None] | None = None) -> tuple[Root, int]:
    """Copy the newest generation of a root to a folder; returns it and how many bytes had to be copied.

    The root comes last, so that readers of the folder see it whole or not at all; then what it does not need goes.
    Raises IndexStoreError where a file
    is missing or damaged, or the folder holds another root under this generation.
    """
    root = load_root(store, where=store.name)
    local = LocalStore(folder)
    name = root_name(root.generation)
    data, copied = store.get(name), 0
    for number, shard in enumerate(root.shards):
        if stage is not None:
            stage(f"fetching shard {number + 1} of {len(root.shards)}")
        copied += _fetch_shard(store, local, shard)
    if not put_or_same(local, name, data) and local.get(name) != data:
        raise IndexStoreError(
            f"{folder} has another generation {root.generation} than {store.name}; give a folder of its own"
        )
    try:
        collect(local, local.disk)
    except OSError as error:  # what could not be removed now is after the next fetch
        log.warning("what %s does not need any more could not be removed: %s", folder, reason_of(error))
    return root, copied


def _fetch_shard(store: Store, local: LocalStore, shard: Shard) -> int:
    """Copy the files of a shard that are not here, its manifest last; returns their bytes."""
    content = store.get(shard.file)
    if hashlib.sha256(content).hexdigest() != shard.sha256:
        raise IndexStoreError(f"{store.name}: {shard.file} is not what the root names; fetch it again, or repair it")
    folder, copied = local.root / shard.folder, 0
    with reaching(folder):
        (folder / "data").mkdir(parents=True, exist_ok=True)
        for name, entry in _files(folder, content).items():
            path = folder / "data" / name
            if path.exists() and path.stat().st_size == entry.size and checksum(path) == entry.checksum:
                continue
            path.unlink(missing_ok=True)
            fetch(store, f"{shard.folder}/data/{name}", path, entry)
            copied += entry.size
        local.disk.sync_directory(folder / "data")
    if not put_or_same(local, shard.file, content) and local.get(shard.file) != content:
        raise IndexStoreError(f"{folder} holds another state under {shard.file}; give a folder of its own")
    return copied


def _files(folder: Path, content: bytes) -> dict[str, FileEntry]:
    """The data files that a manifest names."""
    draft = folder / f"tmp-{uuid.uuid4().hex}"
    try:
        draft.write_bytes(content)
        return load(draft).files
    except CorruptManifestError as error:
        raise IndexStoreError(f"a manifest of {folder.name} is damaged ({error}); build it again") from error
    finally:
        draft.unlink(missing_ok=True)
