"""Requests to one server: connections that are kept, a deadline, coming again where the server says to."""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from searchapp.errors import SearchAppError, reason_of, shown_address

log = logging.getLogger(__name__)

BUSY = (429, 503)  # the server has done nothing, and says when to come again
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0  # seconds, where it does not say when
IDLE = 8  # connections that are kept
KEPT = 4.0  # seconds for which one that is not used is kept; the server keeps it for 5


@dataclass(frozen=True)
class Address:
    """Where a server is, and the name of the index that is meant; None: its first."""

    secure: bool
    host: str
    port: int
    prefix: str  # of all paths, "" or as /search
    index: str | None

    @classmethod
    def of(cls, url: str) -> Address:
        """Read ``http://HOST:PORT[/NAME]``; what stands before the name is a prefix. Raises SearchAppError."""
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname, parts.port
        except ValueError as error:
            why = "" if "@" in url else f" ({error})"  # which repeats a part of it
            raise SearchAppError(
                f"{shown_address(url)!r} is no address{why}; expected such as http://127.0.0.1:8000/notes"
            ) from None
        is_plain = not parts.query and not parts.fragment and "@" not in parts.netloc
        if parts.scheme.lower() not in ("http", "https") or not host or not is_plain:
            raise SearchAppError(
                f"{shown_address(url)!r} is no server's address; expected such as http://127.0.0.1:8000/notes"
            )
        secure = parts.scheme.lower() == "https"
        prefix, _, name = parts.path.rstrip("/").rpartition("/")
        return cls(secure, host, port or (443 if secure else 80), prefix, unquote(name) or None)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.prefix}"


class Connection:
    """Safe between threads: each request has a connection to itself, and gives it back."""

    def __init__(self, address: Address, token: str | None = None, seconds: float | None = None) -> None:
        if token is not None and (not token or any(not 33 <= ord(letter) <= 126 for letter in token)):
            raise SearchAppError("the token has blanks or letters beyond ASCII; give it as the server's file has it")
        self.address = address
        self._token = token
        self._seconds = seconds
        self._lock = threading.Lock()
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []

    def ask(self, method: str, path: str, body: Any = None, *, seconds: float, **parameters: str | None) -> Any:
        """The JSON that the server answers with. Raises SearchAppError with the server's own words.

        ``seconds`` is the most that all tries take together, unless the connection was made with another number.
        ``parameters`` are those of the URL.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        target = self.address.prefix + path + (f"?{urlencode(given, quote_via=quote)}" if given else "")
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        until = time.monotonic() + (self._seconds or seconds)
        wait = FIRST_WAIT
        while True:
            status, headers, answer = self._once(method, target, content, until)
            if status == 200:
                return self._decoded(status, headers, answer)
            said = headers.get("retry-after", "")
            pause = float(said) if said.isascii() and said.isdecimal() else wait
            if status not in BUSY or time.monotonic() + pause >= until:
                raise self._refusal(status, headers, answer)
            log.info("%s is busy (%d): coming again in %g s", self.address, status, pause)
            time.sleep(pause)
            wait = min(2 * wait, LONGEST_WAIT)

    def close(self) -> None:
        """Close the connections that are kept."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _once(self, method: str, target: str, content: bytes | None, until: float) -> tuple[int, dict[str, str], bytes]:
        """One try; a second one where a kept connection turns out to be closed."""
        kept = self._take()
        if kept is not None:
            try:
                return self._exchange(kept, method, target, content, until)
            except (ConnectionError, http.client.BadStatusLine):  # closed meanwhile: nothing was read of an answer
                kept.close()
            except (OSError, http.client.HTTPException) as error:
                kept.close()
                raise self._unreachable(error, until) from error
        connection = self._made()
        try:
            return self._exchange(connection, method, target, content, until)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error, until) from error

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, target: str, content: bytes | None, until: float
    ) -> tuple[int, dict[str, str], bytes]:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.timeout = left
        if connection.sock is not None:
            connection.sock.settimeout(left)
        headers = {"accept": "application/json", "x-timeout-ms": str(max(1, int(1_000 * left)))}
        if content is not None:
            headers["content-type"] = "application/json"
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token}"
        connection.request(method, target, content, headers)
        answer = connection.getresponse()
        text = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        if answer.will_close:
            connection.close()
        else:
            with self._lock:
                if len(self._idle) < IDLE:
                    self._idle.append((time.monotonic(), connection))
                    return answer.status, found, text
            connection.close()
        return answer.status, found, text

    def _take(self) -> http.client.HTTPConnection | None:
        """The connection that was used last, unless that is too long ago."""
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

    def _unreachable(self, error: Exception, until: float) -> SearchAppError:
        if isinstance(error, TimeoutError) or time.monotonic() >= until:
            return SearchAppError(f"{self.address} did not answer in time; ask for less, or wait longer")
        return SearchAppError(
            f"{self.address} cannot be asked: {reason_of(error)}; is `searchapp serve` running there?"
        )

    def _decoded(self, status: int, headers: dict[str, str], answer: bytes) -> Any:
        try:
            return json.loads(answer)
        except ValueError:
            kind = headers.get("content-type", "no type")
            raise SearchAppError(
                f"{self.address} answers with {status} and {kind}, not as `searchapp serve` does; check the address"
            ) from None

    def _refusal(self, status: int, headers: dict[str, str], answer: bytes) -> SearchAppError:
        body = self._decoded(status, headers, answer)
        said = body.get("error") if isinstance(body, dict) else None
        text = said.get("message") if isinstance(said, dict) else None
        if not isinstance(text, str):
            return SearchAppError(
                f"{self.address} answers with {status}, not as `searchapp serve` does; check the address"
            )
        if status == 401:
            text = f"{self.address} asks for a token, and this is not the one"
            text = text if self._token is not None else f"{self.address} asks for a token"
            return SearchAppError(f"{text}; give --token-file FILE, or set SEARCHAPP_TOKEN")
        return SearchAppError(text)
