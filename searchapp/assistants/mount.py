"""The tools at ``/mcp`` of ``searchapp serve``: POST only, without sessions, an answer in JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

from searchapp.assistants.desk import Desk
from searchapp.assistants.hosted import HostedLibrary
from searchapp.assistants.tools import Tool, chosen_tools
from searchapp.serve.exchange import SAFE, Exchange, Message, Send
from searchapp.serve.problem import ProblemError
from searchapp.serve.server import Server

PATH = "/mcp"
WORKERS = 4


class AssistantsMount:
    """An ASGI application beside the routes of a server.

    The SDK is imported when the first request comes: a server that no assistant asks does not pay for it.
    """

    path = PATH

    def __init__(self, tools: tuple[Tool, ...] | None = None) -> None:
        self._tools = tools
        self._manager: Any = None
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._end = asyncio.Event()

    async def __call__(self, server: Server, exchange: Exchange, send: Send) -> None:
        """Answer a request that has passed the door. Raises ProblemError."""
        if exchange.scope["method"] != "POST":
            raise ProblemError(405, f"{exchange.scope['method']} is not a method of this route; POST messages of MCP")
        body = await exchange.body(server.limits.body_bytes)
        manager = await self._running(server)
        unread = True

        async def receive() -> Message:
            nonlocal unread
            if unread:
                unread = False
                return {"type": "http.request", "body": body, "more_body": False}
            return await exchange.receive()

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                names = {name.lower() for name, _ in headers}
                own = [*SAFE, (b"x-request-id", exchange.identifier.encode()), *server.door.cors(exchange.scope)]
                message = {**message, "headers": [*headers, *(pair for pair in own if pair[0] not in names)]}
            await send(message)

        await manager.handle_request(exchange.scope, receive, complete)

    async def _running(self, server: Server) -> Any:
        async with self._lock:
            if self._manager is None:
                make = await asyncio.get_running_loop().run_in_executor(None, _imported)
                started: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                self._task = asyncio.create_task(self._run(make(server, self._tools), started))
                self._manager = await started
            return self._manager

    async def _run(self, manager: Any, started: asyncio.Future[Any]) -> None:
        """Hold the SDK's tasks open: they have to be entered and left by one task."""
        async with manager.run():
            started.set_result(manager)
            await self._end.wait()

    async def close(self) -> None:
        """End what runs."""
        self._end.set()
        if self._task is not None:
            await self._task


@asynccontextmanager
async def mounted(tools: tuple[Tool, ...] | None = None) -> AsyncIterator[AssistantsMount]:
    """The mount, for as long as its server runs."""
    mount = AssistantsMount(tools)
    try:
        yield mount
    finally:
        await mount.close()


def _imported() -> Any:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from searchapp.assistants.sdk import make_server

    def make(server: Server, tools: tuple[Tool, ...] | None) -> Any:
        library = HostedLibrary(server, asyncio.get_running_loop())
        desk = Desk(list(server.served), lambda deadline: library, chosen_tools(None) if tools is None else tools)

        def admitted(request: Any) -> AbstractContextManager[None]:
            client = getattr(request, "client", None)
            return server.admission.admitted(client.host if client is not None else "")

        sdk = make_server(desk, workers=WORKERS, admitted=admitted)
        return StreamableHTTPSessionManager(
            sdk, json_response=True, stateless=True, max_request_body_size=server.limits.body_bytes
        )

    return make
