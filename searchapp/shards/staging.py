"""What an unfinished add to a root has encoded: its files lie in the tail, a record beside the root names them.

It is no part of a generation. The next add goes on with it, as long as the tail and the encoder are the same and its
files are there.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

from searchapp.errors import SearchAppError
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.manifest import Build, Manifest
from searchapp.index.storage.manifest_json import CorruptManifestError, dump, load
from searchapp.shards.root import FOLDER, Root

FILE = "staged.json"


def save_staged(root: Path, state: Manifest, disk: Disk) -> None:
    """Record what a state has staged, durably; its files are synced already."""
    record = Manifest(state.encoder, state.dim, Build(()), files=state.files).with_files(staged=state.staged)
    draft = root / f"tmp-{uuid.uuid4().hex}"
    with disk.create(draft) as file:
        file.write(dump(record))
    disk.replace(draft, root / FILE)
    disk.sync_directory(root)


def load_staged(root: Path, generation: Root) -> tuple[Manifest, str] | None:
    """A state with what is staged and its files, and the tail that has them; None where nothing can be gone on with."""
    try:
        found = load(root / FILE, parts=3)
    except (OSError, ValueError, KeyError, TypeError, CorruptManifestError, SearchAppError):
        return None
    tails = {name.partition("/")[0] for name in found.files}
    if found.staged is None or len(tails) != 1:
        return None
    (tail,) = tails
    current = generation.tail.name if generation.tail is not None else tail
    if tail != current or (generation.tail is None and tail in {one.name for one in generation.shards}):
        return None
    if found.encoder.get("fingerprint") != generation.encoder.get("fingerprint") or found.dim != generation.dim:
        return None
    for name, entry in found.files.items():
        path = root / FOLDER / name
        if not path.is_file() or path.stat().st_size != entry.size:
            return None
    return found, tail


def forget_staged(root: Path, disk: Disk) -> None:
    """Remove the record; its files are those of a generation, or are removed in time."""
    if (root / FILE).exists():
        disk.remove(root / FILE)
        disk.sync_directory(root)


def with_staged(state: Manifest, found: Manifest) -> Manifest:
    """The state of all shards with what is staged."""
    return replace(state, staged=found.staged, files={**state.files, **found.files})
