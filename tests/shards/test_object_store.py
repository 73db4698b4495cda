"""A build in an object store: fsspec's in memory, with faults put in its way, and stores that are refused."""

from __future__ import annotations

import random
import uuid

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from searchapp import Index
from searchapp.errors import IndexStoreError
from searchapp.index import Snapshot
from searchapp.shards import object_store
from searchapp.shards.chunk import done_ids, encode_chunk, missing
from searchapp.shards.fetching import fetch_root
from searchapp.shards.object_store import BLOCK, RemoteStore
from searchapp.shards.opening import open_index
from searchapp.shards.places import open_store
from searchapp.shards.plan import commit_plan, load_plan
from searchapp.shards.publish import finish
from searchapp.shards.root import load_root
from searchapp.shards.store import LocalStore
from tests.index.conftest import HashEncoder
from tests.shards.building import documents_of, planned, write_sources


class Faulty(MemoryFileSystem):
    """Answers one call in four with an error of the moment; of those that write, half were done all the same."""

    cachable = False

    def __init__(self, *arguments, seed: int = 0, **options) -> None:
        super().__init__(*arguments, **options)
        self.rng, self.armed, self.failures = random.Random(seed), False, 0

    def _fails(self) -> bool:
        found = self.armed and self.rng.random() < 0.25
        self.failures += found
        return found

    def pipe_file(self, path, value, mode="overwrite", **options):
        fails = self._fails()
        if not fails or self.rng.random() < 0.5:
            super().pipe_file(path, value, mode=mode, **options)
        if fails:
            raise OSError("503 Slow Down")

    def cat_file(self, path, start=None, end=None, **options):
        if self._fails():
            raise TimeoutError("no answer")
        return super().cat_file(path, start, end, **options)

    def ls(self, path, detail=True, **options):
        if self._fails():
            raise OSError("503 Slow Down")
        return super().ls(path, detail, **options)


class Overwriting(MemoryFileSystem):
    """A store without put-if-absent."""

    cachable = False

    def pipe_file(self, path, value, mode="overwrite", **options):
        super().pipe_file(path, value, mode="overwrite", **options)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(object_store, "PAUSE", 0.0)


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4().hex}/index"


def store_over(files, url, scratch):
    store = RemoteStore(files, url.removeprefix("memory:/"), url, scratch)
    store.probe()
    return store


def test_verbs(tmp_path, url):
    store = open_store(url, str(tmp_path))
    assert store.list() == [] and store.list("build") == []
    store.put_new("build/a", b"0123456789")
    with pytest.raises(FileExistsError):
        store.put_new("build/a", b"other")
    assert store.get("build/a") == b"0123456789" and store.range("build/a", 2, 5) == b"234"
    assert store.range("build/a", 3, 3) == b"" and store.range("build/a", 8, 99) == b"89"
    store.put_new("build/below/b", b"")
    assert store.list("build") == ["build/a"]
    with pytest.raises(FileNotFoundError):
        store.get("build/c")
    with pytest.raises(IndexStoreError, match="is no name of a file"):
        store.get("../secret")
    (tmp_path / "large").write_bytes(bytes(BLOCK + 3))
    store.upload(tmp_path / "large", "build/large")
    store.download("build/large", tmp_path / "back")
    assert (tmp_path / "back").stat().st_size == BLOCK + 3
    with pytest.raises(FileExistsError):
        store.upload(tmp_path / "large", "build/large")
    store.delete("build/a")
    store.delete("build/a")
    assert store.list("build") == ["build/large"]


def test_a_store_that_overwrites_is_refused(tmp_path, url):
    with pytest.raises(IndexStoreError, match="knows no put-if-absent"):
        store_over(Overwriting(), url, tmp_path)
    with pytest.raises(IndexStoreError, match="cannot be opened|pip install"):
        open_store("nosuchprotocol://bucket/x")


@pytest.mark.parametrize("seed", range(2))
def test_a_build_in_a_store_that_fails_now_and_then(tmp_path, url, seed):
    sources = write_sources(tmp_path / "in", rows=30)
    _, local = planned(tmp_path / "local", sources, tokens=150, shards=2)
    files = Faulty(seed=seed)
    store = store_over(files, url, tmp_path / "scratch")
    files.armed = True
    plan = commit_plan(store, local)
    for chunk in plan.chunks:
        assert encode_chunk(store, plan, chunk.number, HashEncoder())
    assert not missing(load_plan(store), done_ids(store))
    published = finish(store, plan, None)
    files.armed = False
    assert files.failures > 20 and load_root(store) == published.root
    for chunk in plan.chunks:
        encode_chunk(planned(tmp_path / "local", sources, tokens=150, shards=2)[0], local, chunk.number, HashEncoder())
    finish(planned(tmp_path / "local", sources, tokens=150, shards=2)[0], local, None)
    files.armed = True
    root, copied = fetch_root(store, tmp_path / "down")
    assert root == published.root and copied > 0
    assert fetch_root(store, tmp_path / "down") == (root, 0)  # all of it is here
    files.armed = False
    local_root = load_root(LocalStore(tmp_path / "local"))
    for shard, other in zip(root.shards, local_root.shards, strict=True):
        assert Snapshot.open(tmp_path / "down" / shard.folder).check() == {}
        assert documents_of(tmp_path / "down" / shard.folder) == documents_of(tmp_path / "local" / other.folder)
    index = Index(open_index(tmp_path / "down"), HashEncoder())
    assert index.search("birds sing 7 songs", k=1)
    victim = next((tmp_path / "down" / root.shards[0].folder / "data").glob("vectors-*"))
    victim.write_bytes(b"x" + victim.read_bytes()[1:])
    assert fetch_root(store, tmp_path / "down")[1] == victim.stat().st_size  # what was damaged here comes again
    name = f"{root.shards[0].folder}/data/{victim.name}"
    store.delete(name)
    store.put_new(name, b"x" * victim.stat().st_size)
    victim.unlink()
    with pytest.raises(IndexStoreError, match="does not match its checksum"):
        fetch_root(store, tmp_path / "down")
    assert not list((tmp_path / "scratch").iterdir())


def test_a_store_that_is_gone_says_so(tmp_path, url):
    files = Faulty()
    store = store_over(files, url, tmp_path)
    files.armed, files._fails = True, lambda: True
    with pytest.raises(IndexStoreError, match="does not answer for build/x .no answer.; try it later"):
        store.get("build/x")


def test_no_message_says_a_password():
    class Telling(MemoryFileSystem):
        def pipe_file(self, path, value, mode="overwrite", **options):
            raise OSError("cannot reach sftp://me:s3cret@host/index")

    store = RemoteStore(Telling(), "index", "sftp://me:s3cret@host/index")
    assert store.name == "sftp://me@host/index"
    with pytest.raises(IndexStoreError, match=r"sftp://me@host/index cannot be written \(") as error:
        store.probe()
    assert "s3cret" not in str(error.value)
