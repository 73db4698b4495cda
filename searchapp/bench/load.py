"""Load on a server on this machine: clients that ask one after the other, or requests that come when they come.

An open loop sends each request at its own time, whether the ones before are answered or not, and counts its latency
from that time: a server that falls behind is seen to. Clients that wait for an answer before they ask again (a closed
loop) hide that, and measure what the server can do at most.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

FAILED = 0  # the status of a request without an answer


@dataclass(frozen=True)
class Target:
    """Where requests go: to ``port`` of the loopback address, ``path``, as JSON."""

    port: int
    path: str

    def render(self, body: bytes) -> bytes:
        """A request as it goes over the wire."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass
class Measured:
    """Milliseconds of each answered request, how many failed by status, and the seconds it all took."""

    milliseconds: list[float] = field(default_factory=list)
    failed: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return len(self.milliseconds) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Milliseconds within which ``share`` percent of the requests were answered; nan without any."""
        return float(np.percentile(self.milliseconds, share)) if self.milliseconds else float("nan")

    def to_json(self) -> dict[str, float | int]:
        """The figures of it."""
        shares = {f"p{share}_ms": self.percentile(share) for share in (50, 95, 99)}
        return {
            "requests": len(self.milliseconds), "failed": sum(self.failed.values()), "requests_per_second": self.rate,
            **shares,
        }  # fmt: skip


def closed(target: Target, bodies: Iterator[bytes], clients: int, seconds: float) -> Measured:
    """So many clients that ask again as soon as they are answered, for so many seconds."""
    return asyncio.run(_closed(target, bodies, clients, seconds))


def open_loop(target: Target, bodies: Iterator[bytes], rate: float, seconds: float, seed: int = 0) -> Measured:
    """Requests that come at random, ``rate`` a second on average, for so many seconds."""
    return asyncio.run(_open(target, bodies, rate, seconds, seed))


class _Connection(asyncio.Protocol):
    """One request at a time over one connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._held = bytearray()
        self._whole = 0

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a TCP connection has
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._settle(FAILED)

    def data_received(self, data: bytes) -> None:
        self._held += data
        if not self._whole:
            end = self._held.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._held[:end]).lower()
            _, _, rest = head.partition(b"\r\ncontent-length:")
            self._whole = end + 4 + int(rest.partition(b"\r\n")[0])
        if len(self._held) >= self._whole:
            status = int(self._held[9:12])
            self._held.clear()
            self._whole = 0
            self._settle(status)

    def ask(self, request: bytes) -> asyncio.Future[int]:
        """Send a request; the future has the status of its answer."""
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None:
            self._settle(FAILED)
        else:
            self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.close()

    def _settle(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


class _Connections:
    """Those that are free; more are made when none is."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._free: list[_Connection] = []

    async def ask(self, request: bytes) -> int:
        """The status of the answer, ``FAILED`` without one."""
        connection = self._free.pop() if self._free else None
        if connection is None or not connection.is_open:
            try:
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._target.port)
            except OSError:
                return FAILED
        status = await connection.ask(request)
        if connection.is_open:
            self._free.append(connection)
        return status

    def close(self) -> None:
        """End all of them."""
        for connection in self._free:
            connection.close()


async def _closed(target: Target, bodies: Iterator[bytes], clients: int, seconds: float) -> Measured:
    found, connections = Measured(), _Connections(target)
    began = time.perf_counter()

    async def ask() -> None:
        while time.perf_counter() - began < seconds:
            request = target.render(next(bodies))
            asked = time.perf_counter()
            status = await connections.ask(request)
            _note(found, status, time.perf_counter() - asked)
            if status == FAILED:
                await asyncio.sleep(0.01)

    await asyncio.gather(*(ask() for _ in range(clients)))
    found.seconds = time.perf_counter() - began
    connections.close()
    return found


async def _open(target: Target, bodies: Iterator[bytes], rate: float, seconds: float, seed: int) -> Measured:
    found, connections = Measured(), _Connections(target)
    draws = np.random.default_rng(seed)
    began = time.perf_counter()

    async def ask(request: bytes, due: float) -> None:
        _note(found, await connections.ask(request), time.perf_counter() - due)

    tasks = []
    due = began + draws.exponential(1 / rate)
    while due < began + seconds:
        request = target.render(next(bodies))
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.ensure_future(ask(request, due)))
        due += draws.exponential(1 / rate)
    await asyncio.gather(*tasks)
    found.seconds = time.perf_counter() - began
    connections.close()
    return found


def _note(found: Measured, status: int, seconds: float) -> None:
    if status == 200:
        found.milliseconds.append(1_000 * seconds)
    else:
        found.failed[status] += 1


def merged(parts: Sequence[Measured]) -> Measured:
    """Several rounds as one."""
    whole = Measured()
    for part in parts:
        whole.milliseconds += part.milliseconds
        whole.failed += part.failed
        whole.seconds += part.seconds
    return whole
