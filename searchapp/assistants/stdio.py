"""The tools over standard input and output, for the host that started this process."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from typing import Any

from searchapp.assistants.desk import Desk
from searchapp.assistants.streams import Lines, Wire, leave, leave_soon, leave_with_parent

log = logging.getLogger(__name__)

INTERRUPTED = 130  # exit code


def run_stdio(desk: Desk, wire: Wire, *, text: bool = False, started: Callable[[], None] | None = None) -> None:
    """Answer until the other side is gone, and end the process then.

    ``started`` is called when the SDK is imported: what it begins does not hold up the list of tools.
    """
    leave_with_parent()
    gc.disable()  # the SDK makes a thousand classes when it is imported, and nothing to collect
    import anyio

    from searchapp.assistants.sdk import make_server

    gc.enable()
    gc.freeze()
    server = make_server(desk, text=text)
    if started is not None:
        started()
    try:
        anyio.run(_serve, server, wire)
    except KeyboardInterrupt:
        leave(INTERRUPTED)
    except BaseException:
        log.exception("the wire failed")
        leave(1)


async def _serve(server: Any, wire: Wire) -> None:
    import anyio
    from anyio import to_thread
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter

    received, to_read = _stream(anyio)
    to_send, sent = _stream(anyio)
    lines = Lines(wire.reader, leave_soon)
    lock = threading.Lock()

    def write(message: bytes) -> None:
        with lock:
            wire.writer.write(message + b"\n")
            wire.writer.flush()

    async def read() -> None:
        async with received:
            while line := await to_thread.run_sync(lines.readline, abandon_on_cancel=True):
                try:
                    message: Any = SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
                except Exception as error:  # no JSON, or no message: the SDK answers
                    message = error
                await received.send(message)

    async def answer() -> None:
        async with sent:
            async for message in sent:
                body = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                try:
                    await to_thread.run_sync(write, body.encode("utf-8", "replace"))
                except OSError:  # nobody reads any more
                    leave()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(answer)
        await server.run(to_read, to_send, server.create_initialization_options())
    leave()


def _stream(anyio: Any) -> tuple[Any, Any]:
    found: tuple[Any, Any] = anyio.create_memory_object_stream(0)
    return found
