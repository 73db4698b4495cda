"""Kills at every step: whatever ends when, a later run finishes, and comes to the same root with the same vectors."""

from __future__ import annotations

import random

import numpy as np
import pytest

from searchapp.index import Snapshot
from searchapp.shards.chunk import done_ids, encode_chunk, missing
from searchapp.shards.driver import Driver, Limits
from searchapp.shards.plan import load_plan
from searchapp.shards.publish import finish
from searchapp.shards.root import load_root
from searchapp.shards.store import LocalStore
from tests.index.conftest import HashEncoder
from tests.index.power import LosingDisk, PowerLoss, Unsynced
from tests.shards.building import documents_of, planned, write_sources
from tests.shards.fake import FakeEngine

QUICK = Limits(silence=30, ready=60, slow=5)


class Stopping(Unsynced):
    """Ends the driver at a step."""

    def __init__(self, stop_at: int) -> None:
        self.steps, self.stop_at = 0, stop_at

    def link(self, source, target) -> None:
        self._step()
        super().link(source, target)
        self._step()

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.stop_at:
            raise PowerLoss


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("sources"), rows=30)


def came_to(root):
    """What a root is, whatever its files are called: shards, statistics, documents and stored vectors."""
    found = load_root(LocalStore(root))
    shards = [(shard.base, shard.rows, shard.deleted) for shard in found.shards]
    vectors = []
    for shard in found.shards:
        snapshot = Snapshot.open(root / shard.folder)
        vectors.append(snapshot.vectors.stored(np.arange(snapshot.manifest.rows)).tobytes())
    return shards, found.statistics, vectors, [documents_of(root / shard.folder) for shard in found.shards]


@pytest.fixture(scope="module")
def calm(tmp_path_factory, sources):
    root = tmp_path_factory.mktemp("calm") / "root"
    store, plan = planned(root, sources, tokens=150, shards=2)
    for chunk in plan.chunks:
        encode_chunk(store, plan, chunk.number, HashEncoder())
    finish(store, plan, None)
    return came_to(root)


def survive(root, sources, seed: int, runs: int = 3) -> tuple[int, int]:
    """Runs that are killed at random steps, then one that is not; returns kills, and chunks tried in all."""
    rng = random.Random(seed)
    _, plan = planned(root, sources, tokens=150, shards=2)
    kills = tried = slots = 0
    for run in range(runs + 1):
        store = LocalStore(root, Stopping(rng.randrange(1, 120) if run < runs else 0))
        engine = FakeEngine(store, plan, seed=seed + run, weights=(6, 1, 1, 1, 1, 1), kills=2)
        try:
            if missing(plan, done_ids(store)):
                driven = Driver(store, load_plan(store), engine, clock=engine.clock, limits=QUICK).run()
                assert not driven.failed
            finish(store, plan, None)
        except PowerLoss:
            kills += 1
        kills += engine.killed
        tried += len(engine.submitted)
        slots = max(slots, engine.count)
    assert not (root / "build" / "work").exists() and not list((root / "build" / "data").iterdir())
    assert tried <= len(plan.chunks) + slots * (runs + kills)
    return kills, tried


@pytest.mark.parametrize("seed", range(3))
def test_kills_leave_the_same_root(tmp_path, sources, calm, seed):
    assert survive(tmp_path / "root", sources, 100 * seed)[0] > 1
    assert came_to(tmp_path / "root") == calm


@pytest.mark.slow
def test_180_kills_leave_the_same_root(tmp_path, sources, calm):
    kills = seed = 0
    while kills < 180:
        seed += 1
        kills += survive(tmp_path / f"root{seed}", sources, 1_000 + 7 * seed, runs=6)[0]
        assert came_to(tmp_path / f"root{seed}") == calm, seed


@pytest.mark.parametrize("seed", range(4))
def test_power_loss_loses_no_chunk_that_was_done(tmp_path, sources, calm, seed):
    """What was not synced is forgotten, at a random step of a driver; records that survive have all of their files."""
    rng = random.Random(seed)
    root = tmp_path / "root"
    _, plan = planned(root, sources, tokens=400, shards=2)
    disk = LosingDisk(root, rng.randrange(40, 700))
    store = LocalStore(root, disk)
    try:
        for chunk in plan.chunks:
            encode_chunk(store, plan, chunk.number, HashEncoder())
        finish(store, plan, None)
    except PowerLoss:
        disk.lose(rng)
    store = LocalStore(root, Unsynced())
    plan = load_plan(store)
    for chunk in missing(plan, done_ids(store)):
        encode_chunk(store, plan, chunk.number, HashEncoder())
    finish(store, plan, None)
    found = came_to(root)
    assert (found[1], found[3][0] + found[3][1]) == (calm[1], calm[3][0] + calm[3][1])
