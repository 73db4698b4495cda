"""Real processes with the shipped model: what they encode, a worker that is killed, and a driver that is."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from searchapp.corpus import open_source
from searchapp.encoder import Encoder
from searchapp.index.building import BuildSettings
from searchapp.shards.chunk import DATA, done_ids, encode_chunk, missing, read_done
from searchapp.shards.driver import Driver
from searchapp.shards.plan import commit_plan, load_plan, make_plan
from searchapp.shards.processes import Processes
from searchapp.shards.store import LocalStore

WORDS = "bees make honey while trains leave at nine and rivers run to the sea under stars".split()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load("bundled", backend="numpy", fingerprint=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("in") / "docs.jsonl"
    rng = random.Random(1)
    rows = [{"_id": f"d{n}", "text": " ".join(rng.choices(WORDS, k=80))} for n in range(120)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def planned(root: Path, source: str, encoder: Encoder, tokens: int = 900):
    store = LocalStore(root)
    plan = make_plan([open_source(source)], encoder, BuildSettings(), tokens=tokens)
    return store, commit_plan(store, plan)


def vectors_of(store, plan):
    return [
        b"".join((store.root / DATA / part.vectors).read_bytes() for part in read_done(store, chunk).segments)
        for chunk in plan.chunks
    ]


@pytest.fixture(scope="module")
def expected(tmp_path_factory, source, encoder):
    store, plan = planned(tmp_path_factory.mktemp("one") / "root", source, encoder)
    for chunk in plan.chunks:
        encode_chunk(store, plan, chunk.number, encoder)
    return vectors_of(store, plan)


class Killing(Processes):
    """Kills a worker that has a chunk, once."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.left = 1

    def submit(self, worker: str, chunk: int) -> None:
        super().submit(worker, chunk)
        if self.left and chunk % 3 == 0:
            self.left -= 1
            time.sleep(0.02)
            os.kill(self.pids[worker], signal.SIGKILL)


def test_a_worker_that_is_killed_costs_one_chunk(tmp_path, source, encoder, expected):
    store, plan = planned(tmp_path / "root", source, encoder)
    engine = Killing(str(tmp_path / "root"), 2)
    driven = Driver(store, plan, engine).run()
    assert not driven.failed and driven.lost == 1 and not missing(plan, done_ids(store))
    assert vectors_of(store, plan) == expected  # bit for bit: the same chunks, by the same code
    assert {read_done(store, chunk).worker.partition("@")[0] for chunk in plan.chunks} <= {
        "process-0", "process-1", "process-2"
    }  # fmt: skip
    assert engine.pids == {}


DRIVE = """
import sys
from searchapp.shards.driver import Driver
from searchapp.shards.plan import load_plan
from searchapp.shards.processes import Processes
from searchapp.shards.store import LocalStore
store = LocalStore(sys.argv[1])
print(Driver(store, load_plan(store), Processes(sys.argv[1], 2)).run().encoded)
"""


def test_a_driver_that_is_killed_takes_its_workers_along(tmp_path, source, encoder, expected):
    root = tmp_path / "root"
    store, plan = planned(root, source, encoder)
    process = subprocess.Popen([sys.executable, "-c", DRIVE, str(root)], stdout=subprocess.PIPE)
    until = time.monotonic() + 60
    while not done_ids(store) and time.monotonic() < until:
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert len(gone) == 2 and not alive
    there = len(done_ids(store))
    assert 0 < there <= len(plan.chunks)
    again = subprocess.run([sys.executable, "-c", DRIVE, str(root)], capture_output=True, check=True)
    assert int(again.stdout) == len(plan.chunks) - there
    assert vectors_of(store, load_plan(store)) == expected
