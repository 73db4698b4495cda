"""Shard servers and the requests to them: each shard is asked of one server that holds it, of another where that fails.

Requests go out to all servers before the first answer is read, on connections that are kept, by one deadline.
"""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from searchapp.errors import SearchAppError, reason_of
from searchapp.shards.wire import MEDIA_TYPE, Message, WireError, pack, unpack

log = logging.getLogger(__name__)

PATH = "/shards"
IDLE = 16  # connections that are kept of a server
KEPT = 4.0  # seconds for which one that is not used is kept; the server keeps it for 5
PAUSE = 0.5  # seconds for which a server that failed is asked last
MOST_ANSWER = 256 << 20
FAILED = (OSError, http.client.HTTPException)


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
        if not host or parts.scheme not in ("http", "https") or parts.path.strip("/") or parts.query or parts.username:
            raise SearchAppError(f"{text!r} is no shard server; expected such as http://10.0.0.5:8000=s0000,s0001")
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
        self._headers = {"content-type": MEDIA_TYPE}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._lock = threading.Lock()
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []

    def holds(self, shard: str) -> bool:
        """Whether it is asked for a shard."""
        return not self.address.shards or shard in self.address.shards

    def send(self, body: bytes, until: float) -> tuple[http.client.HTTPConnection, bool]:
        """Send a request; returns its connection, and whether that is a new one. Raises what ``FAILED`` names."""
        kept = self._take()
        if kept is not None:
            try:
                self._put(kept, body, until)
                return kept, False
            except FAILED:
                kept.close()
        made = self._made()
        self._put(made, body, until)
        return made, True

    def receive(self, connection: http.client.HTTPConnection, until: float) -> tuple[int, bytes]:
        """The status and body of the answer. Raises what ``FAILED`` names."""
        left = until - time.monotonic()
        if connection.sock is not None:
            connection.sock.settimeout(max(0.001, left))
        answer = connection.getresponse()
        body = answer.read(MOST_ANSWER + 1)
        if len(body) > MOST_ANSWER:
            raise OSError("the answer is too long")
        if answer.will_close:
            connection.close()
        else:
            with self._lock:
                if len(self._idle) < IDLE:
                    self._idle.append((time.monotonic(), connection))
                    return answer.status, body
            connection.close()
        return answer.status, body

    def ask(self, message: Message, seconds: float) -> Message:
        """One request alone. Raises what ``FAILED`` names, and SearchAppError."""
        until = time.monotonic() + seconds
        connection, _ = self.send(pack(message), until)
        try:
            return decoded(self, *self.receive(connection, until))
        except FAILED:
            connection.close()
            raise

    def close(self) -> None:
        """Close the connections that are kept."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _put(self, connection: http.client.HTTPConnection, body: bytes, until: float) -> None:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        connection.timeout = left
        if connection.sock is not None:
            connection.sock.settimeout(left)
        connection.request("POST", PATH, body, self._headers)

    def _take(self) -> http.client.HTTPConnection | None:
        now = time.monotonic()
        with self._lock:
            old = [pair for pair in self._idle if now - pair[0] > KEPT]
            self._idle = [pair for pair in self._idle if now - pair[0] <= KEPT]
            found = self._idle.pop()[1] if self._idle else None
        for _, connection in old:
            connection.close()
        return found

    def _made(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self.address.secure else http.client.HTTPConnection
        return kind(self.address.host, self.address.port)


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
        sent: list[tuple[Peer, list[str], bytes, http.client.HTTPConnection, bool]] = []
        answers: list[tuple[tuple[str, ...], Message]] = []
        failures: list[tuple[list[str], str]] = []
        bodies: dict[tuple[str, ...], bytes] = {}
        refusal: SearchAppError | None = None
        for peer, names in groups.items():
            body = bodies.setdefault(tuple(names), b"") or pack(make(tuple(names)))
            try:
                sent.append((peer, names, body, *peer.send(body, until)))
            except FAILED as error:
                failures.append((names, self._note(peer, error)))
        for peer, names, body, connection, is_new in sent:
            try:
                answers.append((tuple(names), self._received(peer, body, connection, is_new, until)))
                peer.failed = float("-inf")
            except SearchAppError as error:
                refusal = refusal or error
            except FAILED as error:
                failures.append((names, self._note(peer, error)))
        if refusal is not None:  # said when every answer has been read, so that no connection is left in the middle
            raise refusal
        return answers, failures

    def _received(
        self, peer: Peer, body: bytes, connection: http.client.HTTPConnection, is_new: bool, until: float
    ) -> Message:
        try:
            status, answer = peer.receive(connection, until)
        except (ConnectionError, http.client.BadStatusLine):
            connection.close()
            if is_new:
                raise
            peer.close()  # it was closed meanwhile, and so are the others
            connection, _ = peer.send(body, until)
            try:
                status, answer = peer.receive(connection, until)
            except FAILED:
                connection.close()
                raise
        except FAILED:
            connection.close()
            raise
        return decoded(peer, status, answer)

    def _note(self, peer: Peer, error: BaseException) -> str:
        why = f"{peer.address}: {'late' if isinstance(error, TimeoutError) else reason_of(error)}"
        if time.monotonic() - peer.failed > PAUSE:
            log.warning("a shard server fails: %s", why)
        peer.failed = time.monotonic()
        return why
