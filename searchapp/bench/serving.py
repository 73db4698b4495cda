"""``searchapp bench serve``: our server beside servers as one writes them, on the same index, weights and machine.

Each server is a process of its own on the loopback address. Queries are all different, so that no cache of query
vectors answers them. Processor time is that of the server's process.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.bench.encode_baselines import export_for_baselines
from searchapp.bench.load import Measured, Target, closed, merged, open_loop
from searchapp.bench.machine import describe
from searchapp.bench.servers import (
    FASTAPI,
    INFINITY,
    OURS,
    SENTENCES,
    Program,
    check_rivals,
    infinity,
    ours,
    rival,
    started,
    with_older_names,
)
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.encoder import Encoder
    from searchapp.search import Index

SHARES = (25, 50, 75, 90)  # percent of what it can do at most, at which an open loop asks
WORDS = (3, 8)  # of a query, at least and at most
TEXT = 60  # words of a text to embed
BULK = 2_048  # texts that another client embeds at once
SINGLE = 300  # queries asked of library and server, in turn, one by one
CALM = 20.0  # queries a second of a person's searches beside the other client


@dataclass(frozen=True)
class ServingPlan:
    """What to measure: ``modes`` of search, ``clients`` at once, ``seconds`` of each measurement, in ``rounds``.

    ``infinity`` is the program ``infinity_emb``, which has an environment of its own.
    """

    rivals: tuple[str, ...] = (FASTAPI, SENTENCES)
    modes: tuple[str, ...] = ("dense", "auto")
    clients: tuple[int, ...] = (1, 8, 32)
    seconds: float = 4.0
    rounds: int = 2
    threads: int = 0
    infinity: Path | None = None
    bulk: int = BULK


@dataclass
class _Work:
    """Queries and texts without end, none twice."""

    model: str
    words: np.ndarray
    texts: list[str]
    _numbers: Iterator[int] = field(default_factory=count)

    def query(self) -> str:
        """Some words of the documents."""
        draws = np.random.default_rng(next(self._numbers))
        return " ".join(draws.choice(self.words, size=int(draws.integers(WORDS[0], WORDS[1] + 1))))

    def text(self) -> str:
        """``TEXT`` words of a document, or fewer."""
        number = next(self._numbers)
        return f"{self.texts[number % len(self.texts)]} {number}"

    def searches(self, mode: str) -> Iterator[bytes]:
        """Bodies of search requests. The rival takes the same."""
        while True:
            yield json.dumps({"query": self.query(), "k": 10, "mode": mode}).encode()

    def embeddings(self) -> Iterator[bytes]:
        """Bodies of requests for the vector of one text."""
        while True:
            yield json.dumps({"input": self.text(), "model": self.model}).encode()


def bench_serve(directory: Path, plan: ServingPlan, notice: Callable[[str], None]) -> dict[str, Any]:
    """Measure. Raises SearchAppError for a rival that is unknown or not installed, and a server that does not start."""
    _check(plan)
    from searchapp.search import Index

    threads = plan.threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else plan.threads or 1
    index = Index.open(directory)
    work = _work(index)
    found: dict[str, Any] = {
        "index": directory.resolve().name,
        "documents": index.vectors.manifest.documents,
        "model": index.vectors.manifest.encoder["reference"]["model"],
        "machine": describe("cpu", threads),
        "seconds": plan.seconds,
        "rounds": plan.rounds,
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="searchapp-bench-")))
        mine = stack.enter_context(started(OURS, ours(directory), threads))
        notice("one client beside the library")
        found["overhead"] = _overhead(index, mine, work)
        found["encoder_queries_per_second"] = _encoder_rate(index, work)
        found["search"] = {}
        for mode in plan.modes:
            with ExitStack() as rivals:
                programs = [mine]
                if FASTAPI in plan.rivals:
                    words = rival("search", str(directory), mode)
                    programs.append(rivals.enter_context(started(FASTAPI, words, threads)))
                notice(f"searching, mode {mode}: {', '.join(one.name for one in programs)}")
                found["search"][mode] = _closed(programs, plan, partial(work.searches, mode), lambda _: "/api/search")
        mode = plan.modes[-1]
        most = max(row["requests_per_second"] for row in found["search"][mode] if row["program"] == OURS)
        notice(f"searching at shares of {most:,.0f} requests a second")
        found["open"] = _open(mine, plan, work, mode, most)
        notice("a person's searches while another client embeds")
        found["beside"] = _beside(mine, plan, work, mode)
        programs = [mine]
        for name in (SENTENCES, INFINITY):
            if name in plan.rivals:
                exported = export_for_baselines(whole_encoder(index), folder)
                words = rival("embed", str(exported))
                if name == INFINITY:
                    words = infinity(plan.infinity or Path(), with_older_names(exported), work.model)
                programs.append(stack.enter_context(started(name, words, threads)))
        notice(f"embedding: {', '.join(one.name for one in programs)}")
        one = ServingPlan(clients=(max(plan.clients),), seconds=plan.seconds, rounds=plan.rounds)
        found["embeddings"] = [
            {**row, "cosine": cosine}
            for row, cosine in zip(
                _closed(programs, one, work.embeddings, lambda program: program.embeddings),
                _cosines(programs, work),
                strict=True,
            )
        ]
    return found


def _check(plan: ServingPlan) -> None:
    check_rivals(plan.rivals, plan.infinity)
    if not plan.modes or not plan.clients or plan.seconds <= 0 or plan.rounds < 1:
        raise SearchAppError("there is nothing to measure; give a mode, a number of clients, seconds and rounds")


def whole_encoder(index: Index) -> Encoder:
    """The encoder of an index run by torch, which can be exported; queries alone may have a lighter one."""
    from searchapp.index.encoder_match import recorded_encoder

    return recorded_encoder(index.vectors.manifest, index.vectors.snapshot.root, "cpu")


def _work(index: Index) -> _Work:
    rows = index.vectors.rows
    documents = [rows.read(row) for row in range(min(2_000, index.vectors.manifest.rows))]
    texts = [" ".join(document.text.split()[:TEXT]) for document in documents]
    words = sorted({word for text in texts for word in text.split() if word.isalpha()})
    if len(words) < WORDS[1]:
        raise SearchAppError("the index has too few words to make queries of; give one of more documents")
    return _Work(
        Path(index.vectors.manifest.encoder["reference"]["model"]).name,
        np.array(words),
        [text for text in texts if text],
    )


def _measured(program: Program, measure: Callable[[], Measured]) -> tuple[Measured, float]:
    before = program.cpu()
    found = measure()
    return found, program.cpu() - before


def _closed(
    programs: Sequence[Program],
    plan: ServingPlan,
    bodies: Callable[[], Iterator[bytes]],
    path: Callable[[Program], str],
) -> list[dict[str, Any]]:
    """Every program with every number of clients, in turn, round after round."""
    parts: dict[tuple[str, int], list[tuple[Measured, float]]] = {}
    for program in programs:  # threads and buffers are made at the first requests
        closed(Target(program.port, path(program)), bodies(), max(plan.clients), 0.3)
    for _ in range(plan.rounds):
        for clients in plan.clients:
            for program in programs:
                measure = partial(closed, Target(program.port, path(program)), bodies(), clients, plan.seconds)
                parts.setdefault((program.name, clients), []).append(_measured(program, measure))
    return [_row(name, clients, measured) for (name, clients), measured in parts.items()]


def _row(name: str, clients: int, parts: Sequence[tuple[Measured, float]]) -> dict[str, Any]:
    whole = merged([measured for measured, _ in parts])
    cpu = 1_000 * sum(seconds for _, seconds in parts) / max(1, len(whole.milliseconds))
    return {"program": name, "clients": clients, **whole.to_json(), "cpu_ms": cpu}


def _open(program: Program, plan: ServingPlan, work: _Work, mode: str, most: float) -> list[dict[str, Any]]:
    rows = []
    for share in SHARES:
        rate = most * share / 100
        target = Target(program.port, "/api/search")
        found, cpu = _measured(program, partial(open_loop, target, work.searches(mode), rate, plan.seconds))
        cost = 1_000 * cpu / max(1, len(found.milliseconds))
        rows.append({"share": share, "rate": rate, **found.to_json(), "cpu_ms": cost})
    return rows


def _beside(program: Program, plan: ServingPlan, work: _Work, mode: str) -> dict[str, Any]:
    """The latency of searches alone, and while another client embeds ``plan.bulk`` texts in one request."""
    import threading

    target = Target(program.port, "/api/search")
    idle = open_loop(target, work.searches(mode), CALM, max(plan.seconds, 4.0))
    texts = [work.text() for _ in range(plan.bulk)]
    body = json.dumps({"input": texts, "model": work.model, "encoding_format": "base64"}).encode()
    embedded: list[Measured] = []

    def embed() -> None:
        embedded.append(closed(Target(program.port, "/v1/embeddings"), iter([body] * 2), 1, 0.001))

    thread = threading.Thread(target=embed)
    thread.start()
    time.sleep(0.2)
    parts: list[Measured] = []
    began = time.perf_counter()
    while thread.is_alive() and time.perf_counter() - began < 60:
        parts.append(open_loop(target, work.searches(mode), CALM, 1.0, seed=len(parts)))
    thread.join()
    return {"idle": idle.to_json(), "busy": merged(parts).to_json(), "texts": plan.bulk, **_bulk(embedded)}


def _bulk(embedded: Sequence[Measured]) -> dict[str, Any]:
    one = embedded[0] if embedded else Measured()
    return {
        "embedding_ms": one.milliseconds[0] if one.milliseconds else None,
        "embedding_failed": sum(one.failed.values()),
    }


def _overhead(index: Index, program: Program, work: _Work) -> list[dict[str, Any]]:
    """What one client pays over a call of the library, query by query in turn: milliseconds at p50, and processor time.

    The server's processor time is that of its process alone.
    """
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=60)
    rows = []
    for mode in ("dense", "hybrid") if index.vectors.manifest.lexical is not None else ("dense",):
        library, served = Measured(), Measured()
        library_cpu, before = 0.0, program.cpu()
        for number in range(SINGLE + 20):
            query = work.query()
            began, cpu = time.perf_counter(), time.process_time()
            index.search(query, 10, mode=mode)
            spent, cpu = time.perf_counter() - began, time.process_time() - cpu
            began = time.perf_counter()
            body = json.dumps({"query": query, "k": 10, "mode": mode}).encode()
            connection.request("POST", "/api/search", body, {"content-type": "application/json"})
            connection.getresponse().read()
            asked = time.perf_counter() - began
            if number == 19:  # the first ones find nothing warm
                before = program.cpu()
            if number >= 20:
                library.milliseconds.append(1_000 * spent)
                served.milliseconds.append(1_000 * asked)
                library_cpu += cpu
        rows.append(
            {
                "mode": mode,
                "library_p50_ms": library.percentile(50),
                "server_p50_ms": served.percentile(50),
                "library_cpu_ms": 1_000 * library_cpu / SINGLE,
                "server_cpu_ms": 1_000 * (program.cpu() - before) / SINGLE,
            }
        )
    connection.close()
    return rows


def _encoder_rate(index: Index, work: _Work) -> float:
    """Queries a second that the encoder embeds in batches of 32, in this process."""
    encoder = index.encoder
    queries = [[work.query() for _ in range(32)] for _ in range(8)]
    encoder.encode_queries(queries[0])
    rates = []
    for batch in queries:
        began = time.perf_counter()
        encoder.encode_queries(batch)
        rates.append(len(batch) / (time.perf_counter() - began))
    return float(np.median(rates))


def _cosines(programs: Sequence[Program], work: _Work) -> list[float]:
    """How near each server's vector of a text is to ours."""
    body = {"input": work.text(), "model": work.model}
    vectors = [
        np.array(program.post(program.embeddings, body)["data"][0]["embedding"], dtype=np.float64)
        for program in programs
    ]
    return [float(vector @ vectors[0] / np.linalg.norm(vector) / np.linalg.norm(vectors[0])) for vector in vectors]
