"""Searches of many requests: their queries are encoded in one batch, and those of equal plans searched in one call."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from searchapp.encoder import Encoder
from searchapp.index import VectorIndex
from searchapp.rerank import Reranker
from searchapp.search import Hit, Plan, Ranking, Typed, hits_of, ranked, understood
from searchapp.search.typed import is_plain, spoken
from searchapp.serve.lane_models import LaneReranker
from searchapp.serve.limits import Limits
from searchapp.serve.metrics import Metrics
from searchapp.serve.model_thread import Encoding, Job, Lane, ModelThread, Ticket
from searchapp.serve.served import State
from searchapp.shards.peers import LostShardsError
from searchapp.shards.remote import RemoteIndex

log = logging.getLogger(__name__)

Key = tuple[Any, ...]
KEPT_BYTES = 64 << 20  # of query vectors


@dataclass(eq=False)
class Search:
    """Queries of one request on one state: ``key`` says which searches may share a call."""

    state: State
    queries: list[str]
    instruction: str | None
    plan: Plan
    ticket: Ticket
    reranker: Reranker | None = None
    literal: bool = False
    vectors: np.ndarray | None = None
    cut: list[bool] = field(default_factory=list)
    queued: float = 0.0  # seconds it waited for the model
    encoding: float = 0.0  # seconds its batch took to encode

    @property
    def key(self) -> Key:
        """What is equal for searches that can be made together."""
        plan = self.plan
        expression = None if plan.filter is None else plan.filter.expression
        return id(self.state), plan.k, plan.candidates, plan.fusion, plan.dense, expression, self.literal

    @property
    def texts(self) -> list[str]:
        """What the queries' vectors are made of."""
        return [spoken(self.state.index, query, literal=self.literal) for query in self.queries]


@dataclass(frozen=True)
class Found:
    """What was found, query by query: what was searched for, where it stands in the stages, and its hits."""

    search: Search
    typed: list[Typed]
    rankings: list[Ranking]
    hits: list[tuple[Hit, ...]]
    searching: float  # seconds of the call, which it may have shared
    reranking: float
    index: VectorIndex  # what was asked: of an index over machines, the shards that answered
    total: int  # documents there, or that pass the filter


