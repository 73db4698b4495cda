"""Shard servers and the requests to them: each shard is asked of one server that holds it, of another where that fails.

Requests go out to all servers before the first answer is read, on connections that are kept, by one deadline.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from searchapp.errors import SearchAppError, reason_of, shown_address
from searchapp.shards.channel import Channel
from searchapp.shards.root import stands_for
from searchapp.shards.wire import MEDIA_TYPE, Message, WireError, pack, unpack

log = logging.getLogger(__name__)

PATH = "/shards"
IDLE = 16  # connections that are kept of a server
KEPT = 4.0  # seconds for which one that is not used is kept; the server keeps it for 5
PAUSE = 0.5  # seconds for which a server that failed is asked last


class LostShardsError(SearchAppError):
    """Shards that no server answered for in time."""

    def __init__(self, names: Iterable[str], reason: str) -> None:
        self.names = tuple(sorted(names))
        super().__init__(f"no server answered for the shards {', '.join(self.names)} ({reason}); ask again")


class StaleGenerationError(SearchAppError):
    """A server does not hold the generation that was asked for."""


@dataclass(frozen=True)
class PeerAddress:
    """A shard server and the shards that it is asked for; none: all."""

    secure: bool
    host: str
    port: int
    shards: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> PeerAddress:
        """Read ``http://HOST:PORT`` or ``http://HOST:PORT=SHARD,SHARD``. Raises SearchAppError."""
        url, _, names = text.partition("=")
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        is_plain = bool(host) and not parts.path.strip("/") and not parts.query and "@" not in text
        if not host or not is_plain or parts.scheme not in ("http", "https"):
            raise SearchAppError(
                f"{shown_address(text)!r} is no shard server; expected such as http://10.0.0.5:8000=s0000,s0001"
            )
        secure = parts.scheme == "https"
        shards = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
        return cls(secure, host, port or (443 if secure else 80), shards)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"


class Peer:
    """One shard server. Safe between threads: each request has a connection to itself, and gives it back."""

    def __init__(self, address: PeerAddress, token: str | None = None) -> None:
        self.address = address
        self.failed = float("-inf")  # when it failed last
        host = f"[{address.host}]" if ":" in address.host else address.host
        lines = [f"POST {PATH} HTTP/1.1", f"host: {host}:{address.port}", f"content-type: {MEDIA_TYPE}"]
        if token is not None:
            lines.append(f"authorization: Bearer {token}")
        self._head = "\r\n".join([*lines, "content-length: "]).encode()
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Channel]] = []

    def holds(self, shard: str) -> bool:
        """Whether it is asked for a shard, by its name or by that of one it comes from."""
        return not self.address.shards or any(stands_for(name, shard) for name in self.address.shards)

    def send(self, body: bytes, until: float) -> tuple[Channel, bool]:
        """Send a request; returns its connection, and whether that is a new one. Raises OSError."""
        if time.monotonic() >= until:
            raise TimeoutError("the deadline has passed")
        request = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        kept = self._take()
        if kept is not None:
            try:
                kept.send(request, until)
                return kept, False
            except OSError:
                kept.close()
        made = Channel(self.address.host, self.address.port, secure=self.address.secure, until=until)
        made.send(request, until)
        return made, True

    def receive(self, channel: Channel, until: float) -> tuple[int, bytes]:
        """The status and body of the answer. Raises OSError, and the connection is closed then."""
        try:
            status, body, stays = channel.receive(until)
        except BaseException:
            channel.close()
            raise
        with self._lock:
            if stays and len(self._idle) < IDLE:
                self._idle.append((time.monotonic(), channel))
                return status, body
        channel.close()
        return status, body

    def ask(self, message: Message, seconds: float) -> Message:
        """One request alone. Raises OSError and SearchAppError."""
        until = time.monotonic() + seconds
        body = pack(message)
        return self.answer(body, *self.send(body, until), until)

    def answer(self, body: bytes, channel: Channel, is_new: bool, until: float) -> Message:
        """What is answered to a request that was sent; it is sent again where a kept connection was closed."""
        try:
            status, answer = self.receive(channel, until)
        except ConnectionError:
            if is_new:
                raise
            self.close()  # the others were closed as well
            again, _ = self.send(body, until)
            status, answer = self.receive(again, until)
        return decoded(self, status, answer)

    def close(self) -> None:
        """Close the connections that are kept."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, channel in idle:
            channel.close()

    def _take(self) -> Channel | None:
        now = time.monotonic()
        with self._lock:
            old = [pair for pair in self._idle if now - pair[0] > KEPT]
            self._idle = [pair for pair in self._idle if now - pair[0] <= KEPT]
            found = self._idle.pop()[1] if self._idle else None
        for _, channel in old:
            channel.close()
        return found


def decoded(peer: Peer, status: int, body: bytes) -> Message:
    """The message of an answer. Raises StaleGenerationError, SearchAppError in the server's words, or OSError."""
    if status == 200:
        try:
            return unpack(body)
        except WireError as error:
            raise OSError(f"{peer.address} answers what is no message: {error}") from error
    try:
        said = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = f"{peer.address} answers with {status}"
    if status == 409:
        raise StaleGenerationError(said)
    if status in (400, 403, 404, 413, 415):
        raise SearchAppError(str(said))
    if status == 401:
        raise SearchAppError(f"{peer.address} asks for another token; give --peer-token-file FILE with the one it has")
    raise OSError(f"{peer.address}: {said}")


