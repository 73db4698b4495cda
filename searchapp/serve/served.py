"""The indexes that are served, each by a name: one state at a time, and the next one taken when it is warm.

A request holds the ``State`` it began with until its last byte. A state that no request holds any more is closed, which
gives up its lock on the manifest, so that ``compact`` may remove its files.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from searchapp.encoder import Encoder
from searchapp.errors import IndexStoreError, ModelError, SearchAppError, reason_of
from searchapp.index import VectorIndex
from searchapp.index.encoder_match import recorded_encoder, require_match
from searchapp.index.lexical.analyzer import Analyzer
from searchapp.index.lexical.bm25 import analyzer_of
from searchapp.search import Prepared, SearchOptions, highlights, prepare, run
from searchapp.search.likeness import known_row, near_ids
from searchapp.serve.metrics import Metrics
from searchapp.serve.problem import ProblemError
from searchapp.shards.holder import Held
from searchapp.shards.opening import open_index, open_root, states
from searchapp.shards.place import LocalPlace
from searchapp.shards.remote import LOOKED_AT, Cluster
from searchapp.shards.root import generations, load_root
from searchapp.shards.sharded import ShardedIndex

log = logging.getLogger(__name__)

PLANS = 1_000  # that are kept of a state,
SHORT = 200  # those with a filter of so many characters at most
ASKED = 60.0  # seconds for which a shard server keeps a generation that a coordinator answers from,
MOST_KEPT = 4  # so many of them at most
POLL = 1.0  # seconds between looks at a directory


@dataclass(frozen=True)
class State:
    """One state of an index with its encoder. It never changes."""

    name: str
    index: VectorIndex
    encoder: Encoder | None
    model: str  # the name under which /v1/models lists the encoder

    @property
    def number(self) -> int:
        """The generation."""
        return self.index.manifest.number

    @cached_property
    def _prepared(self) -> dict[tuple[int, SearchOptions], Prepared]:
        return {}

    def prepared(self, k: int, asked: SearchOptions) -> Prepared:
        """``prepare`` for this state; what was asked before is kept. Raises SearchAppError."""
        if len(asked.filter or "") > SHORT:
            return prepare(self.index, k, asked)
        known = self._prepared
        if (found := known.get((k, asked))) is None:
            found = prepare(self.index, k, asked)
            if len(known) >= PLANS:
                known.clear()
            known[k, asked] = found
        return found

    @cached_property
    def shards(self) -> Held:
        """The same, as a coordinator asks it. Raises IndexStoreError for an index that is not made of shards."""
        if not isinstance(self.index, ShardedIndex):
            raise IndexStoreError(f"{self.name} is not made of shards")
        return Held(self.index)

    @cached_property
    def has_words(self) -> bool:
        """Whether BM25 can be asked."""
        return self.index.manifest.lexical is not None

    @cached_property
    def analyzer(self) -> Analyzer:
        """What cuts words for highlights: the index's own, else English."""
        part = self.index.manifest.lexical
        return Analyzer() if part is None else analyzer_of(part)

    def row(self, identifier: str) -> int:
        """The row of a document. Raises ProblemError, with ids like it, where there is none."""
        row = known_row(self.index, identifier)
        if row is None:
            near = near_ids(self.index, identifier)
            advice = f"near it: {', '.join(near)}" if near else "POST /api/search gives hits with their ids"
            raise ProblemError(
                404, f"no document has the id {identifier!r} in generation {self.number}; {advice}", param="id"
            )
        return row

    def warm(self) -> None:
        """Open and touch everything a search needs, so that the first one is as fast as the others."""
        index = self.index
        index.warm()
        if index.is_remote or not index.manifest.documents:
            return
        dense, words = self.encoder is not None, self.has_words
        probe = np.ones((1, index.manifest.dim), dtype=np.float32)
        for mode in [name for name, there in (("dense", dense), ("bm25", words), ("hybrid", dense and words)) if there]:
            run(index, ["warm"], None if mode == "bm25" else probe, prepare(index, 1, SearchOptions(mode=mode)).plan)
        [text] = [document.text for document in index.read([0])]
        if words:
            highlights(None, self.analyzer, text[:100] or "warm", [text])


