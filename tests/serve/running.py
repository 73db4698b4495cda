"""A server in this process, and one connection to it that is kept."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from searchapp.serve.limits import Limits
from tests.serve import local


class Requester:
    """One connection, kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def __call__(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict, object]:
        """Status, headers (lower case), and the JSON of the answer."""
        content = None if body is None else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if content is not None:
            given.setdefault("content-type", "application/json")
        try:
            self._connection.request(method, path, content, given)
            answer = self._connection.getresponse()
        except ConnectionError:  # the server keeps a connection that is not used for 5 s
            self._connection.close()
            self._connection.request(method, path, content, given)
            answer = self._connection.getresponse()
        text = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, json.loads(text) if found.get("content-type") == "application/json" else text

    def close(self) -> None:
        self._connection.close()


class Running(local.Running):
    """A server that answers, with a connection to it."""

    def __init__(self, found: local.Running) -> None:
        super().__init__(found.server, found.port)
        self.requester = Requester(found.port)


@contextmanager
def serving(
    indexes: dict[str, Path], *, token: str | None = None, rerankers: tuple[str, ...] = (), limits: Limits | None = None
) -> Iterator[Running]:
    """Serve indexes until the end of the block."""
    with local.running(indexes, token=token, rerankers=rerankers, limits=limits) as found:
        running = Running(found)
        yield running
        running.requester.close()
