"""The indexes of a running ``searchapp serve``: its states, and its model's thread, whose turns these calls take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from searchapp.assistants.fault import ToolError
from searchapp.assistants.library import Found
from searchapp.encoder import Encoder
from searchapp.search import SearchOptions, highlights, prepare
from searchapp.search.options import require_texts
from searchapp.search.passage import Snippet
from searchapp.serve.lane_models import LaneEncoder
from searchapp.serve.model_thread import Lane, Ticket
from searchapp.serve.searching import Search
from searchapp.serve.served import State
from searchapp.serve.server import Server


class HostedLibrary:
    """See ``Library``. Its methods must not be called in the event loop, which they wait for."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop

    @property
    def roots(self) -> Mapping[str, Path]:
        """See ``Library``."""
        return {name: served.root for name, served in self._server.served.items()}

    def state(self, name: str, deadline: float) -> State:
        """See ``Library``."""
        return self._server.state(name)

    def failure(self, name: str) -> str | None:
        """See ``Library``."""
        return self._server.served[name].failure

    def find(self, state: State, query: str, k: int, filter: str | None, deadline: float) -> Found:
        """See ``Library``."""
        require_texts([query])
        self._server.prove()
        prepared = prepare(state.index, k, SearchOptions(filter=filter))
        ticket = Ticket(deadline)
        search = Search(state, [query], None, prepared.plan, ticket)
        future = asyncio.run_coroutine_threadsafe(self._server.searching.find(search), self._loop)
        try:
            found = future.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            ticket.cancelled = True
            raise ToolError("the search took too long; ask for less, or again in 5 s") from None
        return Found(found.hits[0], prepared.mode, found.typed[0])

    def passages(self, found: Found, state: State, texts: Sequence[str], deadline: float) -> list[Snippet]:
        """See ``Library``."""
        encoder: Encoder | None = None
        if found.mode != "bm25" and state.encoder is not None:
            lane = LaneEncoder(self._server.thread, Lane.BACKGROUND, state.encoder, Ticket(deadline))
            encoder = cast(Encoder, lane)
        return [one.passage for one in highlights(encoder, state.analyzer, found.typed.words, texts)]
