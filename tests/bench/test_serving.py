"""The load: latencies count from when a request was due, failures are counted; and a whole small measurement."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from pathlib import Path

import pytest

from searchapp.bench.load import Measured, Target, closed, merged, open_loop
from searchapp.bench.serving_report import HEAD, rows, summary

SLOW = 0.05


@pytest.fixture
def target():
    """A server that does one thing at a time, in ``SLOW`` seconds; /bad fails at once."""
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/bad":
                self.send_response(429)
            else:
                with one_at_a_time:
                    time.sleep(SLOW)
                self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield Target(server.server_address[1], "/good")
    server.shutdown()
    server.server_close()


def test_clients_that_wait_hide_a_queue_and_requests_that_come_do_not(target: Target) -> None:
    alone = closed(target, repeat(b"{}"), 1, 0.4)
    assert 1_000 * SLOW <= alone.percentile(50) < 1_000 * SLOW * 2.5
    assert 4 <= len(alone.milliseconds) <= 9
    assert closed(target, repeat(b"{}"), 3, 0.4).percentile(50) > 2 * 1_000 * SLOW * 0.8
    flooded = open_loop(target, repeat(b"{}"), 60, 0.5)  # three times what it can do
    assert len(flooded.milliseconds) > 15
    assert flooded.percentile(99) > 400, "those that came last waited for all before them"
    assert max(flooded.milliseconds) - min(flooded.milliseconds) > 300


def test_failures_are_counted_and_are_no_answers(target: Target) -> None:
    found = closed(Target(target.port, "/bad"), repeat(b"{}"), 2, 0.1)
    assert found.failed[429] > 1
    assert (found.milliseconds, found.rate) == ([], 0.0)
    assert found.to_json()["failed"] == found.failed[429]
    nobody = open_loop(Target(1, "/"), repeat(b"{}"), 50, 0.1)
    assert set(nobody.failed) <= {0}


def test_rounds_add_up() -> None:
    whole = merged([Measured([1.0, 3.0], seconds=1.0), Measured([2.0], seconds=2.0)])
    assert (whole.rate, whole.percentile(50), whole.to_json()["requests"]) == (1.0, 2.0, 3)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, tiny_encoder) -> Path:
    from searchapp.index import build

    root = tmp_path_factory.mktemp("serving")
    words = "bees honey clover hive queen wax nectar swarm flower garden summer winter".split()
    lines = [{"_id": f"d{number}", "text": " ".join(words[number % 5 :])} for number in range(30)]
    (root / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    build([str(root / "d.jsonl")], root / "ix", tiny_encoder)
    return root / "ix"


@pytest.mark.slow
def test_a_whole_measurement(run, index: Path) -> None:
    outcome = run(
        "bench", "serve", index, "--rivals", "fastapi", "--clients", "1,4", "--seconds", "0.3", "--rounds", "1",
        "--threads", "1", "--bulk", "64", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert {row["program"] for row in found["search"]["dense"]} == {"searchapp", "fastapi"}
    for row in [*found["search"]["auto"], *found["embeddings"], *found["open"]]:
        assert row["failed"] == 0
        assert row["requests_per_second"] > 0
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
    assert [row["share"] for row in found["open"]] == [25, 50, 75, 90]
    assert found["beside"]["embedding_failed"] == 0
    table = rows(found)
    assert table[0] == HEAD
    assert all(len(row) == len(HEAD) for row in table)
    assert any("one client, dense" in line for line in summary(found))


def test_what_cannot_be_measured_is_said_first(run, index: Path) -> None:
    for options, said in (
        (("--rivals", "nginx"), "rival 'nginx' is unknown; expected fastapi, sentence-transformers, infinity"),
        (("--rivals", "infinity"), "infinity needs an environment of its own"),
        (("--clients", "1,x"), "--clients '1,x' is not understood"),
    ):
        outcome = run("bench", "serve", index, *options)
        assert (outcome.code, outcome.out) == (2, "")
        assert said in outcome.err
