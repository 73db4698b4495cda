"""HTTP connections that cannot be held open for nothing: bounds on the head, on waiting for it, and on slow readers.

uvicorn bounds none of these: a head that comes a byte a second keeps a connection for ever, and so does a client that
does not read its answer.
"""

from __future__ import annotations

import asyncio
from asyncio.events import TimerHandle
from http import HTTPStatus
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from searchapp.serve.limits import Limits
from searchapp.serve.problem import ProblemError

CHECK = 1.0  # seconds between looks at a slow reader


class BoundedProtocol(HttpToolsProtocol):
    """``limits`` is set by ``bounded_protocol``."""

    limits = Limits()

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._head_timer: TimerHandle | None = None
        self._write_timer: TimerHandle | None = None
        self._head_bytes = 0
        self._blocked = 0.0  # seconds for which nothing could be written
        self._unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first head its time."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.close()
            return
        self._head_timer = self.loop.call_later(self.limits.header_seconds, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._stop_head()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bound the head; a body is bounded where it is read."""
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._head_timer = self.loop.call_later(self.limits.header_seconds, self._close)
        if self._head_timer is not None:  # still in the head
            end = data.find(b"\r\n\r\n")
            self._head_bytes += len(data) if end < 0 else end
            if self._head_bytes > self.limits.header_bytes:
                self._refuse(431, "the request's head is too long", "head_too_long")
                return
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Say what uvicorn finds wrong in the shape that all answers have."""
        self._refuse(400, f"this is no HTTP request: {msg.rstrip('.').lower()}", "invalid_http")

    def _refuse(self, status: int, message: str, code: str) -> None:
        body = msgspec.json.encode(ProblemError(status, message, code=code).body())
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        end = f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write((head + end).encode() + body)
        self._close()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop_head()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is written to."""
        super().pause_writing()
        self._blocked, self._unread = 0.0, self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(CHECK, self._look)

    def resume_writing(self) -> None:
        """It reads again."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def _look(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._blocked = self._blocked + CHECK if unread >= self._unread else 0.0
        self._unread = unread
        if self._blocked >= self.limits.write_seconds:
            self.transport.abort()
            return
        self._write_timer = self.loop.call_later(CHECK, self._look)

    def _stop_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._head_bytes = 0

    def _close(self) -> None:
        self._head_timer = None
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()


def bounded_protocol(limits: Limits) -> type[BoundedProtocol]:
    """The protocol with these limits."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits})
