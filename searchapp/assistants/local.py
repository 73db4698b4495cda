"""Index directories that this process has open for itself, with their models."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from searchapp.assistants.fault import ToolError, scrubbed
from searchapp.assistants.library import Found
from searchapp.errors import SearchAppError
from searchapp.rerank import Reranker, load_reranker
from searchapp.search import SearchOptions, highlights, hits_of, prepare, ranked, understood
from searchapp.search.options import require_texts
from searchapp.search.passage import Snippet
from searchapp.serve.served import Models, Served, State, Watcher

log = logging.getLogger(__name__)

RERANKED = 30  # hits a reranker puts in order: an assistant waits for them
AGAIN = 5  # seconds after which to ask again


class LocalLibrary:
    """``open`` makes searches by words possible, ``load_models`` those by meaning. See ``Library``."""

    def __init__(self, indexes: dict[str, Path], device: str = "auto", reranker: str | None = None) -> None:
        models = Models(device)
        self._served = {name: Served(name, path, models) for name, path in indexes.items()}
        self._device = device
        self._wanted = reranker
        self._reranker: Reranker | None = None
        self._missing: dict[str, str] = {}  # why an index has no model
        self._loaded = threading.Event()
        self._watcher = Watcher(list(self._served.values()))

    @property
    def roots(self) -> Mapping[str, Path]:
        """See ``Library``."""
        return {name: served.root for name, served in self._served.items()}

    def open(self) -> None:
        """Open the indexes. Raises SearchAppError."""
        for served in self._served.values():
            served.open(model=False)
        self._watcher.start()

    def load_models(self) -> None:
        """Load the models of the indexes, and the reranker. An index whose model cannot be had goes on without."""
        try:
            for name, served in self._served.items():
                try:
                    served.load_model()
                    state = served.state
                    if state.encoder is not None:
                        state.encoder.encode_queries(["warm"])
                except Exception as error:
                    log.error("the model of %s: %s", name, error)
                    self._missing[name] = scrubbed(str(error), self.roots)
            if self._wanted is not None:
                try:
                    self._reranker = load_reranker(self._wanted, device=self._device)
                except SearchAppError as error:
                    log.error("the reranker: %s", error)
        finally:
            self._loaded.set()

    def state(self, name: str, deadline: float) -> State:
        """See ``Library``; an index without words is waited for until its model is there."""
        state = self._served[name].state
        if state.encoder is None and not state.has_words and name not in self._missing:
            self._loaded.wait(max(0.0, deadline - 1.0 - time.monotonic()))
            state = self._served[name].state
        return state

    def failure(self, name: str) -> str | None:
        """See ``Library``."""
        return self._served[name].failure

    def find(self, state: State, query: str, k: int, filter: str | None, deadline: float) -> Found:
        """See ``Library``."""
        require_texts([query])
        encoder = state.encoder
        notes: list[str] = []
        if encoder is None:
            missing = self._missing.get(state.name)
            if not state.has_words:
                raise ToolError(
                    f"the index {state.name} has no words counted, and its model "
                    + (f"cannot be loaded: {missing}" if missing else f"is still loading; ask again in {AGAIN} s")
                )
            notes.append(
                "Found by words alone: the model cannot be loaded."
                if missing
                else f"Found by words alone: the model is loading; ask again in {AGAIN} s to search by meaning."
            )
        options = SearchOptions(filter=filter, mode="auto" if encoder is not None else "bm25", rerank_depth=RERANKED)
        prepared = prepare(state.index, k, options)
        plan = prepared.plan
        if self._wanted is not None:
            if self._reranker is not None and encoder is not None:
                plan = replace(plan, reranker=self._reranker)
            else:
                notes.append("Not reranked: the reranker is not there (yet).")
        typed = understood(state.index, query, plan)
        vectors = encoder.encode_queries([typed.text]) if encoder is not None and plan.dense else None
        [found] = ranked(state.index, [typed], vectors, plan)
        return Found(hits_of(state.index, found.stages, found.query), prepared.mode, typed, notes)

    def passages(self, found: Found, state: State, texts: Sequence[str], deadline: float) -> list[Snippet]:
        """See ``Library``."""
        encoder = state.encoder if found.mode != "bm25" else None
        return [one.passage for one in highlights(encoder, state.analyzer, found.typed.words, texts)]
