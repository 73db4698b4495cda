"""The ASGI application: a request goes through the door, to its route, and its answer back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from starlette.exceptions import HTTPException
from starlette.routing import Route as StarletteRoute
from starlette.routing import Router

from searchapp.errors import IndexStoreError, SearchAppError, is_disk_full, is_out_of_memory
from searchapp.serve.exchange import Answer, Exchange, Receive, Send, decoded, problem_answer, send_answer
from searchapp.serve.problem import ProblemError, refused
from searchapp.serve.server import Server
from searchapp.shards.peers import LostShardsError, StaleGenerationError

log = logging.getLogger(__name__)

LOOK = 0.05  # seconds after which it is looked whether the client is still there
Handler = Callable[[Server, Exchange, Any], Awaitable[Answer]]


@dataclass(frozen=True)
class Route:
    """A method and a path with the structs of its request and answer; ``long``: it may have many texts.

    ``success`` is the status of an answer that is no problem. ``parameters`` are those of the URL. ``cheap`` ones are
    answered before the models are loaded, and wait in no queue.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    request: type[msgspec.Struct] | None = None
    answer: type[msgspec.Struct] | None = None
    parameters: tuple[str, ...] = ()
    long: bool = False
    cheap: bool = False
    success: int = 200


class Mount(Protocol):
    """What answers everything at a path by itself, after the door."""

    path: str

    async def __call__(self, server: Server, exchange: Exchange, send: Send) -> None:
        """Answer a request. Raises ProblemError."""


