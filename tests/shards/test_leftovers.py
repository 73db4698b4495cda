"""What a root keeps of a build that goes on, removes of runs that were stopped, and refuses of names that lead away."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import searchapp
from searchapp.errors import IndexStoreError
from searchapp.index.storage.directory import Disk, FileEntry
from searchapp.index.storage.manifest_json import CorruptManifestError, dump, load
from searchapp.shards import collecting, publish, updating, writer
from searchapp.shards.chunk import DATA, encode_chunk
from searchapp.shards.fetching import fetch_root
from searchapp.shards.publish import finish, start_again
from searchapp.shards.root import commit_root, load_root, manifest_name
from searchapp.shards.split import split
from searchapp.shards.store import LocalStore
from tests.index.conftest import HashEncoder
from tests.index.power import Unsynced
from tests.shards.building import planned, write_sources

TEXTS = {"a": "one bee", "b": "two ants", "c": "three cats", "d": "four dogs"}


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Disk, "sync", lambda *_: None)
    monkeypatch.setattr(Disk, "sync_directory", lambda *_: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    searchapp.build(TEXTS, tmp_path / "one", vectors=np.eye(4, dtype=np.float32), progress=False)
    split(tmp_path / "one", tmp_path / "root", 2)
    return tmp_path / "root"


def _encoded(root: Path, sources: list[str]):
    store, plan = planned(root, sources, tokens=300)
    for number in range(len(plan.chunks)):
        encode_chunk(store, plan, number, HashEncoder())
    return store, plan


def _aged(folder: Path) -> None:
    old = time.time() - 2 * collecting.ORPHANED
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (old, old))


def test_a_writer_leaves_the_shards_of_a_build_of_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = write_sources(tmp_path / "in", rows=12)
    store, plan = _encoded(tmp_path / "root", sources)
    first = finish(store, plan, None).root
    names = [document.id for document in searchapp.Index.open(store.root)]
    start_again(store)
    store, plan = _encoded(tmp_path / "root", sources)
    committed = publish._publish

    def late(store, plan, done, shards, shared):
        for one in shards:
            _aged(store.root / one.shard.folder)
        assert updating.delete(store.root, names[:1]).deleted == 1
        return committed(store, plan, done, shards, shared)

    monkeypatch.setattr(publish, "_publish", late)
    made = finish(store, plan, None).root
    assert made.generation == first.generation + 2
    assert made.epoch > first.epoch
    assert [document.id for document in searchapp.Index.open(store.root)] == names


def test_a_shard_that_is_gone_is_made_anew_and_never_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, plan = _encoded(tmp_path / "root", write_sources(tmp_path / "in", rows=12))
    committed = publish._publish

    def gone(store, plan, done, shards, shared):
        (store.root / shards[0].shard.file).unlink()
        return committed(store, plan, done, shards, shared)

    monkeypatch.setattr(publish, "_publish", gone)
    with pytest.raises(IndexStoreError, match="lacks the shard"):
        finish(store, plan, None)
    assert not list(store.root.glob("root-*"))
    monkeypatch.setattr(publish, "_publish", committed)
    finish(store, plan, None)
    assert len(searchapp.Index.open(store.root)) > 30


def test_a_run_that_stops_between_publishing_and_clearing_leaves_nothing_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, plan = _encoded(tmp_path / "root", write_sources(tmp_path / "in", rows=12))
    with monkeypatch.context() as patch:
        patch.setattr(publish, "clear", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finish(store, plan, None)
    assert store.list(DATA)
    assert finish(store, plan, None).already_done
    assert not store.list(DATA)


def test_what_a_killed_writer_left_is_removed_once_it_is_old(root: Path) -> None:
    left = [root / "shards" / f"{kind}-{age}" for kind in ("tmp", "files") for age in ("old", "new")]
    for path in left:
        path.write_bytes(b"x")
        if path.name.endswith("old"):
            os.utime(path, (1, 1))
    searchapp.Index.open(root).delete(["a"])
    assert [path.name for path in left if path.exists()] == ["tmp-new", "files-new"]


def test_a_damaged_older_generation_stops_no_write(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    index = searchapp.Index.open(root)
    index.delete(["a"])
    damaged = root / "root-0000000001.json"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    before = set(root.rglob("manifest-*.json"))
    with caplog.at_level(logging.WARNING):
        assert index.add({"z": "zed"}, vectors=np.ones((1, 4)), progress=False).added == 1
    assert sum("root-0000000001.json" in record.message for record in caplog.records) == 1
    assert before <= set(root.rglob("manifest-*.json"))
    for number in range(9):
        index.add({f"y{number}": "zed"}, vectors=np.ones((1, 4)), progress=False)
    assert not damaged.exists()


@pytest.mark.parametrize("name", ["../../../../victim.txt", "/victim.txt", "a/b", "..", ".hidden", "", "a\\b", "a\n"])
def test_a_manifest_that_names_a_file_elsewhere_is_refused(root: Path, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "mirrors" / "victim.txt"
    victim.parent.mkdir()
    victim.write_text("precious")
    store = LocalStore(root, Unsynced())
    before = load_root(store)
    shard = before.shards[0]
    good = load(root / shard.file)
    for bad in (
        replace(good, files={**good.files, name: FileEntry(1, "00")}, number=99),
        replace(good, segments=(replace(good.segments[0], documents_file=name or "/"), *good.segments[1:]), number=99),
        replace(good, ledger=(name,), number=99),
    ):
        path = root / shard.folder / manifest_name(99)
        path.write_bytes(dump(bad))
        with pytest.raises(CorruptManifestError, match="names a file"):
            load(path)
    changed = replace(shard, manifest=99, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    commit_root(store, replace(before, shards=(changed, *before.shards[1:]), generation=2))
    with pytest.raises(IndexStoreError, match="names a file"):
        fetch_root(store, tmp_path / "mirrors" / "mirror")
    assert victim.read_text() == "precious"


def test_a_mirror_holds_no_more_than_what_it_copies(root: Path, tmp_path: Path) -> None:
    index, mirror = searchapp.Index.open(root), tmp_path / "mirror"
    for number in range(11):
        index.delete([f"y{number - 1}"])
        index.add({f"y{number}": f"zed{number}"}, vectors=np.ones((1, 4)), progress=False)
        fetch_root(LocalStore(root, Unsynced()), mirror)
    assert len(list(mirror.glob("root-*"))) <= collecting.KEPT
    assert len(searchapp.Index.open(mirror)) == len(index)


def test_a_copy_has_its_name_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no hard link can be made, a copy that was stopped is not taken for the file."""

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refused)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"abc" * 1000)

    class Stopping(Disk):
        def sync(self, file) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.linked(source, target, Stopping())
    assert not target.exists()
    writer.linked(source, target, Disk())
    assert target.read_bytes() == source.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]
