"""Writing to an index while it is served: one job at a time for each index, by the code of ``add`` and ``delete``."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec

from searchapp.atomic import write_text
from searchapp.encoder import Encoder
from searchapp.errors import SearchAppError, reason_of, why_unwritten
from searchapp.index import AddSettings
from searchapp.index.encoder_match import recorded_backend, recorded_encoder
from searchapp.serve.bodies import DocumentWrite
from searchapp.serve.lane_models import LaneEncoder
from searchapp.serve.model_thread import Lane, ModelThread, Ticket
from searchapp.serve.problem import ProblemError, over_http
from searchapp.serve.served import Served
from searchapp.shards import noted
from searchapp.user_cache import cache_folder

log = logging.getLogger(__name__)

KEPT = 1_000  # jobs that are remembered
WAITING = 64
SOURCE = "http"  # the name of what comes over HTTP, among an index's sources
LOOK = 0.2  # seconds between looks at a job whose progress is sent


@dataclass
class Job:
    """One job: ``state`` is waiting, running, done or failed."""

    identifier: str
    kind: str
    index: str
    state: str = "waiting"
    stage: str = ""
    done: int = 0
    total: int | None = None
    result: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    changed: int = 0  # goes up with every change

    def to_json(self) -> dict[str, Any]:
        """What a client sees."""
        names = ("kind", "index", "state", "stage", "done", "total", "result", "problem")
        return {"id": self.identifier, **{name: getattr(self, name) for name in names}}

    def begin(self, name: str, total: int | None = None, unit: str = "", done: int = 0) -> None:
        """A stage begins."""
        self.stage, self.total, self.done = name, total, done
        self.changed += 1

    def advance(self, count: int = 1, **figures: float) -> None:
        """So much more is done."""
        self.done += count
        self.changed += 1

    def expect(self, total: int, **figures: float) -> None:
        """A better estimate of the total."""
        self.total = total
        self.changed += 1


class _JobProgress:
    """A job's progress as the library tells it."""

    def __init__(self, job: Job) -> None:
        self.stage, self.advance, self.expect = job.begin, job.advance, job.expect


