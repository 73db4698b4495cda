"""The loop that has all chunks of a plan encoded: a queue, workers that pull from it, retries, and a list of failures.

A chunk that raises is tried again by another worker, twice; then it counts as failed and the rest goes on. A worker
that is gone loses its chunk to the queue. A worker that does not answer is ended; before that, once the queue is empty,
another one tries its chunk as well: the second record is refused by the store, so nothing is counted twice.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from searchapp.shards.chunk import FAILED, done_ids, is_done, missing
from searchapp.shards.engine import Answer, Engine, Ready
from searchapp.shards.plan import Chunk, Plan
from searchapp.shards.sealed import seal
from searchapp.shards.store import Store

KEPT = 200  # times of chunks, of which the middle is the usual one
Clock = Callable[[], float]


@dataclass(frozen=True)
class Limits:
    """When to give up. Times are in seconds.

    ``attempts`` at a chunk that raises, ``losses`` of workers that had a chunk, ``starts`` of workers in a row that
    were lost or refused before they were ready. ``silence`` is how long a worker may have a chunk at least, and
    ``times`` the usual time; ``ready`` how long it may take to load. ``slow`` is from when another may try
    a chunk too.
    """

    attempts: int = 3
    losses: int = 5
    starts: int = 3
    silence: float = 1_800.0
    times: float = 20.0
    ready: float = 900.0
    slow: float = 30.0


@dataclass(frozen=True)
class Progressed:
    """How far the chunks are. ``occupancy`` is the share of the workers' time spent on chunks, ``left`` in seconds."""

    done: int
    failed: int
    total: int
    workers: int
    tokens: int
    tokens_done: int
    rate: float
    occupancy: float
    left: float


@dataclass(frozen=True)
class Driven:
    """What a run came to: chunks encoded by it, those that failed with the reason, and how it went."""

    encoded: int
    failed: dict[int, str]
    lost: int
    again: int
    occupancy: float
    seconds: float


@dataclass
class _Held:
    chunk: Chunk
    since: float


@dataclass
class _Worker:
    since: float
    is_ready: bool = False
    held: _Held | None = None
    busy: float = 0.0


@dataclass
class _Trials:
    """What became of the chunks so far."""

    raised: Counter[int] = field(default_factory=Counter)
    losses: Counter[int] = field(default_factory=Counter)
    by: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    reasons: dict[int, str] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)


