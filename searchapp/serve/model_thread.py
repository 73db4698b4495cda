"""The one thread that runs models: it drains what waits, the most urgent first, and no error ends it.

There is no timer: when the model is free, it takes what is there. Queries that wait are encoded together, since a batch
of 32 costs a query an eighth of what it costs alone. Everything else is cut into slices of about
``Limits.slice_seconds`` of predicted work, so that a query waits for one slice at most. Slices are taken from the jobs
of a lane in turn, so that a request with 2,000 texts does not hold up one with a single text; a lane that was passed
over ``PATIENCE`` times has its turn, so that none starves.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.errors import is_out_of_memory
from searchapp.serve.limits import Limits
from searchapp.serve.problem import ProblemError

if TYPE_CHECKING:
    from searchapp.encoder import Encoder
    from searchapp.encoder.window import EncodeInput
    from searchapp.serve.metrics import Metrics

log = logging.getLogger(__name__)

PATIENCE = 8  # batches of a more urgent lane that pass one by
CHARACTERS_A_TOKEN = 4.0  # for predictions; what is measured is put in terms of it
FIRST_RATE = 1e-4  # seconds a predicted token, before anything is measured
LEARNT = 0.2  # the weight of a new measurement
GIVEN_UP = 70  # exit code when a device cannot be used any more, so that a supervisor starts the server again
POISONED = ("cuda error", "device-side assert", "cublas", "cudnn error", "hip error")


class Lane(IntEnum):
    """How urgent a job is."""

    QUERY = 0
    BULK = 1
    BACKGROUND = 2


@dataclass(frozen=True)
class Encoding:
    """``vectors`` float32 (n, dim) of unit length (a text without a token: zeros), ``tokens`` int64 (n,) of each text.

    ``cut`` bool (n,) says which texts were longer than the encoder reads.
    """

    vectors: np.ndarray
    tokens: np.ndarray
    cut: np.ndarray


@dataclass
class Ticket:
    """What threads know of a request: when it must be done (``time.monotonic``), and whether it was given up."""

    deadline: float = float("inf")
    cancelled: bool = False

    @property
    def left(self) -> float | None:
        """Seconds that are left; None for no deadline."""
        return None if self.deadline == float("inf") else self.deadline - time.monotonic()

    def check(self) -> None:
        """Raise ProblemError where the work is not wanted any more."""
        if self.cancelled:
            raise ProblemError(499, "the client has left")
        if time.monotonic() > self.deadline:
            raise ProblemError(504, "the deadline passed before the request was done; ask for less, or later")


@dataclass(eq=False)
class Job:
    """Texts to encode, or, where ``call`` is given, some other work of the model.

    ``deliver`` is called once, in the model's thread, when all texts are encoded (or ``failure`` is set); jobs of one
    batch that share it are delivered together.
    """

    lane: Lane
    ticket: Ticket
    encoder: Encoder | None = None
    inputs: Sequence[EncodeInput] = ()
    call: Callable[[], Any] | None = None
    cost: float = 0.0  # predicted tokens
    deliver: Callable[[list[Job]], None] | None = None
    failure: BaseException | None = None
    result: Any = None
    came: float = field(default_factory=time.perf_counter)
    began: float = 0.0
    ended: float = 0.0
    _parts: list[Encoding] = field(default_factory=list)
    _done: int = 0

    @property
    def left(self) -> int:
        """How many texts are not encoded yet."""
        return len(self.inputs) - self._done

    def take(self, count: int) -> Sequence[EncodeInput]:
        """The next texts to encode."""
        return self.inputs[self._done : self._done + count]

    def add(self, part: Encoding) -> bool:
        """Keep what was encoded; says whether that was all."""
        self._parts.append(part)
        self._done += len(part.vectors)
        if self.left:
            return False
        parts = self._parts
        self.result = (
            parts[0]
            if len(parts) == 1
            else Encoding(*(np.concatenate(x) for x in zip(*map(_fields, parts), strict=True)))
        )
        return True


def _fields(part: Encoding) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return part.vectors, part.tokens, part.cut


@dataclass
class _Share:
    """The texts of one job that are in a batch."""

    job: Job
    inputs: Sequence[EncodeInput]


class ModelThread:
    """See the module. ``submit`` and ``call`` may be used from any thread; their futures end in the model's thread."""

    def __init__(self, limits: Limits, metrics: Metrics | None = None) -> None:
        self._limits = limits
        self._metrics = metrics
        self._lanes: tuple[deque[Job], ...] = tuple(deque() for _ in Lane)
        self._passed = [0] * len(Lane)
        self._ready = threading.Condition()
        self._stopping = False
        self._rates: dict[int, float] = {}  # seconds a predicted token, by encoder
        self.succeeded = time.monotonic()  # when a batch was last encoded
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def waiting(self, lane: Lane) -> int:
        """How many jobs of a lane wait."""
        return len(self._lanes[lane])

    def put(self, job: Job) -> None:
        """Have a job done; ``job.deliver`` hears of it. Raises ProblemError once the server is stopping."""
        with self._ready:
            if self._stopping:
                raise ProblemError(503, "the server is stopping", retry=5)
            self._lanes[job.lane].append(job)
            self._ready.notify()

    def submit(self, lane: Lane, encoder: Encoder, inputs: Sequence[EncodeInput], ticket: Ticket) -> Future[Encoding]:
        """Encode texts."""
        return self._future(Job(lane, ticket, encoder, inputs))

    def call(self, lane: Lane, ticket: Ticket, function: Callable[[], Any], cost: float = 0.0) -> Future[Any]:
        """Have other work done by the model's thread, all at once; ``cost``: predicted tokens."""
        return self._future(Job(lane, ticket, call=function, cost=cost))

    def _future(self, job: Job) -> Future[Any]:
        future: Future[Any] = Future()

        def deliver(_: list[Job]) -> None:
            if job.failure is not None:
                future.set_exception(job.failure)
            else:
                future.set_result(job.result)

        job.deliver = deliver
        if not job.inputs and job.call is None:
            dim = job.encoder.dim if job.encoder is not None else 0
            none = np.zeros(0, dtype=np.int64)
            future.set_result(Encoding(np.zeros((0, dim), dtype=np.float32), none, none.astype(bool)))
            return future
        self.put(job)
        return future

    def stop(self, seconds: float = 5.0) -> None:
        """Take no more work, finish what waits, and end."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._ready:
                while not any(self._lanes) and not self._stopping:
                    self._ready.wait()
                if not any(self._lanes):
                    return
                shares = self._next()
            finished: list[Job] = []
            try:
                finished = self._work(shares)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the requests hear of it and the thread goes on
                log.exception("a batch failed")
                finished = [share.job for share in shares]
                for job in finished:
                    job.failure = job.failure or error
                    self._drop(job)
            self._deliver(finished)

    def _next(self) -> list[_Share]:
        """What to do now: all queries that wait (of one encoder), or a slice of a less urgent lane."""
        lane = self._turn()
        waiting = self._lanes[lane]
        first = waiting[0]
        if first.call is not None:
            return [_Share(waiting.popleft(), ())]
        if lane is Lane.QUERY:
            shares: list[_Share] = []
            later: list[Job] = []
            room = self._limits.batch_texts
            while waiting and room > 0:
                job = waiting.popleft()
                if job.encoder is not first.encoder or job.call is not None or (shares and job.left > room):
                    later.append(job)
                    continue
                shares.append(_Share(job, job.take(job.left)))
                room -= job.left
            waiting.extendleft(reversed(later))
            return shares
        return self._slice(waiting, first)

    def _turn(self) -> Lane:
        """The lane whose turn it is: the most urgent, unless another was passed over too often."""
        urgent = next(lane for lane in Lane if self._lanes[lane])
        chosen = next((lane for lane in Lane if self._lanes[lane] and self._passed[lane] >= PATIENCE), urgent)
        for lane in Lane:
            if self._lanes[lane]:
                self._passed[lane] = 0 if lane is chosen else self._passed[lane] + 1
        self._passed[urgent] = 0
        return chosen

    def _slice(self, waiting: deque[Job], first: Job) -> list[_Share]:
        """About ``slice_seconds`` of texts, of the jobs in turn: at least one text."""
        encoder = first.encoder
        budget = self._limits.slice_seconds / self._rates.get(id(encoder), FIRST_RATE)
        shares: list[_Share] = []
        texts = 0
        for job in list(waiting):
            if job.encoder is not encoder or job.call is not None:
                continue
            count = 0
            for item in job.take(self._limits.batch_texts - texts):
                cost = _predicted(encoder, item)
                if (shares or count) and cost > budget:
                    break
                budget -= cost
                count += 1
            if count:
                shares.append(_Share(job, job.take(count)))
                texts += count
            if budget <= 0 or texts >= self._limits.batch_texts:
                break
        for share in shares:  # those that are not done go to the end
            waiting.remove(share.job)
            if share.job.left > len(share.inputs):
                waiting.append(share.job)
        return shares

    def _work(self, shares: list[_Share]) -> list[Job]:
        """Do it; return the jobs that are finished, well or not."""
        wanted, finished = self._checked(shares)
        if not wanted:
            return finished
        if wanted[0].job.call is not None:
            self._called(wanted[0].job, wanted[0].job.call)
            return [*finished, wanted[0].job]
        encoder = wanted[0].job.encoder
        assert encoder is not None  # noqa: S101 - a job has texts or a call
        try:
            parts = self._encode(encoder, [share.inputs for share in wanted])
        except Exception as error:
            self._give_up_if_poisoned(error)
            parts = [None] * len(wanted)
            if len(wanted) == 1:
                wanted[0].job.failure = error
        for share, part in zip(wanted, parts, strict=True):
            if part is None and share.job.failure is None:  # one of several spoils a batch: find out which
                try:
                    part = self._encode(encoder, [share.inputs])[0]
                except Exception as error:
                    share.job.failure = error
            if part is None:
                self._drop(share.job)
                finished.append(share.job)
            elif share.job.add(part):
                finished.append(share.job)
        return finished

    def _checked(self, shares: list[_Share]) -> tuple[list[_Share], list[Job]]:
        """What is still wanted, and the jobs that are not."""
        wanted, finished = [], []
        now = time.perf_counter()
        for share in shares:
            try:
                share.job.ticket.check()
            except ProblemError as problem:
                share.job.failure = problem
                self._drop(share.job)
                finished.append(share.job)
                continue
            share.job.began = share.job.began or now
            wanted.append(share)
        return wanted, finished

    def _called(self, job: Job, call: Callable[[], Any]) -> None:
        try:
            job.result = call()
            self.succeeded = time.monotonic()
        except Exception as error:
            job.failure = error
            self._give_up_if_poisoned(error)

    def _encode(self, encoder: Encoder, groups: list[Sequence[EncodeInput]]) -> list[Encoding | None]:
        """Encode the texts of several jobs in one batch, equal ones once."""
        began = time.perf_counter()
        distinct = list(dict.fromkeys(item for group in groups for item in group))
        encoding = encode(encoder, distinct)
        spent = time.perf_counter() - began
        predicted = sum(_predicted(encoder, item) for item in distinct)
        known = self._rates.get(id(encoder))
        rate = spent / max(predicted, 1.0)
        self._rates[id(encoder)] = rate if known is None else (1 - LEARNT) * known + LEARNT * rate
        self.succeeded = time.monotonic()
        if self._metrics is not None:
            self._metrics.batch(spent, len(distinct), int(encoding.tokens.sum()), int(encoding.cut.sum()))
        if len(groups) == 1 and len(distinct) == len(groups[0]):
            return [encoding]
        places = {item: number for number, item in enumerate(distinct)}
        return [
            Encoding(encoding.vectors[chosen], encoding.tokens[chosen], encoding.cut[chosen])
            for chosen in (np.array([places[item] for item in group], dtype=np.int64) for group in groups)
        ]

    def _drop(self, job: Job) -> None:
        """Take a job that failed out of its lane, where slices of it were left."""
        with self._ready:
            if job in self._lanes[job.lane]:
                self._lanes[job.lane].remove(job)

    def _deliver(self, finished: list[Job]) -> None:
        now = time.perf_counter()
        together: dict[Any, list[Job]] = {}
        for job in finished:
            job.ended = now
            together.setdefault(job.deliver, []).append(job)
        for deliver, jobs in together.items():
            try:
                if deliver is not None:
                    deliver(jobs)
            except BaseException:  # noqa: BLE001 - a receiver that fails must not end the thread
                log.exception("a result could not be delivered")

    def _give_up_if_poisoned(self, error: Exception) -> None:
        """End the process where a device cannot be used again in it; its supervisor starts a new one."""
        if not is_out_of_memory(error) and any(word in str(error).lower() for word in POISONED):
            import os

            log.critical("the device cannot be used any more (%s); the server exits with code %d", error, GIVEN_UP)
            logging.shutdown()
            os._exit(GIVEN_UP)


def encode(encoder: Encoder, inputs: Sequence[EncodeInput]) -> Encoding:
    """The encoding of texts, as ``Encoder.encode`` has their vectors, in this thread."""
    items = encoder.tokenize(inputs)
    vectors = encoder.embed(items)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, norms, out=vectors, where=norms > 0)
    tokens = np.array([len(item.ids) for item in items], dtype=np.int64)
    cut = np.zeros(len(items), dtype=bool)
    full = np.flatnonzero(
        np.array([item.end - item.start for item in items], dtype=np.int64) >= encoder.document_reach - 8
    )
    for number in full.tolist():  # it may have just as many tokens as are read
        cut[number] = encoder.document_tokens([inputs[number].text])[0] > encoder.document_reach
    return Encoding(vectors, tokens, cut)


def _predicted(encoder: Encoder | None, item: EncodeInput) -> float:
    """About how many tokens a text has, for the model to read."""
    reach = encoder.document_reach if encoder is not None else 512
    return min(len(item.text) / CHARACTERS_A_TOKEN, reach) + 4
