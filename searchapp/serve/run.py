"""Starting, and ending without losing a request."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import uvicorn

from searchapp.errors import SearchAppError, reason_of
from searchapp.serve.app import App, Mount
from searchapp.serve.door import Door
from searchapp.serve.protocol import bounded_protocol
from searchapp.serve.routes import ROUTES
from searchapp.serve.server import Server, Setup

log = logging.getLogger(__name__)

DRAIN = 30  # seconds for requests under way when the server is told to end
BACKLOG = 2_048
TOKEN_BYTES = 32
SWITCH = 5e-5  # seconds for which a thread keeps the interpreter's lock where another one waits for it
COLLECTED = 50_000  # new objects that are looked through at once; answers in the making are a few thousand


def read_token(path: Path) -> str:
    """The token in a file, which is made with a random one where it is not there. Raises SearchAppError.

    Others must not be able to read the file.
    """
    try:
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
        if not path.is_file():
            raise SearchAppError(f"the token file {path} is no file; give one, or a name that is free")
        if path.stat().st_mode & 0o077:
            raise SearchAppError(f"others can read {path}, which holds the token; do `chmod 600 {path}`")
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SearchAppError(f"the token file {path} cannot be used: {reason_of(error)}") from error
    if len(token) < 16 or any(not 33 <= ord(letter) <= 126 for letter in token):
        raise SearchAppError(f"{path} holds no token; expected 16 or more ASCII characters without blanks")
    return token


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises SearchAppError where the address is taken or not of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host.strip("[]"), port))
        found.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        found.close()
        raise SearchAppError(
            f"{host}:{port} cannot be listened on: {reason_of(error)}; give another --port (0: any that is free)"
        ) from error
    return found


class _Uvicorn(uvicorn.Server):
    """Turns new requests away before it waits for those under way; being told to end is no failure of the process."""

    def __init__(self, config: uvicorn.Config, server: Server) -> None:
        super().__init__(config)
        self._server = server

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._server.draining = True
        self.force_exit = self.should_exit and sig == signal.SIGINT  # the second time it is meant
        self.should_exit = True


def serve(
    setup: Setup, door: Door, listener: socket.socket, *, said: Callable[[str], None] | None = None,
    mounts: Sequence[Callable[[], AbstractAsyncContextManager[Mount]]] = (),
) -> None:  # fmt: skip
    """Answer requests until a signal ends it; requests under way have ``DRAIN`` seconds then.

    ``said`` hears what a person wants to know: that the models are loaded. ``mounts`` are entered in the event loop and
    answer beside the routes. Raises SearchAppError where an index or a model cannot be loaded.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_mounted(setup, door, listener, said or (lambda _: None), mounts))


def tune_interpreter() -> None:
    """Set what suits a process that answers requests while a thread of it runs a model.

    What is loaded is left out of garbage collection, and it is collected when more has come than a batch of answers
    makes. The model's thread gives the interpreter's lock away at each product of matrices and must have it back soon,
    not when a thread that reads hits has had it for 5 ms.
    """
    sys.setswitchinterval(SWITCH)
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop: uvloop, which takes a third of asyncio's time, where there is one."""
    try:
        import uvloop
    except ImportError:  # Windows has none
        return None
    return uvloop.new_event_loop


def program_of(server: Server, mounts: Sequence[Mount] = ()) -> uvicorn.Server:
    """What answers on a socket that listens: ``await program.serve(sockets=[…])``, until ``should_exit`` is set."""
    limits = server.limits
    config = uvicorn.Config(
        App(server, ROUTES, mounts),
        http=bounded_protocol(limits),
        loop="none",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=limits.keep_alive_seconds,
        timeout_graceful_shutdown=DRAIN,
        backlog=BACKLOG,
    )
    return _Uvicorn(config, server)


async def _mounted(
    setup: Setup, door: Door, listener: socket.socket, said: Callable[[str], None],
    mounts: Sequence[Callable[[], AbstractAsyncContextManager[Mount]]],
) -> None:  # fmt: skip
    async with AsyncExitStack() as stack:
        entered = [await stack.enter_async_context(mount()) for mount in mounts]
        await _serve(setup, door, listener, said, entered)


async def _serve(
    setup: Setup, door: Door, listener: socket.socket, said: Callable[[str], None], mounts: Sequence[Mount]
) -> None:
    server = Server(setup, door)
    program = program_of(server, mounts)
    failure: list[BaseException] = []

    def load() -> None:
        try:
            server.load()
            tune_interpreter()
            said("ready")
        except BaseException as error:
            failure.append(error)
            program.should_exit = True

    threading.Thread(target=load, name="load", daemon=True).start()
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.watcher.look_now)
    try:
        await program.serve(sockets=[listener])
    finally:
        server.stop()
    if failure:
        raise failure[0]
