"""Changes a root as a writer changes one index: what is written is seen whole, with the next generation, or not at all.

A shard's files never change. New documents go to the tail, a shard of its own; a document that is gone is marked in its
shard; each shard that differs gets a new manifest, and one root manifest names them all. Nothing that an older
generation names is touched, so that a writer that was stopped halfway leaves files that nobody names.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index import Writer
from searchapp.index.storage.commits import numbered
from searchapp.index.storage.deletions import read_deleted
from searchapp.index.storage.directory import ChecksumWriter, Disk, FileEntry, reaching
from searchapp.index.storage.ledger import write_ledger
from searchapp.index.storage.manifest import Lexical, Manifest, Tombstones
from searchapp.index.storage.manifest_json import dump, load
from searchapp.shards.collecting import collect
from searchapp.shards.combined import CombinedSnapshot, below, combined, statistics
from searchapp.shards.lease import SECONDS, Lease, leased
from searchapp.shards.opening import open_root
from searchapp.shards.place import LocalPlace
from searchapp.shards.root import (
    FOLDER,
    Root,
    Shard,
    base_name,
    based,
    commit_root,
    manifest_name,
    shard_of,
)
from searchapp.shards.staging import forget_staged, load_staged, save_staged, with_staged


class RootWriter(Writer):
    """The one process that changes a root. ``manifest`` is the state of all shards together."""

    def __init__(self, path: Path, root: Root, snapshot: CombinedSnapshot, lease: Lease, disk: Disk) -> None:
        super().__init__(path, snapshot.manifest, [], disk)
        self._data = path / FOLDER
        self.generation = root
        self.place = LocalPlace(path, disk)
        self._snapshot = snapshot  # which holds the files of all shards
        self._lease = lease
        self._tail = root.tail.name if root.tail is not None else new_name("t")
        self._temporary: list[Path] = []
        self._adds = False  # what is staged is its own
        if snapshot.manifest.tombstones is not None:
            self.manifest = self._with_bitmap(snapshot)
        if not root.intake and len(snapshot.manifest.ledger) > 1:
            self.manifest = self._with_one_ledger(snapshot)
        self._given = self.state

    @classmethod
    @contextmanager
    def adding(cls, root: Path, disk: Disk | None = None, *, seconds: float = SECONDS) -> Iterator[RootWriter]:
        """``update`` for an add: with what an add that was interrupted had encoded."""
        with cls.update(root, disk, seconds=seconds) as writer:
            if (found := load_staged(root, writer.generation)) is not None:
                staged, writer._tail = found
                writer.manifest = with_staged(writer.state, staged)
            writer._adds = True
            yield writer

    @classmethod
    @contextmanager
    def update(cls, root: Path, disk: Disk | None = None, *, seconds: float = SECONDS) -> Iterator[RootWriter]:
        """Open a root for writing, alone. Raises IndexStoreError where there is none, or another writes it."""
        disk = disk or Disk()
        with leased(LocalPlace(root, disk), str(root), seconds) as lease:
            index = open_root(root)
            snapshot = index.snapshot
            assert isinstance(snapshot, CombinedSnapshot)  # noqa: S101 - a ShardedIndex has no other
            with cls.over(root, index.root, snapshot, lease, disk) as writer:
                yield writer

    @classmethod
    @contextmanager
    def over(cls, path: Path, root: Root, snapshot: CombinedSnapshot, lease: Lease, disk: Disk) -> Iterator[RootWriter]:
        """Write the generation after ``root``, whose states are held by ``snapshot``, under a lease."""
        writer = cls(path, root, snapshot, lease, disk)
        try:
            yield writer
        finally:
            for temporary in writer._temporary:
                temporary.unlink(missing_ok=True)

    @property
    def parts(self) -> tuple[Manifest, ...]:
        """The manifest of each shard, in order."""
        return tuple(part.manifest for part in self._snapshot.parts)

    @property
    def snapshot(self) -> CombinedSnapshot:
        """The states of all shards, held."""
        return self._snapshot

    @property
    def spill(self) -> Path:
        """A folder on the disk of the root for temporary files without a name."""
        return self._data

    @contextmanager
    def draft(self, kind: str) -> Iterator[tuple[str, ChecksumWriter, dict[str, FileEntry]]]:
        """Write one new data file, into the tail."""
        with self.draft_in(self._tail, kind) as found:
            yield found

    @contextmanager
    def draft_in(self, shard: str, kind: str) -> Iterator[tuple[str, ChecksumWriter, dict[str, FileEntry]]]:
        """Write one new data file of a shard."""
        name = below(shard, f"{kind}-{uuid.uuid4().hex}")
        entries: dict[str, FileEntry] = {}
        with reaching(self._data):
            self._make(self._data / shard / "data")
            with self._disk.create(self._data / name) as draft:
                yield name, draft, entries
        entries[name] = draft.entry

    def commit(self, manifest: Manifest) -> Manifest:
        """Publish the next generation. What is staged is recorded beside it, for the add that goes on with it."""
        if manifest.staged is not None:
            with reaching(self.root):
                self._lease.check()
                self._disk.sync_directory(self._data / self._tail / "data")
                save_staged(self.root, manifest, self._disk)
            self.manifest = manifest
            return manifest
        deleted = self._deleted(manifest)
        shards, begin = [], 0
        for shard, part in zip(self.generation.shards, self._snapshot.parts, strict=True):
            gone = deleted[begin : begin + shard.rows]
            begin += shard.rows
            if shard.tail:
                continue
            same = np.array_equal(gone, part.deleted)
            shards.append(shard if same else shard_of(shard.name, self._marked(shard.name, part.manifest, gone)))
        intake = self.generation.intake
        begin = sum(shard.rows for shard in shards)
        if (tail := self._tail_of(manifest, deleted[begin:])) is not None:
            shards.append(shard_of(self._tail, tail, tail=True))
            intake = self._tail if self._says(manifest) else intake
        elif self.generation.tail is not None:
            shards.append(self.generation.tail)
        published = self.publish(tuple(shards), intake)
        if self._adds:
            with suppress(OSError):
                forget_staged(self.root, self._disk)
        return published

    def publish(self, shards: tuple[Shard, ...], intake: str, **changes: Any) -> Manifest:
        """Commit a generation of these shards, whose manifests are there; then remove what is not needed any more.

        ``changes`` are other fields of the root. Raises IndexStoreError where another writer has taken over.
        """
        root = replace(
            self.generation,
            shards=based(shards),
            generation=self.generation.generation + 1,
            intake=intake,
            epoch=self._lease.epoch,
            **changes,
        )
        with reaching(self.root):
            snapshot = snapshot_of(self.root, root)
            root = replace(root, statistics=statistics(snapshot))
            self._lease.check()
            commit_root(self.place, root)
        self.generation, self._snapshot = root, snapshot
        self.manifest = combined(root, root.shards, self.parts)
        with suppress(OSError):  # what could not be removed now is at the next commit
            collect(self.place, self._disk, own={path.name for path in self._temporary})
        return self.manifest

    def copied(self, shard: Shard) -> str:
        """The name of a new shard with the same files, which is no part of a generation yet."""
        name = new_name(shard.name)
        target = self.root / FOLDER / name
        self._make(target / "data")
        with reaching(target):
            for file in load(self.root / shard.file).files:
                linked(self.root / shard.folder / "data" / file, target / "data" / file, self._disk)
            self.place.put_new(f"{FOLDER}/{name}/{manifest_name(shard.manifest)}", self.place.get(shard.file))
        return name

    def _with_bitmap(self, snapshot: CombinedSnapshot) -> Manifest:
        """The state with its deletions in one file, as the verbs of one index read them."""
        name = f"tmp-{uuid.uuid4().hex}"
        path = self._data / name
        path.write_bytes(np.packbits(snapshot.deleted, bitorder="little").tobytes())
        self._temporary.append(path)
        count = int(snapshot.deleted.sum())
        entry = FileEntry(path.stat().st_size, "")
        return snapshot.manifest.with_files(tombstones=Tombstones(name, name, count), files={name: entry})

    def _with_one_ledger(self, snapshot: CombinedSnapshot) -> Manifest:
        """The state with the ledgers of all shards in one, in which a file that several shards hold has one entry."""
        name = f"files-{uuid.uuid4().hex}"
        with self._disk.create(self._data / name) as draft:
            write_ledger(draft, snapshot.ledger())
        self._temporary.append(self._data / name)
        return self.state.with_files(ledger=(name,), files={name: draft.entry})

    def _deleted(self, manifest: Manifest) -> np.ndarray:
        if manifest.tombstones is None:
            return np.zeros(manifest.rows, dtype=bool)
        return read_deleted(self._data, manifest.tombstones, manifest.rows)

    def _marked(self, name: str, manifest: Manifest, gone: np.ndarray) -> Manifest:
        """Put the next manifest of a shard, in which other rows are deleted."""
        tombstones, files = self._stones(name, gone)
        return self._put(name, manifest.with_files(tombstones=tombstones, files=files))

    def _stones(self, name: str, gone: np.ndarray) -> tuple[Tombstones | None, dict[str, FileEntry]]:
        if not gone.any():
            return None, {}
        bits, names = np.packbits(gone, bitorder="little").tobytes(), []
        files: dict[str, FileEntry] = {}
        for _ in range(2):
            with self.draft_in(name, "deleted") as (file, draft, entries):
                draft.write(bits)
            names.append(_inside(file))
            files |= {_inside(one): entry for one, entry in entries.items()}
        return Tombstones(names[0], names[1], int(gone.sum())), files

    def _put(self, name: str, manifest: Manifest) -> Manifest:
        folder = self.root / FOLDER / name
        self._make(folder / "data")
        self._disk.sync_directory(folder / "data")
        number = 1 + max([0, *(one for one, _ in numbered(folder))])
        manifest = replace(manifest, number=number)
        try:
            self.place.put_new(f"{FOLDER}/{name}/{manifest_name(number)}", dump(manifest))
        except FileExistsError as error:
            raise IndexStoreError(f"another writer changes the shard {name}; run the same command again") from error
        return manifest

    def _says(self, manifest: Manifest) -> bool:
        """Whether a state says other things of its sources than the one before."""
        before = self._given
        names = ("sources", "ledger", "additions", "rejections", "scheme", "cut")
        return any(getattr(manifest, name) != getattr(before, name) for name in names)

    def _tail_of(self, manifest: Manifest, gone: np.ndarray) -> Manifest | None:
        """Put the next manifest of the tail; None where it stays as it is, or there is none."""
        segments = [one for one in manifest.segments if _shard(one.documents_file) == self._tail]
        tail = self.generation.tail
        before = self._snapshot.parts[-1].manifest if tail is not None else None
        known = 0 if before is None else before.rows
        rows = sum(one.count for one in segments)
        is_new = rows > known or self._says(manifest)
        if not is_new and (before is None or np.array_equal(gone, self._snapshot.parts[-1].deleted)):
            return None
        base = segments[0].base if segments else 0
        parts = tuple(
            replace(
                one, base=one.base - base, documents_file=_inside(one.documents_file),
                vectors_file=_inside(one.vectors_file), hashes_file=_inside(one.hashes_file),
            )
            for one in segments
        )  # fmt: skip
        lexical: Lexical | None = None
        if manifest.lexical is not None:
            own = {rows: name for rows, name in manifest.lexical.files.items() if _shard(rows) == self._tail}
            lexical = replace(manifest.lexical, files={_inside(one): _inside(name) for one, name in own.items()})
        stones, files = self._stones(self._tail, gone)
        files |= {_inside(name): entry for name, entry in manifest.files.items() if _shard(name) == self._tail}
        state = Manifest(
            manifest.encoder, manifest.dim, manifest.build, state="ready", rows=rows, segments=parts, lexical=lexical,
            tombstones=stones, versions=manifest.versions, scheme=manifest.scheme, cut=manifest.cut,
            sources=manifest.sources, files=files,
        )  # fmt: skip
        if self._says(manifest) or self.generation.intake == self._tail:
            state = self._with_facts(state, manifest)
        return self._put(self._tail, state.with_files())

    def _with_facts(self, state: Manifest, manifest: Manifest) -> Manifest:
        """The state with the ledger, the additions and the rejections of all shards, whose files are linked here."""
        files = dict(state.files)

        def here(names: tuple[str, ...]) -> tuple[str, ...]:
            for name in names:
                if _shard(name) != self._tail:
                    linked(self._data / name, self._data / below(self._tail, _inside(name)), self._disk)
                files[_inside(name)] = manifest.files[name]
            return tuple(_inside(name) for name in names)

        additions = tuple(replace(one, rejections=here(one.rejections)) for one in manifest.additions)
        ledger, rejections = here(manifest.ledger), here(manifest.rejections)
        return replace(state, files=files, ledger=ledger, rejections=rejections, additions=additions)

    def _make(self, folder: Path) -> None:
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        for place in reversed(missing):
            place.mkdir(exist_ok=True)
            self._disk.sync_directory(place.parent)


def snapshot_of(path: Path, root: Root) -> CombinedSnapshot:
    """The states that a root names, which need not be published, held."""
    from searchapp.index import Snapshot

    parts = []
    for shard in root.shards:
        part = Snapshot.numbered(path / shard.folder, shard.manifest, bytes.fromhex(shard.sha256))
        if part is None:
            raise IndexStoreError(f"manifest {shard.manifest} of the shard {shard.name} is gone; run the command again")
        parts.append(part)
    return CombinedSnapshot(path, root, root.shards, parts)


def new_name(base: str) -> str:
    """A name of a shard that no other has: that of the one it comes from, and chance."""
    return f"{base_name(base)[:40].rstrip('-')}-{uuid.uuid4().hex[:8]}"


def _shard(name: str) -> str:
    """The shard of a file of the combined state."""
    return name.partition("/")[0]


def _inside(name: str) -> str:
    """The name of a file within its shard."""
    return name.rpartition("/")[2]


def linked(source: Path, target: Path, disk: Disk) -> None:
    """The same bytes under another name: a hard link, else a copy, which has that name when it is whole and durable."""
    if target.exists():
        return
    try:
        target.hardlink_to(source)
    except OSError:
        copy = target.with_name(f"tmp-{uuid.uuid4().hex}")
        try:
            with disk.create(copy) as draft, source.open("rb") as file:
                while data := file.read(1 << 20):
                    draft.write(data)
            copy.replace(target)
        finally:
            copy.unlink(missing_ok=True)
        disk.sync_directory(target.parent)