class Jobs:
    """The jobs of a server."""

    def __init__(self, thread: ModelThread, device: str) -> None:
        self._thread = thread
        self._device = device
        self._pool = ThreadPoolExecutor(1, "write")
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()
        self._encoders: dict[str, tuple[Any, Encoder]] = {}  # that write, by index, where another one searches

    def get(self, identifier: str) -> Job:
        """A job. Raises ProblemError for one that is not known, or not any more."""
        if identifier not in self._jobs:
            raise ProblemError(
                404, f"no job is named {identifier[:100]!r}; a server knows its own last {KEPT:,} jobs", param="id"
            )
        return self._jobs[identifier]

    def write(self, served: Served, documents: Sequence[DocumentWrite]) -> Job:
        """Add documents; those whose ids are there take their place."""

        def work(job: Job) -> dict[str, Any]:
            lines = (
                json.dumps({"_id": one.id, "title": one.title, "text": one.text, "metadata": one.metadata})
                for one in documents
            )
            spool = self._spool(served.root)
            write_text(spool, "".join(f"{line}\n" for line in lines))
            try:
                encoder = self._writer_of(served)
                lane = LaneEncoder(self._thread, Lane.BACKGROUND, encoder, Ticket())
                settings, told = AddSettings(names=(SOURCE,)), _JobProgress(job)
                done = noted.add([str(spool)], served.root, cast(Encoder, lane), settings, progress=told)
            finally:
                spool.unlink(missing_ok=True)
            counts = ("added", "changed", "unchanged", "rejected", "encoded")
            found: dict[str, Any] = {name: getattr(done, name) for name in counts}
            return {
                **found,
                "reasons": done.reasons,
                "documents": done.manifest.documents,
                "generation": done.manifest.number,
            }

        return self._start("write", served, work)

    def delete(self, served: Served, ids: Sequence[str], filter: str | None) -> Job:
        """Delete documents by id, or by a filter."""

        def work(job: Job) -> dict[str, Any]:
            done = noted.delete(served.root, ids, filter=filter)
            return {
                "deleted": done.deleted, "unknown": list(done.unknown), "documents": done.manifest.documents,
                "generation": done.manifest.number,
            }  # fmt: skip

        return self._start("delete", served, work)

    def warm(self, served: Served) -> None:
        """Load what writes to an index, in the background, so that the first job does not wait for it."""
        self._pool.submit(self._warm, served)

    def _warm(self, served: Served) -> None:
        try:
            encoder = self._writer_of(served)
            if encoder is not served.state.encoder:
                LaneEncoder(self._thread, Lane.BACKGROUND, encoder, Ticket()).encode_documents(["warm"])
        except Exception as error:
            log.warning("%s: what writes to it is not loaded yet: %s", served.name, reason_of(error))  # a job says it

    def _start(self, kind: str, served: Served, work: Callable[[Job], dict[str, Any]]) -> Job:
        job = Job(secrets.token_hex(8), kind, served.name)
        with self._lock:
            if sum(one.state in ("waiting", "running") for one in self._jobs.values()) >= WAITING:
                raise ProblemError(429, "too many jobs are waiting; come again", code="queue_full", retry=5)
            self._jobs[job.identifier] = job
            while len(self._jobs) > KEPT:
                self._jobs.popitem(last=False)
        self._pool.submit(self._run, job, served, work)
        return job

    def _run(self, job: Job, served: Served, work: Callable[[Job], dict[str, Any]]) -> None:
        job.state = "running"
        job.changed += 1
        try:
            job.result = work(job)
            served.reload()
            job.state = "done"
        except SearchAppError as error:
            job.problem, job.state = over_http(str(error).replace(str(served.root), served.name)), "failed"
        except ProblemError as problem:
            job.problem, job.state = problem.message, "failed"
        except OSError as error:
            log.exception("job %s failed", job.identifier)
            job.problem, job.state = f"the documents cannot be kept: {why_unwritten(error)}", "failed"
        except Exception as error:
            log.exception("job %s failed", job.identifier)
            job.problem, job.state = f"a fault of the server: {type(error).__name__}", "failed"
        job.changed += 1

    def _writer_of(self, served: Served) -> Encoder:
        """The encoder that makes vectors as the index has them: by the same backend."""
        state = served.state
        manifest = state.index.manifest
        backend = recorded_backend(manifest)
        if state.encoder is not None and state.encoder.backend.name == backend:
            return state.encoder
        recorded, encoder = self._encoders.get(served.name, (None, None))
        if encoder is None or recorded != manifest.encoder:  # an index that is built anew may have another one
            encoder = recorded_encoder(manifest, served.root, self._device, backend=backend)
            self._encoders[served.name] = manifest.encoder, encoder
        return encoder

    def _spool(self, root: Path) -> Path:
        """Where documents of an index wait to be read: always the same file, as it is recorded as their source."""
        folder = cache_folder() / "writes" / hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{SOURCE}.jsonl"

    def stop(self) -> None:
        """Begin no more jobs."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def events(job: Job) -> AsyncIterator[bytes]:
    """A job's progress as server-sent events, until it has ended."""
    seen, spoken = -1, time.monotonic()
    while True:
        ended = job.state in ("done", "failed")
        if job.changed != seen:
            seen = job.changed
            name = b"end" if ended else b"progress"
            yield b"event: " + name + b"\ndata: " + msgspec.json.encode(job.to_json()) + b"\n\n"
            spoken = time.monotonic()
        elif time.monotonic() - spoken > 10:
            yield b": \n\n"
            spoken = time.monotonic()
        if ended:
            return
        await asyncio.sleep(LOOK)
