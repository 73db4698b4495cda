"""The server's parts, put together: what is served, the model's thread, the queues; loading, being ready, ending."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from searchapp import __version__
from searchapp.encoder import Encoder
from searchapp.rerank import Reranker, load_reranker
from searchapp.serve.admission import Admission
from searchapp.serve.door import Door
from searchapp.serve.fields import fields_of
from searchapp.serve.jobs import Jobs
from searchapp.serve.judged import Judged
from searchapp.serve.limits import Limits
from searchapp.serve.metrics import Metrics
from searchapp.serve.model_thread import Lane, ModelThread, Ticket
from searchapp.serve.problem import ProblemError
from searchapp.serve.searching import Searching
from searchapp.serve.served import Models, Served, State, Watcher
from searchapp.shards.remote import Cluster

log = logging.getLogger(__name__)

STALE = 10.0  # seconds without an encoded batch after which being ready is proved anew
PROOF = 5.0  # seconds that the proof may take


@dataclass(frozen=True)
class Setup:
    """What to serve: index directories by name, rerankers, folders with judgements by name, and how."""

    indexes: dict[str, Path]
    rerankers: tuple[str, ...] = ()
    collections: dict[str, Path] = field(default_factory=dict)
    device: str = "auto"
    writable: bool = False
    limits: Limits = Limits()
    shards: tuple[str, ...] | None = None  # of a root, that a coordinator asks this server for; () are all
    cluster: Cluster | None = None  # the servers that have the shards


class Server:
    """One process that answers. Made in the thread that runs the event loop; ``load`` may run in another."""

    def __init__(self, setup: Setup, door: Door) -> None:
        self.setup = setup
        self.door = door
        self.limits = setup.limits
        self.metrics = Metrics()
        self.models = Models(setup.device)
        parts: dict[str, Any] = {"shards": setup.shards, "cluster": setup.cluster}
        self.served = {
            name: Served(name, path, self.models, self.metrics, **parts) for name, path in setup.indexes.items()
        }
        self.rerankers: dict[str, Reranker] = {}
        self.thread = ModelThread(self.limits, self.metrics)
        self.searching = Searching(self.thread, self.limits, self.metrics, threads=2 if setup.cluster is None else 16)
        self.admission = Admission(self.limits)
        self.jobs = Jobs(self.thread, setup.device)
        self.judged = {name: Judged(name, folder) for name, folder in setup.collections.items()}
        self.watcher = Watcher(list(self.served.values()), self._count_fields)
        self.loaded = threading.Event()
        self.failure: str | None = None  # why it could not be loaded
        self.draining = False
        self._watch_figures()

    def _watch_figures(self) -> None:
        watch = self.metrics.watch
        watch("inflight", "Requests under way.", lambda: self.admission.requests)
        watch("queue_tokens", "Tokens of these, about.", lambda: self.admission.tokens)
        watch("encoder_alive", "Whether the model's thread runs.", lambda: self.thread.is_alive)
        for lane in Lane:
            waiting = partial(self.thread.waiting, lane)
            watch(f"queue_requests_{lane.name.lower()}", f"Jobs waiting for the model: {lane.name.lower()}.", waiting)

    def load(self) -> None:
        """Open the indexes and load their models. Raises SearchAppError; ``failure`` has its text then."""
        try:
            for name in self.setup.rerankers:
                self.rerankers[name] = load_reranker(name, device=self.setup.device)
            for served in self.served.values():
                served.open(model=self.setup.shards is None)
            for encoder in self.models.by_name.values():
                self._prove(encoder, 600)
        except BaseException as error:
            self.failure = str(error)
            raise
        names = ", ".join(self.models.by_name)
        fingerprint = next((encoder.fingerprint["sha256"] for encoder in self.models.by_name.values()), "")
        self.metrics.built.info({"version": __version__, "model": names, "fingerprint": fingerprint})
        self.watcher.start()
        self.loaded.set()
        for served in self.served.values():
            self._count_fields(served)
            if self.setup.writable:
                self.jobs.warm(served)
        log.info("ready: %s", ", ".join(self.served))

    def _count_fields(self, served: Served) -> None:
        """Count the values of a new state's metadata before the page asks for them."""
        self.searching.slow.submit(fields_of, served.state)

    def _prove(self, encoder: Encoder, seconds: float = PROOF) -> None:
        ticket = Ticket(time.monotonic() + seconds)
        inputs = encoder.inputs(["ready?"], encoder.settings.query_instruction)
        self.thread.submit(Lane.QUERY, encoder, inputs, ticket).result(seconds)

    def prove(self) -> None:
        """Raise ProblemError unless a query would be answered now: loaded, not ending, and the model works."""
        if self.draining:
            raise ProblemError(503, "the server is stopping", retry=5)
        if not self.loaded.is_set():
            raise ProblemError(503, self.failure or "models and indexes are being loaded", retry=2)
        if not self.thread.is_alive:
            raise ProblemError(503, "the model's thread has ended")
        if time.monotonic() - self.thread.succeeded > STALE:
            for encoder in self.models.by_name.values():
                try:
                    self._prove(encoder)
                except Exception as error:
                    raise ProblemError(503, f"the model does not answer: {type(error).__name__}") from error

    def lost(self) -> ProblemError | None:
        """What to say where the files of an index are gone from under the state that answers; else None."""
        for one in self.served.values():
            if one.is_ready and not one.state.index.snapshot.in_place:
                return ProblemError(
                    503, f"the files of the index {one.name} are gone; put them back, or build it again", retry=5,
                    code="index_gone",
                )  # fmt: skip
        return None

    def state(self, name: str | None) -> State:
        """The state of an index that answers now; without a name: of the only one, or the first.

        Raises ProblemError for a name that is not served.
        """
        if self.draining:
            raise ProblemError(503, "the server is stopping", retry=5)
        return self.index(name).state

    def index(self, name: str | None) -> Served:
        """An index by its name; without one: the first."""
        if name is None:
            return next(iter(self.served.values()))
        if name not in self.served:
            raise ProblemError(
                404, f"no index is named {name[:100]!r}; there are {', '.join(self.served)}", param="index"
            )
        return self.served[name]

    def reranker(self, name: str) -> Reranker:
        """A reranker that the server was started with. Raises ProblemError for another."""
        if name not in self.rerankers:
            there = (
                f"there are {', '.join(self.rerankers)}" if self.rerankers else "it has none; start it with --rerank"
            )
            raise ProblemError(400, f"the server has no reranker {name[:100]!r}; {there}", param="rerank")
        return self.rerankers[name]

    def model(self, name: str) -> tuple[str, Encoder, bool]:
        """An encoder by name, and whether texts are queries, which ``NAME:query`` says; "" is the first one.

        Raises ProblemError for a name that there is not.
        """
        there = self.models.by_name
        base, _, kind = name.rpartition(":") if name.endswith((":query", ":document")) else (name, "", "")
        if not there:
            raise ProblemError(503, "no model is loaded yet", retry=2)
        if base == "":
            base = next(iter(there))
        if base not in there:
            names = ", ".join(f"{one}, {one}:query" for one in there)
            raise ProblemError(404, f"no model is named {base[:100]!r}; there are {names}", param="model")
        return base, there[base], kind == "query"

    def without_places(self, text: str) -> str:
        """A message in which indexes and folders have their names, not their places on this machine."""
        places = {str(path): name for name, path in (*self.setup.indexes.items(), *self.setup.collections.items())}
        for place in sorted(places, key=len, reverse=True):
            text = text.replace(place, places[place])
        return text

    def stop(self) -> None:
        """End the threads."""
        self.draining = True
        self.watcher.stop()
        self.jobs.stop()
        self.searching.stop()
        self.thread.stop()
