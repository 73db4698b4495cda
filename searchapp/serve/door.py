"""Who may ask, and how: decided from a request's head alone, before a byte of its body is read.

A server on a loopback address is reached by every page that the user's browser has open. What keeps these out: the Host
must be a name this server is known by (a foreign name that resolves to 127.0.0.1 is not), a request that a browser says
comes from another site is refused, a body has to be ``application/json`` (which no form can send), and there are no
cookies. Beyond loopback there is no access without a token.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from searchapp.errors import SearchAppError, shown_address
from searchapp.serve.limits import Limits
from searchapp.serve.problem import ProblemError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
FREE = ("/livez",)  # answered without a token
PAGE = ("/", "/favicon.ico")  # the page itself: it holds no data, and asks for the token
MESSAGES = "/shards"  # takes bytes, which no form can send either
Scope = dict[str, Any]


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_host(name: str) -> bool:
    """Whether a Host header can have this name."""
    try:
        return bool(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?", name) is not None


@dataclass(frozen=True)
class Door:
    """``hosts``: names in lower case, without ports, that the Host header may have; ``token``: None asks for none."""

    hosts: frozenset[str]
    token: str | None = None
    origins: frozenset[str] = frozenset()  # other sites whose pages may ask
    limits: Limits = Limits()

    @classmethod
    def of(
        cls, host: str, *, allowed: Iterable[str] = (), token: str | None = None, origins: Iterable[str] = (),
        limits: Limits | None = None,
    ) -> Door:  # fmt: skip
        """The door of a server that listens on ``host``. Raises SearchAppError where that is open to all."""
        allowed = tuple(allowed)
        names = {*LOOPBACK, *(name.lower().rstrip(".").strip("[]") for name in allowed)}
        if host not in ("0.0.0.0", "::", ""):  # noqa: S104 - every address is no name
            names.add(host.lower().strip("[]"))
        if "*" in names or "*" in set(origins):
            raise SearchAppError("'*' would let every site in; name each host and origin")
        for name in allowed:
            if not _is_host(name):
                raise SearchAppError(
                    f"--allow-host {name!r} is no name of a host; expected such as search.example.org, without a port"
                )
        if not is_loopback(host) and token is None:
            raise SearchAppError(
                f"--host {host} is reached from other machines, and no token is asked for; give --token-file FILE "
                "(it is made where it is not there), or listen on 127.0.0.1"
            )
        for origin in origins:
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
                raise SearchAppError(
                    f"--cors-origin {shown_address(origin)!r} is no origin; expected such as https://example.org"
                )
        return cls(frozenset(names), token, frozenset(origins), limits or Limits())

    def check(self, scope: Scope) -> None:
        """Raise ProblemError for a request that may not pass."""
        headers = _headers(scope)
        self._check_host(headers)
        origin = headers.get("origin")
        foreign = origin is not None and origin not in self.origins and not self._is_own(origin, headers)
        site = headers.get("sec-fetch-site", "none")
        navigates = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
        if foreign or (site in ("cross-site", "same-site") and origin not in self.origins and not navigates):
            raise ProblemError(
                403, "requests from pages of other sites are refused; name them by --cors-origin", code="origin"
            )
        self._check_token(scope, headers)
        self._check_body(scope, headers)

    def _check_host(self, headers: dict[str, str]) -> None:
        given = headers.get("host", "")
        if _name(given) not in self.hosts:
            raise ProblemError(
                403,
                f"the host {given[:100]!r} is not one this server is known by; name it by --allow-host",
                code="host",
            )

    def _is_own(self, origin: str, headers: dict[str, str]) -> bool:
        scheme, _, rest = origin.partition("://")
        return scheme in ("http", "https") and rest == headers.get("host", "") and _name(rest) in self.hosts

    def _check_token(self, scope: Scope, headers: dict[str, str]) -> None:
        path = scope["path"]
        if (
            self.token is None
            or path in FREE
            or path in PAGE
            or path.startswith("/page/")
            or scope["method"] == "OPTIONS"
        ):
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        given = given.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode()):
            raise ProblemError(
                401, "a token is needed: send the header `authorization: Bearer TOKEN`", code="invalid_api_key"
            )

    def _check_body(self, scope: Scope, headers: dict[str, str]) -> None:
        if "content-encoding" in headers and headers["content-encoding"].lower() not in ("", "identity"):
            raise ProblemError(415, "compressed bodies are not taken; send it as it is", code="content_encoding")
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if scope["method"] in ("POST", "PUT", "PATCH", "DELETE") and has_body:
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            expected = "application/octet-stream" if scope["path"] == MESSAGES else "application/json"
            if kind != expected:
                raise ProblemError(415, f"the content-type is {kind[:100]!r}; expected {expected}", code="content_type")

    def cors(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """What an answer to a page of a named origin says, so that the browser hands it over."""
        if not self.origins:
            return []
        origin = _headers(scope).get("origin")
        if origin is None or origin not in self.origins:
            return []
        return [(b"access-control-allow-origin", origin.encode()), (b"vary", b"origin")]


def _headers(scope: Scope) -> dict[str, str]:
    """The headers by name; of one that stands twice, both values, which fits nothing that is expected."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1")
        found[key] = f"{found[key]}, {value.decode('latin-1')}" if key in found else value.decode("latin-1")
    return found


def _name(host: str) -> str:
    """The name in a Host header, without port, brackets and the final dot; "" for what is none."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        port = port.removeprefix(":") if port.startswith(":") or not port else "?"
        if not bracket:
            return ""
    else:
        name, colon, port = host.partition(":")
        if colon and not port:
            return ""
    if port and not (port.isascii() and port.isdecimal()):
        return ""
    return name.lower().removesuffix(".")
