"""Standard input and output passed on to ``/mcp`` of a running server, so that hosts share one process and one model.

Every message is posted as it came, and what the server answers is written as it comes. The standard library is all
this takes: a host that starts ten of these pays 10 MB each.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from searchapp.assistants.streams import Lines, Wire, leave, leave_soon, leave_with_parent
from searchapp.errors import SearchAppError, reason_of, shown_address

VERSION = "io.modelcontextprotocol/protocolVersion"
TIMEOUT = 60.0
WORKERS = 4
PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")  # what a header can hold as it is
SERVER_ERROR = -32_000


class Address:
    """Where a server is: http or https, host and port, and the path of its assistants' door."""

    def __init__(self, url: str, token: str | None = None) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise SearchAppError(
                f"--connect {shown_address(url)!r} is no address of a server; expected such as http://127.0.0.1:8000"
            )
        self.secure, self.host, self.port = parts.scheme == "https", parts.hostname, port
        path = parts.path.rstrip("/")
        self.path = path if path.endswith("/mcp") else f"{path}/mcp"
        self.token = token

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body of the answer to a message. Raises OSError and HTTPException."""
        kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
        connection = kind(self.host, self.port, timeout=TIMEOUT)
        sent = {"content-type": "application/json", "accept": "application/json, text/event-stream", **headers}
        if self.token is not None:
            sent["authorization"] = f"Bearer {self.token}"
        try:
            connection.request("POST", self.path, body, sent)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class Forwarding:
    """Passes messages on. Requests go side by side; the handshake of older versions first, and alone."""

    def __init__(self, address: Address, wire: Wire) -> None:
        self._address = address
        self._wire = wire
        self._lock = threading.Lock()
        self._version: str | None = None  # agreed on by the handshake

    def run(self) -> None:
        """Pass messages on until the other side is gone, and end the process then."""
        leave_with_parent()
        lines = Lines(self._wire.reader, leave_soon)
        with ThreadPoolExecutor(WORKERS, "forward") as pool:
            while line := lines.readline():
                message = _parsed(line)
                if isinstance(message, dict) and message.get("method") == "initialize":
                    self._forward(line, message)
                else:
                    pool.submit(self._forward, line, message)
        leave()

    def _forward(self, line: str, message: Any) -> None:
        given = message if isinstance(message, dict) else {}
        try:
            status, body = self._address.post(line.encode("utf-8", "replace"), self._headers(given))
        except (OSError, http.client.HTTPException) as error:
            reason = reason_of(error) if isinstance(error, OSError) else type(error).__name__
            self._fail(given, f"the server cannot be reached ({reason}); start `searchapp serve` and ask again")
            return
        answer = _parsed(body.decode("utf-8", "replace")) if body.strip() else None
        if isinstance(answer, dict) and "jsonrpc" in answer:
            if given.get("method") == "initialize" and isinstance(answer.get("result"), dict):
                self._version = str(answer["result"].get("protocolVersion", "")) or None
            self._write(answer)
        elif status >= 300 or "id" in given:
            error_body = answer.get("error") if isinstance(answer, dict) else None
            said = error_body.get("message") if isinstance(error_body, dict) else None
            self._fail(given, str(said or f"the server answered with the HTTP status {status}"))

    def _headers(self, message: Mapping[str, Any]) -> dict[str, str]:
        """What the protocol has said in headers too, out of the message."""
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        meta = params.get("_meta")
        version = meta.get(VERSION) if isinstance(meta, dict) else None
        if not isinstance(version, str):
            return {} if self._version is None else {"mcp-protocol-version": self._version}
        headers = {"mcp-protocol-version": version, "mcp-method": str(message.get("method", ""))}
        name = params.get("uri") if message.get("method") == "resources/read" else params.get("name")
        if isinstance(name, str):
            headers["mcp-name"] = name
        return {key: value if PLAIN.fullmatch(value) else _encoded(value) for key, value in headers.items()}

    def _fail(self, message: Mapping[str, Any], text: str) -> None:
        if "id" in message and "method" in message:
            error = {"code": SERVER_ERROR, "message": text}
            self._write({"jsonrpc": "2.0", "id": message["id"], "error": error})

    def _write(self, message: Any) -> None:
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
        try:
            with self._lock:
                self._wire.writer.write(line)
                self._wire.writer.flush()
        except OSError:  # nobody reads any more
            leave()


def read_secret(path: Path) -> str:
    """The token in a file. Raises SearchAppError."""
    try:
        token = path.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SearchAppError(f"the token file {path} cannot be read: {reason_of(error)}") from error
    if not token or any(not 33 <= ord(letter) <= 126 for letter in token):
        raise SearchAppError(f"{path} holds no token; expected the file that `searchapp serve --token-file` made")
    return token


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _encoded(value: str) -> str:
    """A value that no header can hold, as the protocol writes it."""
    import base64

    return f"=?base64?{base64.b64encode(value.encode('utf-8', 'replace')).decode()}?="