class Peers:
    """The shard servers of a root. Safe between threads."""

    def __init__(self, addresses: Sequence[PeerAddress], token: str | None = None) -> None:
        self.all = tuple(Peer(address, token) for address in addresses)
        self._turn = 0

    def gather(
        self, shards: Sequence[str], make: Callable[[tuple[str, ...]], Message], until: float
    ) -> list[tuple[tuple[str, ...], Message]]:
        """What the servers answer for these shards: ``make`` gives the request for some of them.

        Raises LostShardsError for shards of which every server failed or was late, StaleGenerationError where one does
        not hold the generation, SearchAppError where one refuses the request.
        """
        found: list[tuple[tuple[str, ...], Message]] = []
        tried: dict[str, set[Peer]] = {name: set() for name in shards}
        reason = "no server is named for them"
        open_ = list(shards)
        while open_:
            groups, lost = self._groups(open_, tried)
            if lost:
                raise LostShardsError(lost, reason)
            answers, failures = self._asked(groups, make, until)
            found += answers
            open_ = []
            for names, why in failures:
                reason = why
                open_ += names
            if open_ and time.monotonic() >= until:
                raise LostShardsError(open_, reason)
        return found

    def _groups(self, names: Sequence[str], tried: dict[str, set[Peer]]) -> tuple[dict[Peer, list[str]], list[str]]:
        """Which server is asked for which shards, and the shards for which there is no other one."""
        now = time.monotonic()
        self._turn += 1
        groups: dict[Peer, list[str]] = {}
        lost = []
        for name in names:
            there = [peer for peer in self.all if peer.holds(name) and peer not in tried[name]]
            if not there:
                lost.append(name)
                continue
            well = [peer for peer in there if now - peer.failed > PAUSE] or there
            used = [peer for peer in well if peer in groups]
            peer = (used or well)[0 if used else self._turn % len(well)]
            tried[name].add(peer)
            groups.setdefault(peer, []).append(name)
        return groups, lost

    def _asked(
        self, groups: dict[Peer, list[str]], make: Callable[[tuple[str, ...]], Message], until: float
    ) -> tuple[list[tuple[tuple[str, ...], Message]], list[tuple[list[str], str]]]:
        sent: list[tuple[Peer, list[str], bytes, Channel, bool]] = []
        answers: list[tuple[tuple[str, ...], Message]] = []
        failures: list[tuple[list[str], str]] = []
        bodies: dict[tuple[str, ...], bytes] = {}
        refusal: SearchAppError | None = None
        for peer, names in groups.items():
            body = bodies.setdefault(tuple(names), b"") or pack(make(tuple(names)))
            try:
                sent.append((peer, names, body, *peer.send(body, until)))
            except OSError as error:
                failures.append((names, self._note(peer, error)))
        for peer, names, body, channel, is_new in sent:
            try:
                answers.append((tuple(names), peer.answer(body, channel, is_new, until)))
                peer.failed = float("-inf")
            except SearchAppError as error:
                refusal = refusal or error
            except OSError as error:
                failures.append((names, self._note(peer, error)))
        if refusal is not None:  # said when every answer has been read, so that no connection is left in the middle
            raise refusal
        return answers, failures

    def _note(self, peer: Peer, error: BaseException) -> str:
        why = f"{peer.address}: {'late' if isinstance(error, TimeoutError) else reason_of(error)}"
        if time.monotonic() - peer.failed > PAUSE:
            log.warning("a shard server fails: %s", why)
        peer.failed = time.monotonic()
        return why
