"""A server in this process, on a port of its own, and requests to it by nothing but the standard library."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from searchapp.serve.door import Door
from searchapp.serve.limits import Limits
from searchapp.serve.run import listen, loop_factory, program_of
from searchapp.serve.server import Server, Setup


class Running:
    """A server that answers, and where."""

    def __init__(self, server: Server, port: int) -> None:
        self.server, self.port = server, port
        self.url = f"http://127.0.0.1:{port}"
        self.requester = Requester(port)


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


@contextmanager
def serving(
    indexes: dict[str, Path], *, token: str | None = None, rerankers: tuple[str, ...] = (), limits: Limits | None = None
) -> Iterator[Running]:
    """Serve indexes until the end of the block."""
    limits = limits or Limits()
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    started = threading.Event()
    parts: list = []

    async def run() -> None:
        server = Server(Setup(indexes, rerankers, limits=limits), Door.of("127.0.0.1", token=token, limits=limits))
        parts.extend((server, program_of(server)))
        started.set()
        await parts[1].serve(sockets=[listener])

    def answer() -> None:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(run())

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    assert started.wait(10)
    server, program = parts
    try:
        server.load()
        running = Running(server, port)
        yield running
        running.requester.close()
    finally:
        program.should_exit = True
        thread.join(10)
        server.stop()