class QueryVectors:
    """The vectors of the queries used last, by encoder, instruction and text. Safe between threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, str | None, str], tuple[np.ndarray, bool]] = OrderedDict()

    def get(
        self, encoder: Encoder, instruction: str | None, texts: Sequence[str]
    ) -> list[tuple[np.ndarray, bool]] | None:
        """Vector and whether the text was cut, for each text; None unless all are known."""
        keys = [(id(encoder), instruction, text) for text in texts]
        with self._lock:
            found = [self._kept.get(key) for key in keys]
            known = [one for one in found if one is not None]
            if len(known) < len(keys):
                return None
            for key in keys:
                self._kept.move_to_end(key)
        return known

    def put(self, encoder: Encoder, instruction: str | None, texts: Sequence[str], encoding: Encoding) -> None:
        """Keep them."""
        with self._lock:
            for text, vector, cut in zip(texts, encoding.vectors, encoding.cut.tolist(), strict=True):
                self._kept[(id(encoder), instruction, text)] = vector.copy(), cut  # not a view of the whole batch
                self._kept.move_to_end((id(encoder), instruction, text))
            most = min(self._most, KEPT_BYTES // (4 * max(1, encoder.dim)))
            while len(self._kept) > most:
                self._kept.popitem(last=False)


class Searching:
    """Takes searches from the event loop and gives their futures what was found."""

    def __init__(self, thread: ModelThread, limits: Limits, metrics: Metrics, *, threads: int = 2) -> None:
        self._thread = thread
        self._metrics = metrics
        self._vectors = QueryVectors(limits.query_vectors)
        self.pool = ThreadPoolExecutor(threads, "search")  # quick work only: nothing in it waits for the model
        self.slow = ThreadPoolExecutor(4, "slow")  # reranking, explanations, passages: waits for the model
        self._futures: dict[Job, tuple[Search, asyncio.Future[Found]]] = {}

    async def find(self, search: Search) -> Found:
        """Encode, search, read the hits, in that order and in other threads. Raises what these raise."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Found] = loop.create_future()
        if search.plan.dense:
            encoder = search.state.encoder
            assert encoder is not None  # noqa: S101 - a state that is searched by vectors has one
            asked = encoder.settings.query_instruction if search.instruction is None else search.instruction
            texts = search.texts
            if (known := self._vectors.get(encoder, asked, texts)) is not None:
                search.vectors = np.stack([vector for vector, _ in known])
                search.cut = [cut for _, cut in known]
            else:
                inputs = encoder.inputs(texts, asked)
                job = Job(Lane.QUERY, search.ticket, encoder, inputs, deliver=self._encoded)
                self._futures[job] = search, future
                self._thread.put(job)
                return await future
        self._start([(search, future)])
        return await future

    def _encoded(self, jobs: list[Job]) -> None:
        """Called by the model's thread, with all jobs of a batch: search those together that can be."""
        groups: dict[Key, list[tuple[Search, asyncio.Future[Found]]]] = {}
        for job in jobs:
            search, future = self._futures.pop(job)
            if job.failure is not None:
                _settle([(future, job.failure)])
                continue
            encoding: Encoding = job.result
            search.vectors, search.cut = encoding.vectors, encoding.cut.tolist()
            search.queued, search.encoding = job.began - job.came, job.ended - job.began
            self._metrics.queue.labels(Lane.QUERY.name.lower()).observe(search.queued)
            if job.encoder is not None and job.inputs:
                self._vectors.put(job.encoder, job.inputs[0].instruction, search.texts, encoding)
            groups.setdefault(search.key, []).append((search, future))
        if len(jobs) == 1 and not self._thread.waiting(Lane.QUERY):
            [group] = groups.values() or [[]]
            if group and _is_quick(group[0][0]):
                self._run(group)  # nobody waits for the model: one thread less to wake
                return
        for group in groups.values():
            alone = [pair for pair in group if pair[0].reranker is not None]
            self._start([pair for pair in group if pair[0].reranker is None])
            for pair in alone:
                self._start([pair])

    def _start(self, group: list[tuple[Search, asyncio.Future[Found]]]) -> None:
        if group:
            pool = self.slow if group[0][0].reranker is not None else self.pool
            pool.submit(self._run, group)

    def _run(self, group: list[tuple[Search, asyncio.Future[Found]]]) -> None:
        """Search for a group, in a thread of a pool. Where that fails for several, each is tried alone."""
        wanted = []
        for search, future in group:
            try:
                search.ticket.check()
                wanted.append((search, future))
            except Exception as problem:
                _settle([(future, problem)])
        if not wanted:
            return
        try:
            found = self._found([search for search, _ in wanted])
        except Exception as error:
            if len(wanted) == 1:
                _settle([(wanted[0][1], error)])
                return
            for pair in wanted:
                self._run([pair])
            return
        _settle([(future, one) for (_, future), one in zip(wanted, found, strict=True)])

    def _found(self, searches: list[Search]) -> list[Found]:
        first = searches[0]
        plan = first.plan
        index = first.state.index.for_request(first.ticket.left)
        if first.reranker is not None:
            background = LaneReranker(self._thread, Lane.BULK, first.reranker, first.ticket)
            plan = replace(plan, reranker=background)
        vectors = None
        if plan.dense:
            vectors = np.concatenate([search.vectors for search in searches if search.vectors is not None])
        began = time.perf_counter()
        while True:
            try:
                typed = list(_understood(index, searches, plan))
                rankings = ranked(index, typed, vectors, plan)
                read = [hits_of(index, one.stages, one.query) for one in rankings]
                total = index.count(plan.filter)
                break
            except LostShardsError as lost:  # again without them from the first step on, if some may be missing
                if not isinstance(index, RemoteIndex):
                    raise
                index = index.after(lost)
        spent = time.perf_counter() - began
        reranking = 0.0
        for stages in {id(one.stages): one.stages for one in rankings}.values():
            reranking += sum(stage.seconds for stage in stages if stage.name == "reranked")
            count = len(stages[-1].rows)
            for stage in stages:
                self._metrics.search.labels(stage.name).observe(stage.seconds / count)
                if stage.rescored:
                    self._metrics.rescored.inc(stage.rescored * count)
            if first.reranker is not None:
                self._metrics.pairs.inc(sum(min(int((row >= 0).sum()), plan.rerank_depth) for row in stages[-1].rows))
        found, number = [], 0
        for search in searches:
            own = slice(number, number + len(search.queries))
            found.append(
                Found(search, typed[own], rankings[own], read[own], spent - reranking, reranking, index, total)
            )
            number += len(search.queries)
        return found

    async def aside(self, function: Callable[[], Any], *, slow: bool = False) -> Any:
        """The result of a function that is called in another thread."""
        return await asyncio.get_running_loop().run_in_executor(self.slow if slow else self.pool, function)

    def stop(self) -> None:
        """Take no more work."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.slow.shutdown(wait=False, cancel_futures=True)


def _understood(index: VectorIndex, searches: Sequence[Search], plan: Plan) -> Iterator[Typed]:
    """What is searched for by each query. Raises ProblemError where one of the requests is not wanted any more."""
    for search in searches:
        for query in search.queries:
            search.ticket.check()
            yield understood(index, query, plan, literal=search.literal)


def _is_quick(search: Search) -> bool:
    """Whether a search takes no longer than waking a thread for it: a single query, searched for as it stands."""
    if search.reranker is not None or len(search.queries) > 1 or search.state.index.is_remote:  # waits for others
        return False
    return is_plain(search.state.index, search.queries[0], search.plan, literal=search.literal)


def _settle(pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    """Give futures of one event loop their results, or the errors that stand in their place, from another thread."""

    def settle() -> None:
        for future, result in pairs:
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)

    try:
        pairs[0][0].get_loop().call_soon_threadsafe(settle)
    except RuntimeError:  # the loop is closed: nobody waits any more
        log.debug("a result came after the end of the server")
