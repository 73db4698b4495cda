"""A coordinator and shard servers that lag, or that names were given to before an add and a compaction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import searchapp
from searchapp.index.storage.directory import Disk
from searchapp.serve.problem import ProblemError
from searchapp.serve.served import Models, Served
from searchapp.serve.shard_mount import _answered
from searchapp.shards.fetching import fetch_root
from searchapp.shards.peers import PeerAddress, StaleGenerationError
from searchapp.shards.remote import Cluster
from searchapp.shards.split import split
from searchapp.shards.store import LocalStore
from searchapp.shards.wire import pack, unpack

TEXTS = {"a": "one bee", "b": "two ants", "c": "three cats", "d": "four dogs"}
ONE = np.eye(4, dtype=np.float32)[:1]


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Disk, "sync", lambda *_: None)
    monkeypatch.setattr(Disk, "sync_directory", lambda *_: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    searchapp.build(TEXTS, tmp_path / "one", vectors=np.eye(4, dtype=np.float32), progress=False)
    split(tmp_path / "one", tmp_path / "root", 2)
    return tmp_path / "root"


def _joined(servers: list[Served], names: list[str]) -> Cluster:
    """A cluster whose requests are answered in this process."""
    cluster = Cluster([PeerAddress.of(f"http://127.0.0.{n + 1}:9={name}") for n, name in enumerate(names)])
    for peer, served in zip(cluster.peers.all, servers, strict=True):

        def answer(body, *_, served=served):
            try:
                return unpack(_answered(served, body))
            except ProblemError as error:
                raise (StaleGenerationError if error.status == 409 else AssertionError)(str(error)) from error

        peer.send = lambda body, until: (body, True)
        peer.answer = answer
        peer.ask = lambda message, seconds, served=served: unpack(_answered(served, pack(message)))
    return cluster


def _serving(root: Path, names: str) -> Served:
    served = Served("x", root, Models(), shards=tuple(filter(None, names.split(","))))
    served.open(model=False)
    return served


def _asked(cluster: Cluster, root: Path, word: str) -> tuple[int, list[str]]:
    cluster.newest(root)
    index = cluster.open(root)
    _, rows = index.search_words([word], 3)
    return index.root.generation, [one.id for one in index.read([int(row) for row in rows[0] if row >= 0])]


def test_a_server_that_lags_holds_the_others_and_none_goes_down(root: Path, tmp_path: Path) -> None:
    index = searchapp.Index.open(root)
    copies = [tmp_path / "m0", tmp_path / "m1"]
    for copy in copies:
        fetch_root(LocalStore(root), copy)
    servers = [_serving(copy, "") for copy in copies]
    cluster = _joined(servers, ["s0000", "s0001"])
    assert _asked(cluster, root, "dogs") == (1, ["d"])
    for generation, name in enumerate("abc", 2):
        index.delete([name])
        fetch_root(LocalStore(root), copies[1])
        assert _asked(cluster, root, "dogs") == (1, ["d"])
        assert f"generation {generation} is there" in str(cluster.behind)
        assert "no server has its shards s0000" in str(cluster.behind)
        assert servers[1].hold(generation)  # as another coordinator may tell it
        assert _asked(cluster, root, "dogs") == (1, ["d"])
    fetch_root(LocalStore(root), copies[0])
    assert _asked(cluster, root, "dogs") == (4, ["d"])
    assert cluster.behind is None


def test_names_stand_for_what_compact_makes_of_their_shards(root: Path) -> None:
    index = searchapp.Index.open(root)
    names = ["s0000", "s0001,t"]
    servers = [_serving(root, name) for name in names]
    cluster = _joined(servers, names)
    assert _asked(cluster, root, "bee") == (1, ["a"])
    index.delete(["b"])
    index.add({"z": "zed"}, vectors=ONE, progress=False)
    assert _asked(cluster, root, "zed") == (3, ["z"])
    for _ in range(2):
        index.delete(["a", "d"])
        index.compact(progress=False)
        index.add({"d": "dogs"}, vectors=ONE, progress=False)
        newest = index.vectors.root.generation
        assert _asked(cluster, root, "ants") == (newest, [])
        assert _asked(cluster, root, "dogs") == (newest, ["d"])
    assert cluster.behind is None


def test_a_shard_without_a_server_is_said(root: Path) -> None:
    names = ["s0000", "s0001"]
    cluster = _joined([_serving(root, name) for name in names], names)
    coordinator = Served("x", root, Models(), cluster=cluster)
    assert _asked(cluster, root, "bee") == (1, ["a"])
    coordinator.open(model=False)
    index = searchapp.Index.open(root)
    for number in range(10):  # by which the generation that answers has no root manifest any more
        index.add({f"z{number}": "zed"}, vectors=ONE, progress=False)
        assert not coordinator.reload()
        assert "no --peer is named for its shards t-" in str(coordinator.failure)
    assert not (root / "root-0000000001.json").exists()
    _, rows = coordinator.state.index.search_words(["bee"], 1)
    assert [one.id for one in coordinator.state.index.read([int(rows[0][0])])] == ["a"]
