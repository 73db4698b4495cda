"""One request and its answer over ASGI: the body within its bounds, the answer's bytes and headers."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

import msgspec

from searchapp.serve.limits import Limits
from searchapp.serve.model_thread import Ticket
from searchapp.serve.problem import ProblemError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Body = TypeVar("Body")

JSON = b"application/json"
DISCARDED = 4  # times the bytes of a body that are read, where it is too long
PREFIX = secrets.token_hex(4)  # of this process; numbers cost less than chance for each request
NUMBERS = count()
IDENTIFIER = re.compile(r"[A-Za-z0-9._-]{1,64}")
SAFE = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]


@dataclass
class Answer:
    """What goes back. ``stream`` takes the place of ``content`` where it comes in parts."""

    content: bytes = b""
    status: int = 200
    media_type: bytes = JSON
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    stream: AsyncIterator[bytes] | None = None


def json_answer(value: Any, status: int = 200, *headers: tuple[bytes, bytes]) -> Answer:
    """A struct, or anything that JSON has, as an answer."""
    return Answer(msgspec.json.encode(value), status, headers=list(headers))


def problem_answer(problem: ProblemError) -> Answer:
    """The answer that says what is wrong."""
    answer = json_answer(problem.body(), problem.status)
    if problem.retry is not None:
        answer.headers.append((b"retry-after", str(problem.retry).encode()))
    if problem.status == 401:
        answer.headers.append((b"www-authenticate", b"Bearer"))
    return answer


class Exchange:
    """A request under way.

    ``route`` is the path of its route, "" where there is none, and ``parameters`` are those of the path. ``timing`` are
    the seconds it spent by step.
    """

    def __init__(self, scope: dict[str, Any], receive: Receive, limits: Limits) -> None:
        self.scope = scope
        self.receive = receive
        self.limits = limits
        self.ticket = Ticket()
        self.parameters: dict[str, str] = dict(scope.get("path_params") or {})
        self.route = ""
        self.timing: dict[str, float] = {}
        self.generation: int | None = None
        self.began = time.perf_counter()
        asked = self.header(b"x-request-id") or ""
        self.identifier = asked if IDENTIFIER.fullmatch(asked) else f"{PREFIX}{next(NUMBERS):08x}"

    @property
    def client(self) -> str:
        """The address the request came from."""
        given = self.scope.get("client")
        return str(given[0]) if given else ""

    def header(self, name: bytes) -> str | None:
        """The first header of a name (lower case)."""
        found: Any = next((value.decode("latin-1") for key, value in self.scope["headers"] if key == name), None)
        return None if found is None else str(found)

    def query(self, name: str, default: str | None = None) -> str | None:
        """A parameter of the URL. Raises ProblemError where it is not valid Unicode."""
        from urllib.parse import parse_qs

        try:
            given = parse_qs(self.scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict")
        except (UnicodeDecodeError, ValueError) as error:
            raise ProblemError(400, "the URL's parameters are not valid UTF-8") from error
        values = given.get(name)
        return default if values is None else str(values[0])

    def start(self, seconds: float) -> float:
        """Set the deadline: ``seconds`` from now, or sooner where the request says so; returns the seconds."""
        asked = self.header(b"x-timeout-ms")
        if asked is not None:
            if not (asked.isascii() and asked.isdecimal() and 0 < int(asked[:12]) <= 86_400_000):
                raise ProblemError(400, f"x-timeout-ms is {asked[:40]!r}; expected milliseconds, 1 or more")
            seconds = min(seconds, int(asked) / 1_000)
        self.ticket.deadline = time.monotonic() + seconds
        return seconds

    async def body(self, most: int) -> bytes:
        """The whole body. Raises ProblemError where it is longer than ``most`` bytes, or does not come.

        One that is a little too long is read to its end and thrown away: a client that is still sending would see a
        broken connection instead of the answer.
        """
        said = self.header(b"content-length")
        if said is not None and said.isdecimal() and int(said[:20]) > DISCARDED * most:
            raise _too_long(most)
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while True:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        self.ticket.cancelled = True
                        raise ProblemError(499, "the client has left")
                    part = message.get("body", b"")
                    size += len(part)
                    if size <= most:
                        parts.append(part)
                    if size > DISCARDED * most or (size > most and not message.get("more_body")):
                        raise _too_long(most)
                    if not message.get("more_body"):
                        return parts[0] if len(parts) == 1 else b"".join(parts)
        except TimeoutError:
            raise ProblemError(408, f"the body did not come within {self.limits.body_seconds:g} s") from None

    async def gone(self) -> None:
        """Return when the client has left. To be awaited when the body has been read."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


def _too_long(most: int) -> ProblemError:
    return ProblemError(413, f"the body is longer than {most:,} bytes; send less at once", code="body_too_long")


def decoded(content: bytes, decoder: msgspec.json.Decoder[Body]) -> Body:
    """A body as the struct it should be. Raises ProblemError, which names the field at fault."""
    try:
        return decoder.decode(content)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `")
        param = place.rstrip("`").removeprefix("$.") or None
        if param is None and "`" in text:
            param = text.split("`")[1]
        raise ProblemError(
            400, f"{text[0].lower()}{text[1:]}" + (f" at {param}" if place else ""), param=param
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = str(error).splitlines()[0] if str(error) else "it is nested too deep"
        raise ProblemError(400, f"the body is no JSON: {text}", code="invalid_json") from None


async def send_answer(exchange: Exchange, answer: Answer, send: Send, more: list[tuple[bytes, bytes]]) -> None:
    """Send an answer with the headers that all answers have."""
    timing = ", ".join(f"{name};dur={1_000 * seconds:.2f}" for name, seconds in exchange.timing.items())
    headers = [
        (b"content-type", answer.media_type),
        (b"x-request-id", exchange.identifier.encode()),
        *((name, value) for name, value in SAFE if name not in {key for key, _ in answer.headers}),
        *answer.headers,
        *more,
    ]
    if timing:
        headers.append((b"server-timing", timing.encode()))
    if exchange.generation is not None:
        headers.append((b"x-index-generation", str(exchange.generation).encode()))
    if answer.stream is None:
        headers.append((b"content-length", str(len(answer.content)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        content = b"" if exchange.scope["method"] == "HEAD" else answer.content
        await send({"type": "http.response.body", "body": content})
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async for part in answer.stream:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
