"""A server in a thread of the test's process, and requests to it by the standard library."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchapp.serve.door import Door
from searchapp.serve.limits import Limits
from searchapp.serve.run import listen, loop_factory, program_of
from searchapp.serve.server import Server, Setup


@dataclass
class Answered:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def problem(self) -> dict[str, Any]:
        assert set(self.json) == {"error"}, self.content
        assert set(self.json["error"]) == {"message", "type", "param", "code"}
        return self.json["error"]


@dataclass
class Running:
    """A server that answers at ``port``."""

    server: Server
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answered:
        """Send a request; a body that is no bytes goes as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            sent.setdefault("content-type", "application/json")
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answered(answer.status, found, answer.read())
        finally:
            connection.close()

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answered:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Answered:
        return self.ask("POST", path, body, headers)

    def search(self, query: str, **more: Any) -> dict[str, Any]:
        """The result of one query."""
        answer = self.post("/api/search", {"query": query, **more})
        assert answer.status == 200, answer.content
        return answer.json["results"][0]

    def done(self, job: dict[str, Any]) -> dict[str, Any]:
        """A job when it has ended."""
        end = time.monotonic() + 60
        while job["state"] not in ("done", "failed"):
            assert time.monotonic() < end, job
            time.sleep(0.02)
            job = self.get(f"/api/jobs/{job['id']}").json
        return job


@contextmanager
def running(
    indexes: dict[str, Path],
    *,
    limits: Limits | None = None,
    rerankers: tuple[str, ...] = (),
    collections: dict[str, Path] | None = None,
    writable: bool = False,
    token: str | None = None,
    allowed: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
    loaded: bool = True,
    mounts: tuple[Any, ...] = (),
    shards: tuple[str, ...] | None = None,
    cluster: Any = None,
    port: int = 0,
) -> Iterator[Running]:
    """Serve indexes until the block ends."""
    limits = limits or Limits()
    door = Door.of("127.0.0.1", token=token, allowed=allowed, origins=origins, limits=limits)
    listener = listen("127.0.0.1", port)
    started = threading.Event()
    held: dict[str, Any] = {}

    async def run() -> None:
        async with AsyncExitStack() as stack:
            entered = [await stack.enter_async_context(mount()) for mount in mounts]
            server = Server(
                Setup(indexes, rerankers, collections or {}, "cpu", writable, limits, shards, cluster), door
            )
            held["server"], held["program"] = server, program_of(server, entered)
            started.set()
            await held["program"].serve(sockets=[listener])
            server.stop()

    def answer() -> None:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(run())

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        if loaded:
            held["server"].load()
        yield Running(held["server"], listener.getsockname()[1])
    finally:
        held["program"].should_exit = True
        thread.join(10)
        assert not thread.is_alive()
