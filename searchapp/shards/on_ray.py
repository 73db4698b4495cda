"""The engine ``ray``: actors with an encoder each, on the machines of a Ray cluster, or on this one.

Ray starts processes, places them and tells when they are gone; nothing else of it is used. It is not asked to retry or
restart: an actor whose node is gone would wait for a processor that no longer exists, and its task for the actor.
Chunks go by number, and what they come to by files, so that its object store stays empty.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from typing import Any

from searchapp.errors import IndexStoreError, SearchAppError, reason_of
from searchapp.index.building import PACKAGES
from searchapp.provenance import package_versions
from searchapp.shards.engine import Answer, Ready
from searchapp.shards.places import open_store
from searchapp.shards.plan import load_plan
from searchapp.shards.worker import here, load_encoder, work

STARTS = 3  # tries to start a cluster of this machine: Ray gives a node 30 s, which are few on a busy one
OBJECT_STORE = 80 << 20  # bytes; Ray takes no less than 75 MB
AUTH, TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"


class RayWorker:
    """What runs in an actor."""

    def __init__(self, place: str, device: str, name: str) -> None:
        self._place, self._device, self._name = place, device, name

    def load(self) -> dict[str, Any]:
        """Load the plan and its encoder; the versions of the packages here, and why it must not work."""
        versions = package_versions(PACKAGES)
        try:
            self._store = open_store(self._place)
            self._plan = load_plan(self._store)
            self._encoder = load_encoder(self._plan, self._device)
        except SearchAppError as error:
            return {"versions": versions, "refused": str(error)}
        except Exception as error:
            return {"versions": versions, "refused": f"{type(error).__name__}: {reason_of(error)}"}
        return {"versions": versions, "refused": ""}

    def encode(self, number: int) -> dict[str, Any]:
        """Encode a chunk; the reason where it failed."""
        began = time.perf_counter()
        reason = work(self._store, self._plan, number, self._encoder, here(self._name))
        return {"reason": reason, "seconds": time.perf_counter() - began}


def _require_token(address: str, is_local: bool, insecure: bool) -> None:
    """See that whoever reaches the cluster's ports needs a token; a cluster of this machine gets one of its own.

    Ray reads these variables when it is imported. Raises IndexStoreError.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if is_local and AUTH not in os.environ:
        if "ray" in sys.modules:
            return  # a new cluster gets a token by Ray's own default
        os.environ[AUTH] = "token"
        os.environ.setdefault(TOKEN, secrets.token_hex(32))
    if os.environ.get(AUTH) != "token" and not insecure:
        raise IndexStoreError(
            f"--engine ray:{address}: {AUTH} is not set to token here, so the cluster may let anybody in; set it, with "
            "RAY_AUTH_TOKEN_PATH, as on the cluster, or give --insecure-cluster"
        )


class RayEngine:
    """An ``Engine`` over the cluster at ``address``, or one of this machine where that is empty or ``local``.

    Raises IndexStoreError where Ray is not installed, the cluster cannot be reached, or has no token: whoever reaches
    its ports could run anything on it. ``insecure`` takes it as it is.
    """

    def __init__(
        self, place: str, workers: int, address: str, *, insecure: bool = False, devices: Sequence[str] = ("auto",)
    ) -> None:
        is_local = address in ("", "local")
        _require_token(address, is_local, insecure)
        try:
            import ray
        except ImportError as error:
            raise IndexStoreError(
                "--engine ray needs Ray; install it with `pip install 'searchapp[ray]'`, or give --engine processes"
            ) from error
        self._ray, self._place, self._count, self._devices = ray, place, workers, tuple(devices)
        self._folder = ""
        self._connect(address, is_local)
        has_gpus = ray.cluster_resources().get("GPU", 0) > 0 and self._devices[0] != "cpu"
        cores = int(ray.cluster_resources().get("CPU", 1))
        options = {"num_gpus": 1} if has_gpus else {"num_cpus": max(1, cores // workers)}
        self._actor = ray.remote(RayWorker).options(max_restarts=0, max_task_retries=0, **options)
        self._device = "cuda" if has_gpus else self._devices[0]
        self._numbers = count()
        self._actors: dict[str, Any] = {}
        self._pending: dict[Any, tuple[str, int | None]] = {}
        self._gone: dict[str, str] = {}

    def _connect(self, address: str, is_local: bool) -> None:
        """Join the cluster, or start one of this machine. Raises IndexStoreError."""
        for trial in range(STARTS if is_local else 1):
            try:
                if not is_local:
                    self._ray.init(address=address, log_to_driver=False)
                    return
                self._folder = tempfile.mkdtemp(prefix="sray-")
                self._ray.init(
                    address="local", num_cpus=max(self._count, os.cpu_count() or 1), include_dashboard=False,
                    object_store_memory=OBJECT_STORE, log_to_driver=False, _temp_dir=self._folder,
                )  # fmt: skip
                return
            except Exception as error:
                self.close()
                if trial < STARTS - 1 and is_local:
                    continue
                raise IndexStoreError(
                    f"the Ray cluster {address or 'of this machine'} cannot be used ({reason_of(error)}); check the "
                    "address and the token, or give --engine processes"
                ) from error

    def slots(self) -> int:
        """As many as were asked for; those that find no room stay waiting, without a chunk."""
        return self._count

    def start(self) -> str:
        """Ask for an actor."""
        name = f"ray-{next(self._numbers)}"
        actor = self._actor.remote(self._place, self._device, name)
        self._actors[name] = actor
        self._pending[actor.load.remote()] = (name, None)
        return name

    def submit(self, worker: str, chunk: int) -> None:
        """Call an actor."""
        actor = self._actors.get(worker)
        if actor is not None:
            self._pending[actor.encode.remote(chunk)] = (worker, chunk)

    def wait(self, seconds: float) -> Sequence[Ready | Answer]:
        """What the actors have answered."""
        if not self._pending:
            time.sleep(min(seconds, 0.05))
            return []
        ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)
        said: list[Ready | Answer] = []
        for reference in ready:
            worker, chunk = self._pending.pop(reference)
            try:
                found = self._ray.get(reference)
            except Exception as error:
                if worker in self._actors:
                    self.stop(worker)
                    self._gone[worker] = f"{type(error).__name__}: {reason_of(error)}"
                continue
            if chunk is None:
                said.append(Ready(worker, found["versions"], found["refused"]))
            else:
                said.append(Answer(worker, chunk, found["reason"], found["seconds"]))
        return said

    def lost(self) -> dict[str, str]:
        """The actors that are gone."""
        gone, self._gone = self._gone, {}
        return gone

    def stop(self, worker: str) -> None:
        """Kill an actor, whatever it does."""
        actor = self._actors.pop(worker, None)
        self._pending = {key: held for key, held in self._pending.items() if held[0] != worker}
        if actor is not None:
            with contextlib.suppress(Exception):
                self._ray.kill(actor, no_restart=True)

    def close(self) -> None:
        """Kill all actors and leave the cluster; one of this machine ends."""
        for worker in list(getattr(self, "_actors", ())):
            self.stop(worker)
        with contextlib.suppress(Exception):
            self._ray.shutdown()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
