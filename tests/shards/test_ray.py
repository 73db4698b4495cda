"""The engine ray on this machine: actors that are killed, a cluster without a token that is refused."""

from __future__ import annotations

import random
from importlib.util import find_spec

import psutil
import pytest

from searchapp.encoder import Encoder
from searchapp.errors import IndexStoreError
from searchapp.shards.chunk import done_ids, missing
from searchapp.shards.driver import Driver
from tests.shards.test_processes import encoder, expected, planned, source, vectors_of  # noqa: F401 - fixtures

if find_spec("ray") is None:
    pytest.skip("Ray is not installed", allow_module_level=True)
from searchapp.shards import on_ray  # noqa: E402 - where Ray is installed
from searchapp.shards.on_ray import RayEngine  # noqa: E402


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Ray gives a node 30 s to start, which cannot be changed and are few where other tests run."""
    monkeypatch.setattr(on_ray, "STARTS", 6)


def test_a_cluster_without_a_token_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(IndexStoreError, match="RAY_AUTH_MODE is not set to token"):
        RayEngine("/nowhere", 2, "10.0.0.1:6379")


class Killing(RayEngine):
    """Kills the process of an actor that has a chunk, so many times."""

    kills, done = 0, 0

    def submit(self, worker: str, chunk: int) -> None:
        super().submit(worker, chunk)
        if self.done < self.kills and self.rng.random() < 0.5:
            mine = psutil.Process().children(recursive=True)
            actors = [one for one in mine if "ray::RayWorker" in " ".join(one.cmdline())]
            self.rng.choice(actors).kill()
            self.done += 1


@pytest.mark.slow
@pytest.mark.parametrize("kills", [0, 4])
def test_chunks_on_ray(tmp_path, source, encoder: Encoder, expected, kills):  # noqa: F811 - fixtures
    store, plan = planned(tmp_path / "root", source, encoder)
    engine = Killing(str(tmp_path / "root"), 2, "local")
    engine.kills, engine.rng = kills, random.Random(3)
    driven = Driver(store, plan, engine).run()
    assert not driven.failed and not missing(plan, done_ids(store))
    assert driven.lost <= engine.done == kills
    assert driven.again == 0 and driven.encoded == len(plan.chunks)
    assert vectors_of(store, plan) == expected
