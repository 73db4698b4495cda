"""How much may wait at once: beyond it a request is told to come again, instead of waiting without end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from searchapp.serve.limits import Limits
from searchapp.serve.model_thread import CHARACTERS_A_TOKEN
from searchapp.serve.problem import ProblemError

OVERHEAD = 8  # tokens a text has beside its characters'


class Admission:
    """Counts requests and their tokens from admission to answer. Used in the event loop alone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.requests = 0
        self.tokens = 0.0
        self._each: Counter[str] = Counter()

    @contextmanager
    def admitted(self, client: str, characters: int = 0, texts: int = 1) -> Iterator[None]:
        """Hold a place for a request. Raises ProblemError (429) where there is none; a large one alone has one."""
        tokens = characters / CHARACTERS_A_TOKEN + OVERHEAD * texts
        limits = self._limits
        if self._each[client] >= limits.waiting_each:
            raise ProblemError(
                429, f"{limits.waiting_each} requests from this address are waiting; come again", code="client_busy",
                retry=1,
            )  # fmt: skip
        if self.requests >= limits.waiting or (self.requests and self.tokens + tokens > limits.waiting_tokens):
            raise ProblemError(429, "too much is waiting; come again", code="queue_full", retry=1)
        self.requests += 1
        self.tokens += tokens
        self._each[client] += 1
        try:
            yield
        finally:
            self.requests -= 1
            self.tokens -= tokens
            self._each[client] -= 1
            if not self._each[client]:
                del self._each[client]