class Models:
    """The encoders that are loaded, one for all indexes that were made by it. Safe between threads."""

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        self._lock = threading.RLock()
        self._loaded: dict[str, tuple[str, Encoder]] = {}

    def of(self, index: VectorIndex) -> tuple[str, Encoder]:
        """The encoder of an index, and its name. Raises ModelError."""
        recorded = index.manifest.encoder
        parts = [recorded["fingerprint"], recorded["dtype"], recorded["settings"]]
        key = msgspec.json.encode(parts, order="deterministic").decode()
        with self._lock:
            if key not in self._loaded:
                encoder = recorded_encoder(index.manifest, index.snapshot.root, self.device, backend="auto")
                name = self._free(Path(str(recorded["reference"]["model"])).name)
                self._loaded[key] = name, encoder
            return self._loaded[key]

    def _free(self, name: str) -> str:
        taken = {other for other, _ in self._loaded.values()}
        found, count = name, 2
        while found in taken:
            found, count = f"{name}-{count}", count + 1
        return found

    @property
    def by_name(self) -> dict[str, Encoder]:
        """The loaded encoders."""
        with self._lock:
            return dict(self._loaded.values())


class Served:
    """One index by its name: the state that answers now, and why the newest one does not, if so.

    With ``shards`` it is these of a root; with ``cluster`` a root whose shards are on other machines.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        models: Models,
        metrics: Metrics | None = None,
        *,
        shards: Sequence[str] | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self.name = name
        self._shards, self._cluster = shards, cluster
        self._kept: tuple[State, ...] = ()  # of generations before, which coordinators may still ask
        self._asked: dict[int, float] = {}  # the generations that coordinators answer from, and when they last said so
        self._openable: dict[int, list[str]] = {}
        self.root = root
        self.failure: str | None = None
        self._models = models
        self._metrics = metrics
        self._failed = -1  # the generation that could not be taken
        self._state: State | None = None
        self._lock = threading.Lock()

    @property
    def state(self) -> State:
        """The state that answers. Raises ProblemError while there is none."""
        state = self._state
        if state is None:
            raise ProblemError(503, f"the index {self.name} is not loaded yet", retry=2)
        return state

    @property
    def is_ready(self) -> bool:
        """Whether a state answers."""
        return self._state is not None

    def open(self, *, model: bool = True) -> None:
        """Open and warm the newest state, with its encoder; without ``model`` none is loaded until ``load_model``.

        Raises SearchAppError.
        """
        index = self._opened()
        name, encoder = self._models.of(index) if model else ("", None)
        state = State(self.name, index, encoder, name)
        state.warm()
        self._take(state)

    def held(self) -> list[Held]:
        """The generations of these shards that are held, the newest first. Raises ProblemError while there is none."""
        return [state.shards for state in (self.state, *self._kept)]

    def keep(self, generation: int) -> None:
        """Note that a coordinator answers from a generation: it is not dropped for ``ASKED`` seconds."""
        with self._lock:
            self._asked[generation] = time.monotonic()

    def there(self) -> list[tuple[int, list[str]]]:
        """The newest generations on this disk, and which of the shards of this server each has: what can be held."""
        place = LocalPlace(self.root)
        found: dict[int, list[str]] = {}
        for generation in generations(place)[:LOOKED_AT]:
            try:
                root = load_root(place, generation)
                shards = root.named(self._shards, all_there=False) if self._shards else root.shards
            except (OSError, SearchAppError):
                continue
            known = self._openable.get(generation)
            if known is None:
                known = [shard.name for shard in shards if place.path(shard.file).exists()]
            if len(known) == len(shards):
                found[generation] = known
        self._openable = found
        return list(found.items())

    def hold(self, generation: int) -> bool:
        """Hold another generation of these shards, if it is newer; says whether it is held.

        The one before stays, and so does what coordinators say that they answer from.

        Shard servers go on when a coordinator asks for it, so that all of them hold the same.
        """
        with self._lock:
            if generation <= self.state.number:
                return any(one.generation == generation for one in self.held())
            try:
                device = self.state.index.device
                index = open_root(self.root, device, generation=generation, names=self._shards or None, all_there=False)
                state = State(self.name, index, None, "")
                state.warm()
            except (SearchAppError, OSError) as error:
                return self._could_not(generation, error)
            self._take(state)
            return True

    def _opened(self) -> VectorIndex:
        device = self._models.device if self._models.device.startswith("cuda") else "cpu"
        if self._cluster is not None:
            return self._cluster.open(self.root)
        if self._shards is not None:
            return open_root(self.root, device, names=self._shards or None)
        return open_index(self.root, device)

    def _newest(self) -> int:
        """The number of the state to take; 0 where there is none. Raises OSError."""
        if self._cluster is not None:
            return self._cluster.newest(self.root)
        return next((number for number, _ in states(self.root)), 0)

    def load_model(self) -> None:
        """Give the state its encoder. Raises SearchAppError, and leaves it without one then."""
        self._models.of(self.state.index)  # which takes time, while newer states may come
        with self._lock:
            index = self.state.index
            name, encoder = self._models.of(index)
            state = State(self.name, index, encoder, name)
            state.warm()
            self._take(state)

    def _take(self, state: State) -> None:
        if self._shards is not None and self._state is not None and self._state.number != state.number:
            now = time.monotonic()
            self._asked = {number: said for number, said in self._asked.items() if now - said <= ASKED}
            wanted = [one for one in self._kept if one.number in self._asked and one.number != state.number]
            self._kept = (self._state, *wanted[:MOST_KEPT])
        self._state = state
        self.failure = None
        if self._metrics is not None:
            self._metrics.generation.labels(self.name).set(state.number)
            self._metrics.documents.labels(self.name).set(state.index.manifest.documents)

    def reload(self) -> bool:
        """Take a newer state, if there is one; says whether. One that cannot be taken leaves the old one in place."""
        with self._lock:
            now = self._state
            if now is None or self._shards is not None:  # these are told what to hold
                return False
            try:
                newest = self._newest()
            except (OSError, SearchAppError) as error:
                self.failure = f"its directory cannot be read: {reason_of(error)}"
                return False
            if self._cluster is not None and self._cluster.behind is not None and newest == now.number:
                self.failure = self._cluster.behind  # also where its root manifest was removed: servers hold it yet
                return False
            replaced = newest <= now.number and not now.index.snapshot.in_place  # removed, or built anew
            if newest == 0:
                self.failure = "its directory holds no index any more"
                return False
            if newest <= now.number and not replaced:
                self.failure = None
                return False
            if newest == self._failed:
                return False
            try:
                index = self._opened()
                if index.manifest.number == now.number and not replaced:  # the newest is damaged, and is passed over
                    raise IndexStoreError("; ".join(index.snapshot.notices) or f"state {newest} cannot be used")
                model, encoder = now.model, now.encoder
                try:
                    if encoder is not None:  # else none was loaded so far
                        require_match(index.manifest, self.root, encoder)
                except ModelError:
                    model, encoder = self._models.of(index)
                state = State(self.name, index, encoder, model)
                state.warm()
            except Exception as error:
                return self._could_not(newest, error)
            self._take(state)
            if self._metrics is not None:
                self._metrics.reloads.labels(self.name).inc()
            log.info("%s: generation %d answers now", self.name, state.number)
            return True

    def _could_not(self, newest: int, error: Exception) -> bool:
        text = str(error).replace(str(self.root), self.name)
        if self.failure != text:
            log.warning("%s: generation %d cannot be taken, the one before goes on: %s", self.name, newest, text)
        if self._metrics is not None and self.failure != text:
            self._metrics.reload_failures.labels(self.name).inc()
        self.failure = text
        if not isinstance(error, SearchAppError | OSError):
            self._failed = newest  # a fault of ours will not go away by itself
        return False


class Watcher(threading.Thread):
    """Looks for newer states every ``POLL`` seconds."""

    def __init__(self, served: Sequence[Served], changed: Callable[[Served], Any] | None = None) -> None:
        super().__init__(name="reload", daemon=True)
        self._served = served
        self._changed = changed
        self._wake = threading.Event()
        self._stop = False

    def run(self) -> None:
        """Look, until ``stop``."""
        while not self._stop:
            self._wake.wait(POLL)
            self._wake.clear()
            for one in self._served:
                try:
                    if not self._stop and one.reload() and self._changed is not None:
                        self._changed(one)
                except Exception:
                    log.exception("looking for a newer state of %s failed", one.name)

    def look_now(self) -> None:
        """Look at once."""
        self._wake.set()

    def stop(self) -> None:
        """End."""
        self._stop = True
        self._wake.set()
