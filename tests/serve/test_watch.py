"""A request whose deadline passes, or whose client leaves, is given up, and what it had waiting is not done."""

from __future__ import annotations

import json
import socket
import time

import pytest

from searchapp.index import build
from searchapp.serve.model_thread import Lane
from tests.serve.running import Running, serving

TEXTS = [f"bees make honey in hive number {number} " * 20 for number in range(1_500)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny_encoder):
    root = tmp_path_factory.mktemp("watch")
    (root / "d.jsonl").write_text(json.dumps({"_id": "d", "text": "bees"}))
    build([str(root / "d.jsonl")], root / "ix", tiny_encoder)
    with serving({"ix": root / "ix"}) as one:
        yield one


def until(holds, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_idle(running: Running) -> bool:
    return running.server.admission.requests == 0 and running.server.thread.waiting(Lane.BULK) == 0


def encoded(running: Running) -> float:
    return running.server.metrics.tokens._value.get()


def test_a_deadline_that_passes(running: Running) -> None:
    began = time.monotonic()
    status, _, body = running.requester("POST", "/v1/embeddings", {"input": TEXTS, "model": ""}, x_timeout_ms="150")
    assert (status, body["error"]["type"]) == (504, "timeout_error")
    assert time.monotonic() - began < 5
    until(lambda: is_idle(running))
    tokens = encoded(running)
    time.sleep(0.1)
    assert encoded(running) == tokens, "what was given up is not encoded"
    assert running.requester("POST", "/api/search", {"query": "bees"})[0] == 200


def test_a_client_that_leaves(running: Running) -> None:
    body = json.dumps({"input": TEXTS, "model": ""}).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", running.port))
    connection.sendall(head.encode() + body)
    until(lambda: not is_idle(running))
    before = encoded(running)
    connection.close()
    until(lambda: is_idle(running))
    whole = sum(len(text.split()) for text in TEXTS)
    assert encoded(running) - before < whole, "most of the texts were not encoded"


@pytest.mark.parametrize("path", ["/livez", "/nothing", "/api/documents/d"])
def test_a_head_without_its_body_is_sent(running: Running, path: str) -> None:
    """HEAD of a route that has none is refused with its head alone; GET of it has both."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=5) as connection:
        connection.sendall(f"HEAD {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        assert connection.recv(9_999).startswith(b"HTTP/1.1 ")
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        assert b"\r\n\r\n{" in connection.recv(9_999), "head and body come together"


def test_a_method_that_is_none_of_a_route_is_counted_without_one(running: Running) -> None:
    status, _, body = running.requester("PUT", "/api/search", {"query": "bees"})
    assert (status, body["error"]["message"]) == (405, "PUT is not a method of this route")
    figures = running.requester("GET", "/metrics")[2].decode()
    assert 'searchapp_requests_total{code="405",route="none"} 1.0' in figures
