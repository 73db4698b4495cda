"""One kept HTTP connection to a shard server: a request is one write, and of an answer only what is needed is read.

Python's own client writes head and body apart, which wakes the server twice, and makes a mail message of each head.
"""

from __future__ import annotations

import re
import socket
import ssl
import time

MOST_HEAD = 65_536
MOST_BODY = 256 << 20
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3})[ \r]")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,12})\r\n", re.IGNORECASE)


class BrokenChannelError(ConnectionError):
    """The connection was closed before a byte of an answer came, or what came is no answer."""


class Channel:
    """A connection. What it raises is an OSError; it is of no use then."""

    def __init__(self, host: str, port: int, *, secure: bool, until: float) -> None:
        self._socket = socket.create_connection((host, port), timeout=_left(until))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if secure:
            self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=host)
        self._head = b""

    def send(self, request: bytes, until: float) -> None:
        """Write a whole request."""
        self._socket.settimeout(_left(until))
        self._socket.sendall(request)

    def receive(self, until: float) -> tuple[int, bytes, bool]:
        """The status and body of the answer, and whether the connection can be used again."""
        found = bytearray()
        while (end := found.find(b"\r\n\r\n")) < 0:
            if len(found) > MOST_HEAD:
                raise BrokenChannelError("the head of the answer is too long")
            found += self._some(until, 65_536)
        head = bytes(found[: end + 4])
        status, length = _STATUS.match(head), _LENGTH.search(head)
        if status is None or length is None or int(length[1]) > MOST_BODY:
            raise BrokenChannelError("what came is no answer of a shard server")
        size = int(length[1])
        body = found[end + 4 :]
        while len(body) < size:
            body += self._some(until, min(1 << 20, size - len(body)))
        stays = len(body) == size and b"\r\nconnection: close" not in head.lower()
        return int(status[1]), bytes(body[:size]), stays

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _some(self, until: float, most: int) -> bytes:
        self._socket.settimeout(_left(until))
        part = self._socket.recv(most)
        if not part:
            raise BrokenChannelError("the server closed the connection")
        return part


def _left(until: float) -> float:
    """Seconds until then; a moment where it has passed, for what is there already."""
    return max(0.001, until - time.monotonic())
