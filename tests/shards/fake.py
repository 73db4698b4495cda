"""An engine without processes, on a clock of its own: its workers are late, die at any step, answer twice or never."""

from __future__ import annotations

import heapq
import random
from itertools import count

from searchapp.provenance import package_versions
from searchapp.shards.chunk import encode_chunk
from searchapp.shards.engine import Answer, Ready
from searchapp.shards.plan import Plan
from searchapp.shards.store import Store
from searchapp.shards.worker import work
from tests.index.conftest import HashEncoder

FATES = ("fine", "dies", "silent", "twice", "late", "unsaid")


class Killed(BaseException):
    """The worker's process ends here."""


class FakeEngine:
    """``weights`` are those of FATES; ``kills`` is how many workers may die or fall silent in all."""

    def __init__(self, store: Store, plan: Plan, slots: int = 3, seed: int = 0, weights=(1,), kills: int = 0) -> None:
        self.store, self.plan, self.count, self.rng = store, plan, slots, random.Random(seed)
        self.weights = (*weights, *[0] * (len(FATES) - len(weights)))
        self.kills, self.now, self.encoder = kills, 0.0, HashEncoder()
        self.submitted: list[int] = []
        self.killed = self.never_ready = 0
        self.versions = package_versions(plan.versions)
        self.at_most = 0
        self._numbers, self._ties = count(), count()
        self._events: list[tuple[float, int, object]] = []
        self._alive: set[str] = set()
        self._gone: dict[str, str] = {}
        self._busy: dict[str, int] = {}

    def clock(self) -> float:
        return self.now

    def slots(self) -> int:
        return self.count

    def start(self) -> str:
        name = f"fake-{next(self._numbers)}"
        self._alive.add(name)
        if self.never_ready:
            self.never_ready -= 1
            self._at(1.0, ("dies", name))
        else:
            self._at(self.rng.uniform(0.1, 5), Ready(name, self.versions))
        return name

    def submit(self, worker: str, chunk: int) -> None:
        assert worker not in self._busy, "a worker has one chunk at a time"
        self.submitted.append(chunk)
        self._busy[worker] = chunk
        self.at_most = max(self.at_most, len(self._busy))
        fate = self.rng.choices(FATES, self.weights)[0]
        if fate in ("dies", "silent"):
            if self.kills <= 0:
                fate = "fine"
            else:
                self.kills -= 1
                self.killed += 1
        self._at(self.rng.uniform(0.5, 2) * (40 if fate == "late" else 1), (fate, worker, chunk))

    def wait(self, seconds: float):
        end, said = self.now + seconds, []
        while self._events and self._events[0][0] <= end and not said:
            self.now, _, event = heapq.heappop(self._events)
            said += self._happen(event)
        if not said:
            self.now = end
        self.rng.shuffle(said)
        return said

    def lost(self) -> dict[str, str]:
        gone, self._gone = self._gone, {}
        return gone

    def stop(self, worker: str) -> None:
        self._alive.discard(worker)
        self._busy.pop(worker, None)

    def close(self) -> None:
        self._alive.clear()

    def _at(self, seconds: float, event: object) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._ties), event))

    def _happen(self, event):
        if isinstance(event, Ready):
            return [event] if event.worker in self._alive else []
        fate, worker, *chunk = event
        if worker not in self._alive:
            return []
        if fate == "dies":
            if chunk:
                self._die(chunk[0])
            self.stop(worker)
            self._gone[worker] = "killed by the test"
            return []
        if fate == "silent":
            return []
        reason = work(self.store, self.plan, chunk[0], self.encoder, worker)
        self._busy.pop(worker, None)
        if fate == "unsaid":  # it ends after its record is there and before it could say so
            self.stop(worker)
            self._gone[worker] = "ended"
            return []
        answer = Answer(worker, chunk[0], reason)
        return [answer] * (2 if fate == "twice" else 1)

    def _die(self, chunk: int) -> None:
        """End in the middle of a chunk, at one of its steps, the last of which is behind its record."""
        left = self.rng.randrange(9)

        def step(_: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        try:
            encode_chunk(self.store, self.plan, chunk, self.encoder, step=step)
        except Killed:
            pass
