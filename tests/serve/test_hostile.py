"""A thousand requests that no friend sends, and a query beside them."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.serve.local import running
from tests.serve.test_door import raw, status_of

pytestmark = pytest.mark.slow

PATHS = ("/api/search", "/v1/embeddings", "/rerank", "/api/explain", "/api/filter", "/api/documents", "/nowhere", "/")
VALUES = (
    None, True, -1, 0, 10**30, 1e308, "", " ", "\x00", "a" * 20_000, "é" * 9_000, [], {}, [[]], [None], {"a": {"b": []}},
    "__import__('os').system('id')", "../../etc/passwd", "<script>alert(1)</script>", "year == " * 900, ["x"] * 3_000,
)  # fmt: skip
NAMES = (
    "query", "queries", "k", "mode", "filter", "candidates", "rerank", "rerank_depth", "index", "input", "model",
    "documents", "ids", "id", "top_n", "dimensions", "encoding_format", "spans", "generation", "fields", "fusion",
)  # fmt: skip
HEADS = (
    b"Host: evil.example\r\n",
    b"Host: localhost\r\nOrigin: http://evil.example\r\n",
    b"Host: localhost\r\nSec-Fetch-Site: cross-site\r\n",
    b"Host: localhost\r\nContent-Encoding: gzip\r\n",
    b"Host: localhost\r\nContent-Type: text/plain\r\n",
    b"Host: localhost\r\nX-Timeout-Ms: never\r\n",
    b"Host: localhost\r\nX-Request-Id: " + b"'" * 300 + b"\r\n",
    b"Host: localhost\r\nX: " + b"y" * 40_000 + b"\r\n",
    b"Host: localhost\r\nContent-Length: 10\r\nContent-Length: 20\r\n",
    b"Host: localhost\r\nExpect: 100-continue\r\n",
    b"Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    b"",
)


def hostile(chance: random.Random) -> bytes:
    """One request, as bytes."""
    if chance.random() < 0.1:
        return chance.randbytes(chance.randint(1, 2_000)) + b"\r\n\r\n"
    if chance.random() < 0.3:
        head = b"POST %s HTTP/1.1\r\n" % chance.choice(PATHS).encode() + chance.choice(HEADS)
        return head + b"Connection: close\r\n\r\n" + chance.randbytes(20)
    body = json.dumps({chance.choice(NAMES): chance.choice(VALUES) for _ in range(chance.randint(0, 5))}).encode()
    if chance.random() < 0.2:
        body = body[: chance.randint(0, len(body))] + chance.randbytes(3)
    if chance.random() < 0.05:
        body = b"[" * 100_000
    method = chance.choice((b"POST", b"POST", b"POST", b"PUT", b"DELETE", b"GET", b"PATCH"))
    head = b"%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n" % (
        method, chance.choice(PATHS).encode(),
    )  # fmt: skip
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def test_each_is_refused_or_answered_and_a_query_beside_them_is_quick(built: Path) -> None:
    chance = random.Random(11)
    requests = [hostile(chance) for _ in range(1_000)]
    times: list[float] = []
    odd: list[tuple[bytes, bytes]] = []
    stop = threading.Event()
    with running({"notes": built}) as served:
        served.search("bee")
        slow = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(100)]
        for link in slow:
            link.sendall(b"POST /api/search HTTP/1.1\r\nHost: loc")

        def query() -> None:
            while not stop.is_set():
                began = time.perf_counter()
                assert served.search("bee honey", k=3)["hits"]
                times.append(time.perf_counter() - began)
                time.sleep(0.02)

        asker = threading.Thread(target=query)
        asker.start()
        try:
            for request in requests:
                answer = raw(served.port, request, seconds=15)
                if answer and not (status_of(answer) < 500 or status_of(answer) in (501, 503, 505)):
                    odd.append((request[:300], answer[:300]))
        finally:
            stop.set()
            asker.join()
        for link in slow:
            link.close()
        assert served.get("/readyz").status == 200
        assert b'code="500"' not in served.get("/metrics").content
    assert not odd
    middle = sorted(times)[len(times) // 2]
    assert middle < 0.1, (middle, len(times))
