"""The driver over an engine that loses workers, answers twice, late, never: every chunk is done once, or listed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from searchapp.errors import ModelError
from searchapp.shards.chunk import DATA, FAILED, done_ids, missing, read_done
from searchapp.shards.driver import Driver, Limits
from searchapp.shards.sealed import unseal
from tests.index.conftest import HashEncoder
from tests.shards.building import planned, write_sources
from tests.shards.fake import FakeEngine

QUICK = Limits(silence=30, ready=60, slow=5)


class Poisoned(HashEncoder):
    """Raises for documents that another encoder embeds."""

    def encode_counted(self, texts, *arguments, **options):
        if any("fox 3" in text or "the 3 fox" in text for text in texts):
            raise ModelError("a poisoned text")
        return super().encode_counted(texts, *arguments, **options)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("sources"), rows=40)


def vectors_of(store, plan):
    """The stored vectors by the ids of documents' chunks, whatever the files are called."""
    return [
        b"".join((store.root / DATA / part.vectors).read_bytes() for part in read_done(store, chunk).segments)
        for chunk in plan.chunks
    ]


def drive(store, plan, engine, **options):
    return Driver(store, plan, engine, clock=engine.clock, limits=QUICK, **options).run()


@pytest.mark.parametrize("seed", range(3))
def test_every_chunk_is_done_whatever_becomes_of_the_workers(tmp_path, sources, seed):
    store, plan = planned(tmp_path / "calm", sources, tokens=120)
    calm = FakeEngine(store, plan, seed=seed)
    assert drive(store, plan, calm).encoded == len(plan.chunks) == len(calm.submitted)
    wild_store, wild_plan = planned(tmp_path / "wild", sources, tokens=120)
    engine = FakeEngine(wild_store, wild_plan, seed=seed, weights=(4, 2, 1, 1, 1, 1), kills=4)
    driven = drive(wild_store, wild_plan, engine)
    assert not driven.failed and not missing(wild_plan, done_ids(wild_store))
    assert driven.encoded == len(plan.chunks)
    assert [replace(chunk, id="") for chunk in wild_plan.chunks] == [replace(chunk, id="") for chunk in plan.chunks]
    assert vectors_of(wild_store, wild_plan) == vectors_of(store, plan)
    assert len(engine.submitted) <= len(plan.chunks) + engine.killed + driven.lost + driven.again
    assert engine.at_most <= 3
    again = FakeEngine(wild_store, wild_plan)
    assert drive(wild_store, wild_plan, again).encoded == 0 and not again.submitted


def test_a_chunk_that_raises_is_tried_by_others_and_then_listed(tmp_path, sources):
    store, plan = planned(tmp_path, sources, tokens=120)
    engine = FakeEngine(store, plan)
    engine.encoder = Poisoned()
    told = []
    driven = drive(store, plan, engine, report=told.append)
    assert len(driven.failed) == 1 and "a poisoned text" in next(iter(driven.failed.values()))
    (number,) = driven.failed
    assert engine.submitted.count(number) == 3
    assert [chunk.number for chunk in missing(plan, done_ids(store))] == [number]
    (name,) = store.list(FAILED)
    assert unseal(store.get(name), name) == {"chunk": number, "reason": "a poisoned text"}
    assert (told[-1].done, told[-1].failed) == (len(plan.chunks) - 1, 1)
    assert np.all(np.diff([one.done for one in told]) >= 0) and 0.4 < told[-1].occupancy <= 1
    well = FakeEngine(store, plan)  # another run tries only what failed
    assert drive(store, plan, well).encoded == 1 and well.submitted == [number]
    assert store.list(FAILED) == []


def test_workers_that_cannot_start_end_the_run(tmp_path, sources):
    store, plan = planned(tmp_path, sources, tokens=400)
    engine = FakeEngine(store, plan, slots=2)
    engine.never_ready = 99
    driven = drive(store, plan, engine)
    assert len(driven.failed) == len(plan.chunks)
    assert "ended before it was ready: killed by the test" in driven.failed[0]


def test_a_worker_with_other_packages_is_refused(tmp_path, sources):
    store, plan = planned(tmp_path, sources, tokens=400)
    engine = FakeEngine(store, plan, slots=2)
    engine.versions = {**engine.versions, "numpy": "1.0"}
    driven = drive(store, plan, engine)
    assert not engine.submitted and "numpy 1.0 there" in driven.failed[0]


def test_a_chunk_that_takes_its_workers_with_it_is_given_up(tmp_path, sources):
    store, plan = planned(tmp_path, sources[:1], tokens=10_000)
    assert len(plan.chunks) == 1
    engine = FakeEngine(store, plan, slots=1, seed=5, weights=(0, 1), kills=99)
    engine._die = lambda chunk: None
    driven = drive(store, plan, engine)
    assert "its worker ended 5 times, last: killed by the test" in driven.failed[0]


def test_a_slow_worker_does_not_hold_up_the_end(tmp_path, sources):
    store, plan = planned(tmp_path, sources, tokens=120)
    engine = FakeEngine(store, plan, slots=2, seed=1, weights=(9, 0, 1), kills=1)
    engine.kills = 1
    driven = drive(store, plan, engine)
    assert not driven.failed and engine.now < 100
    if engine.killed:
        assert driven.again == 1 or driven.lost == 1