class Driver:
    """One run over the chunks that are not done. ``report`` is told how far it is, at most once a second."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        engine: Engine,
        *,
        limits: Limits | None = None,
        report: Callable[[Progressed], None] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._store, self._plan, self._engine = store, plan, engine
        self._limits, self._report, self._clock = limits or Limits(), report, clock
        left = missing(plan, done_ids(store))
        self._waiting = deque(sorted(left, key=_longest))
        self._queued = {chunk.number for chunk in left}
        self._open = {chunk.number for chunk in left}
        self._workers: dict[str, _Worker] = {}
        self._trials = _Trials()
        self._times: deque[float] = deque(maxlen=KEPT)  # seconds a token
        self._encoded = self._lost = self._again = self._bad_starts = 0
        self._why = "no worker could be started"
        self._busy = self._room = 0.0
        self._tokens = self._tokens_before = plan.tokens - sum(chunk.tokens for chunk in left)
        self._began = self._told = self._seen = clock()
        self._first: float | None = None

    def run(self) -> Driven:
        """Go on until every chunk is done or has failed."""
        self._began = self._seen = self._clock()
        try:
            while self._open:
                self._start_workers()
                if not self._workers:
                    for number in sorted(self._open):
                        self._fail(number, self._why)
                    break
                self._give()
                said = self._engine.wait(0.2)
                self._count_time()
                for event in said:
                    self._take(event)
                for worker, reason in self._engine.lost().items():
                    self._lose(worker, reason)
                self._end_silent()
                self._tell()
        finally:
            self._engine.close()
        self._tell(last=True)
        seconds = self._clock() - self._began
        return Driven(
            self._encoded, dict(sorted(self._trials.failed.items())), self._lost, self._again, self._occupancy, seconds
        )

    def _start_workers(self) -> None:
        wanted = min(self._engine.slots(), len(self._open))
        while len(self._workers) < wanted and self._bad_starts < self._limits.starts * max(1, wanted):
            self._workers[self._engine.start()] = _Worker(self._clock())

    def _give(self) -> None:
        for name, worker in self._workers.items():
            if worker.is_ready and worker.held is None and (chunk := self._next(name)) is not None:
                worker.held = _Held(chunk, self._clock())
                self._trials.by[chunk.number].add(name)
                self._engine.submit(name, chunk.number)

    def _next(self, worker: str) -> Chunk | None:
        """The longest chunk that waits and that this worker has not tried; one that all have tried, too."""
        ready = {name for name, one in self._workers.items() if one.is_ready}
        for place, chunk in enumerate(self._waiting):
            tried = self._trials.by[chunk.number]
            if worker not in tried or ready <= tried:
                del self._waiting[place]
                self._queued.discard(chunk.number)
                return chunk
        if self._waiting:
            return None
        now, usual = self._clock(), self._usual
        held = [one.held for one in self._workers.values() if one.held is not None]
        twice = Counter(one.chunk.number for one in held)
        slow = [
            one
            for one in held
            if twice[one.chunk.number] == 1
            and worker not in self._trials.by[one.chunk.number]
            and now - one.since > max(self._limits.slow, 3 * usual * one.chunk.tokens)
        ]
        if not slow:
            return None
        self._again += 1
        return min(slow, key=lambda one: one.since).chunk

    def _take(self, event: Ready | Answer) -> None:
        worker = self._workers.get(event.worker)
        if isinstance(event, Ready):
            self._admit(event, worker)
            return
        if worker is not None and worker.held is not None and worker.held.chunk.number == event.chunk:
            chunk, spent = worker.held.chunk, self._clock() - worker.held.since
            worker.held = None
            if not event.reason:
                self._times.append(spent / max(1, chunk.tokens))
        if event.chunk not in self._open:  # answered before, by this worker or another
            return
        reason = event.reason
        if is_done(self._store, self._plan.chunks[event.chunk]):
            self._finish(event.chunk)
        else:
            self._retry(event.chunk, reason or "it was said to be done, and its record is not in the store")

    def _admit(self, event: Ready, worker: _Worker | None) -> None:
        """Let a worker take chunks that is like the one that made the plan."""
        if worker is None:
            return
        refused, planned = event.refused, self._plan.versions
        if not refused and (wrong := [one for one in planned if event.versions.get(one) != planned[one]]):
            name = wrong[0]
            refused = f"{name} {event.versions.get(name)} there, {planned[name]} in the plan; install the same"
        if refused:
            self._why = f"a worker was refused: {refused}"
            self._bad_starts += 1
            del self._workers[event.worker]
            self._engine.stop(event.worker)
            return
        worker.is_ready, self._bad_starts = True, 0
        if self._first is None:
            self._first = self._clock()

    def _lose(self, name: str, reason: str) -> None:
        worker = self._workers.pop(name, None)
        if worker is None:
            return
        self._lost += 1
        if not worker.is_ready:
            self._bad_starts += 1
            self._why = f"a worker ended before it was ready: {reason}"
        if worker.held is None:
            return
        number = worker.held.chunk.number
        if number not in self._open:
            return
        if is_done(self._store, worker.held.chunk):
            self._finish(number)
            return
        self._trials.losses[number] += 1
        if self._trials.losses[number] >= self._limits.losses:
            self._fail(number, f"its worker ended {self._limits.losses} times, last: {reason}")
        else:
            self._queue(number)

    def _retry(self, number: int, reason: str) -> None:
        self._trials.raised[number] += 1
        self._trials.reasons[number] = reason
        if self._trials.raised[number] >= self._limits.attempts:
            self._fail(number, reason)
        else:
            self._queue(number)

    def _queue(self, number: int) -> None:
        """Let a chunk wait again, in front of shorter ones, unless it waits or another worker has it."""
        chunk = self._plan.chunks[number]
        if number in self._queued or any(
            one.held is not None and one.held.chunk.number == number for one in self._workers.values()
        ):
            return
        self._waiting = deque(sorted([*self._waiting, chunk], key=_longest))
        self._queued.add(number)

    def _finish(self, number: int) -> None:
        self._open.discard(number)
        self._forget(number)
        self._encoded += 1
        self._tokens += self._plan.chunks[number].tokens
        self._store.delete(f"{FAILED}/{self._plan.chunks[number].id}.json")

    def _fail(self, number: int, reason: str) -> None:
        chunk = self._plan.chunks[number]
        self._open.discard(number)
        self._forget(number)
        self._trials.failed[number] = reason
        name = f"{FAILED}/{chunk.id}.json"
        self._store.delete(name)
        try:
            self._store.put_new(name, seal({"chunk": number, "reason": reason}))
        except FileExistsError:  # by another driver
            pass

    def _forget(self, number: int) -> None:
        """Let a chunk wait no longer."""
        if number in self._queued:
            self._queued.discard(number)
            self._waiting = deque(one for one in self._waiting if one.number != number)

    def _end_silent(self) -> None:
        """End workers that have had a chunk, or have been loading, for too long."""
        now = self._clock()
        for name, worker in list(self._workers.items()):
            if worker.held is not None:
                most = max(self._limits.silence, self._limits.times * self._usual * worker.held.chunk.tokens)
                late = now - worker.held.since > most
            else:
                most = self._limits.ready
                late = not worker.is_ready and now - worker.since > most
            if late:
                self._engine.stop(name)
                self._lose(name, f"no answer for {most:,.0f} s")

    @property
    def _usual(self) -> float:
        """Seconds that a token usually takes."""
        return statistics.median(self._times) if self._times else 0.0

    def _count_time(self) -> None:
        now = self._clock()
        spent, self._seen = now - self._seen, now
        if self._first is not None:
            ready = [one for one in self._workers.values() if one.is_ready]
            self._room += spent * len(ready)
            self._busy += spent * sum(one.held is not None for one in ready)

    @property
    def _occupancy(self) -> float:
        return self._busy / self._room if self._room else 0.0

    def _tell(self, *, last: bool = False) -> None:
        now = self._clock()
        if self._report is None or (now - self._told < 1.0 and not last):
            return
        self._told = now
        spent = now - (self._first if self._first is not None else now)
        rate = (self._tokens - self._tokens_before) / spent if spent > 0 else 0.0
        total = len(self._plan.chunks)
        failed = len(self._trials.failed)
        left = (self._plan.tokens - self._tokens) / rate if rate else 0.0
        self._report(
            Progressed(
                total - len(self._open) - failed, failed, total, len(self._workers), self._plan.tokens, self._tokens,
                rate, self._occupancy, left,
            )
        )  # fmt: skip


def _longest(chunk: Chunk) -> tuple[int, int]:
    """The sort key: long chunks first, as a long one at the end would keep all others waiting."""
    return -chunk.tokens, chunk.number