class App:
    """Callable as ASGI applications are."""

    def __init__(self, server: Server, routes: Sequence[Route], mounts: Sequence[Mount] = ()) -> None:
        self.server = server
        self._mounts = {mount.path: mount for mount in mounts}
        endpoints = {route: _Endpoint(server, route) for route in routes}
        self._exact = {(route.method, route.path): endpoints[route] for route in routes if "{" not in route.path}
        self._router = Router(
            [StarletteRoute(route.path, endpoints[route], methods=[route.method]) for route in routes],
            redirect_slashes=False,
        )

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, self.server.limits)
        scope["exchange"], scope["app"] = exchange, self
        status = 500

        async def counting(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self.server.door.check(scope)
            if scope["method"] == "OPTIONS":
                await self._preflight(exchange, counting)
            elif (endpoint := self._exact.get((scope["method"], scope["path"]))) is not None:
                await endpoint(scope, receive, counting)
            elif (mount := self._mounts.get(scope["path"])) is not None:
                exchange.route = mount.path
                await mount(self.server, exchange, counting)
            else:
                await self._router(scope, receive, counting)
        except ProblemError as problem:
            self.server.metrics.rejected.labels(problem.code or str(problem.status)).inc()
            await self.answer(exchange, problem_answer(problem), counting)
        except HTTPException as error:
            text = {
                404: "there is no such route; GET /openapi.json lists them",
                405: f"{scope['method']} is not a method of this route",
            }
            refusal = ProblemError(error.status_code, text.get(error.status_code, error.detail))
            await self.answer(exchange, problem_answer(refusal), counting)
        finally:
            route = exchange.route or "none"
            self.server.metrics.answered(route, status, time.perf_counter() - exchange.began)

    async def answer(self, exchange: Exchange, answer: Answer, send: Send) -> None:
        """Send an answer."""
        await send_answer(exchange, answer, send, self.server.door.cors(exchange.scope))

    async def _preflight(self, exchange: Exchange, send: Send) -> None:
        allowed = self.server.door.cors(exchange.scope)
        if not allowed:
            raise ProblemError(403, "pages of other sites may not ask; name them by --cors-origin", code="origin")
        headers = [
            (b"access-control-allow-methods", b"GET, POST, PUT, DELETE"),
            (b"access-control-allow-headers", b"authorization, content-type, x-timeout-ms, x-request-id"),
            (b"access-control-max-age", b"600"),
        ]
        await send_answer(exchange, Answer(status=204, headers=headers), send, allowed)


class _Endpoint:
    """One route as an ASGI application."""

    def __init__(self, server: Server, route: Route) -> None:
        self._server = server
        self._route = route
        self._decoder = None if route.request is None else msgspec.json.Decoder(route.request)
        fields = () if route.request is None else msgspec.structs.fields(route.request)
        self._of_body = [one.encode_name for one in fields if one.encode_name not in route.parameters]

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["exchange"]
        exchange.route = self._route.path
        exchange.parameters = dict(scope.get("path_params") or {})
        answer = await self._answered(exchange)
        if answer is not None:
            await scope["app"].answer(exchange, answer, send)

    async def _answered(self, exchange: Exchange) -> Answer | None:
        """The answer, also to what goes wrong; None where nobody is there any more to have it."""
        try:
            return await self._handled(exchange)
        except ProblemError as problem:
            problem.message = self._server.without_places(problem.message)
            return None if problem.status == 499 else problem_answer(problem)
        except (LostShardsError, StaleGenerationError) as error:
            return problem_answer(ProblemError(503, str(error), code="shards_missing", retry=1))
        except SearchAppError as error:
            if isinstance(error, IndexStoreError) and (lost := self._server.lost()) is not None:
                return problem_answer(lost)
            return problem_answer(refused(SearchAppError(self._server.without_places(str(error)))))
        except Exception as error:
            if (lost := self._server.lost()) is not None:
                fault = lost
            elif is_out_of_memory(error):
                fault = ProblemError(503, "memory ran out; send less at once", code="out_of_memory", retry=1)
            elif is_disk_full(error):
                log.exception("request %s failed", exchange.identifier)
                fault = ProblemError(500, "the disk of the server is full; make room there", code="disk_full")
            else:
                log.exception("request %s failed", exchange.identifier)
                fault = ProblemError(
                    500, f"a fault of the server; its log has more on request {exchange.identifier}", code="internal"
                )
            return problem_answer(fault)

    async def _handled(self, exchange: Exchange) -> Answer:
        limits, route = self._server.limits, self._route
        seconds = exchange.start(limits.long_deadline if route.long else limits.deadline)
        body = None
        if exchange.scope["query_string"]:
            for name in self._of_body:  # else a write would go to another index than the URL names
                if exchange.query(name) is not None:
                    raise ProblemError(400, f"{name} stands in the URL; expected it in the body", param=name)
        if self._decoder is not None:
            body = decoded(
                await exchange.body(limits.long_body_bytes if route.long else limits.body_bytes), self._decoder
            )
        if route.cheap:
            return await route.handler(self._server, exchange, body)
        if not self._server.loaded.is_set():
            self._server.prove()
        watch = _Watch(exchange, seconds, leaves=body is not None)
        try:
            return await route.handler(self._server, exchange, body)
        except asyncio.CancelledError:
            if watch.problem is None:
                raise
            watch.task.uncancel()
            raise watch.problem from None
        finally:
            watch.end()


class _Watch:
    """Cancels the task that it is made in when its deadline passes, or its client leaves; ``problem`` says which.

    Most requests are done before it is worth a task to look for the client.
    """

    def __init__(self, exchange: Exchange, seconds: float, *, leaves: bool) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a request is answered in a task
        self.task = task
        self.problem: ProblemError | None = None
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] | None = None
        self._late = self._loop.call_later(seconds, self._pass)
        self._look = self._loop.call_later(LOOK, self._begin) if leaves else None

    def end(self) -> None:
        """Watch no more."""
        self._late.cancel()
        if self._look is not None:
            self._look.cancel()
        if self._gone is not None:
            self._gone.cancel()

    def _pass(self) -> None:
        self._stop(ProblemError(504, "the deadline passed before the request was done; ask for less, or later"))

    def _begin(self) -> None:
        self._gone = asyncio.ensure_future(self._exchange.gone())
        self._gone.add_done_callback(self._left)

    def _left(self, gone: asyncio.Future[None]) -> None:
        if not gone.cancelled() and gone.exception() is None:
            self._stop(ProblemError(499, "the client has left"))

    def _stop(self, problem: ProblemError) -> None:
        if self.problem is None:
            self.problem = problem
            self._exchange.ticket.cancelled = True
            self.task.cancel()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
