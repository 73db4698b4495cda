"""Who may ask: every rule with a request that it lets through and those it does not."""

from __future__ import annotations

import http.client
import json
import socket
import stat
import time
from pathlib import Path

import pytest

from searchapp.errors import SearchAppError
from searchapp.index import build
from searchapp.serve.door import Door, is_loopback
from searchapp.serve.limits import Limits
from searchapp.serve.run import listen, read_token
from tests.serve.local import Running, running

TOKEN = "a-token-of-many-letters"


def raw(port: int, text: bytes, seconds: float = 5) -> bytes:
    """What comes back for bytes as they are, until the server closes or nothing comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as link:
        found = b""
        try:
            link.sendall(text)
            while part := link.recv(65_536):
                found += part
        except (TimeoutError, ConnectionError):
            pass
        return found


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("localhost:{port}", True),
        ("127.0.0.1", True),
        ("[::1]:{port}", True),
        ("LOCALHOST.:{port}", True),
        ("named.example:{port}", True),
        ("evil.example", False),
        ("localhost.evil.example:{port}", False),
        ("127.0.0.1.nip.io", False),
        ("localhost:{port}@evil.example", False),
        ("[::1", False),
        ("localhost:", False),
        ("localhost:80a", False),
        ("", False),
        ("localhost, evil.example", False),
    ],
)
def test_only_known_hosts(built: Path, served: Running, host: str, passes: bool) -> None:
    door = Door.of("127.0.0.1", allowed=["named.example"])
    scope = {"method": "GET", "path": "/livez", "headers": [(b"host", host.format(port=served.port).encode())]}
    if passes:
        door.check(scope)
    else:
        with pytest.raises(Exception, match="not one this server is known by"):
            door.check(scope)
    if "named" not in host:
        line = f"GET /livez HTTP/1.1\r\nHost: {host.format(port=served.port)}\r\nConnection: close\r\n\r\n"
        assert status_of(raw(served.port, line.encode())) == (200 if passes else 403)


def test_a_request_without_a_host_or_with_two_is_refused(served: Running) -> None:
    for hosts in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
        answer = raw(served.port, b"GET /livez HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")
        assert status_of(answer) in (400, 403)


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({"origin": "http://127.0.0.1:{port}", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://127.0.0.1:1"}, False),
        ({"origin": "null"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "https://friend.example", "sec-fetch-site": "cross-site"}, True),
    ],
)
def test_pages_of_other_sites_are_refused(built: Path, headers: dict[str, str], passes: bool) -> None:
    with running({"notes": built}, origins=("https://friend.example",)) as served:
        sent = {name: value.format(port=served.port) for name, value in headers.items()}
        answer = served.post("/api/search", {"query": "bee", "k": 1}, sent)
        assert answer.status == (200 if passes else 403), answer.content
        if not passes:
            assert answer.problem["code"] == "origin"
        allowed = answer.headers.get("access-control-allow-origin")
        assert allowed == ("https://friend.example" if "friend" in str(headers) else None)


def test_preflights(built: Path) -> None:
    with running({"notes": built}, origins=("https://friend.example",)) as served:
        for origin, status in (("https://friend.example", 204), ("https://evil.example", 403)):
            answer = served.ask("OPTIONS", "/api/search", headers={"origin": origin})
            assert answer.status == status
            assert ("access-control-allow-methods" in answer.headers) == (status == 204)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "application/json"}, b'{"query": "bee"}', 200),
        ({"content-type": "application/json; charset=utf-8"}, b'{"query": "bee"}', 200),
        ({"content-type": "text/plain"}, b'{"query": "bee"}', 415),
        ({"content-type": "text/plain; application/json"}, b'{"query": "bee"}', 415),
        ({"content-type": "application/x-www-form-urlencoded"}, b"query=bee", 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, b"\x1f\x8b00", 415),
        ({"content-type": "application/json"}, b'{"query": "bee"', 400),
        ({"content-type": "application/json"}, b"[" * 200_000, 400),
        ({"content-type": "application/json"}, b'{"query": "\\ud800"}', 400),
        ({"content-type": "application/json"}, b'{"query": "\xff"}', 400),
        ({"content-type": "application/json"}, b'{"query": "bee", "k": NaN}', 400),
        ({"content-type": "application/json"}, b'{"query": "bee", "k": 1e400}', 400),
        ({"content-type": "application/json"}, b'{"query": "' + b"x" * (5 << 20) + b'"}', 413),
    ],
)
def test_bodies(served: Running, headers: dict[str, str], body: bytes, status: int) -> None:
    answer = served.ask("POST", "/api/search", body, headers)
    assert answer.status == status, answer.content
    if status != 200:
        assert "\n" not in answer.problem["message"]


def test_a_long_body_in_chunks_is_refused(served: Running) -> None:
    link = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    link.putrequest("POST", "/api/search")
    link.putheader("content-type", "application/json")
    link.putheader("transfer-encoding", "chunked")
    link.endheaders()
    try:
        for _ in range(80):
            link.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        link.send(b"0\r\n\r\n")
    except OSError:
        pass  # closed in our face
    else:
        assert link.getresponse().status == 413
    link.close()
    assert served.get("/livez").status == 200


def test_tokens(built: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with running({"notes": built}, token=TOKEN) as served:
        good = {"authorization": f"Bearer {TOKEN}"}
        for path in ("/api/index", "/metrics", "/openapi.json", "/readyz", "/v1/models"):
            assert served.get(path).status == 401 and served.get(path).headers["www-authenticate"] == "Bearer"
            assert served.get(path, good).status == 200
        assert served.get("/livez").status == 200
        for wrong in ("Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", f"bearer{TOKEN}", "Bearer \xfc"):
            assert served.get("/api/index", {"authorization": wrong}).status == 401
        assert served.get(f"/api/index?token={TOKEN}").status == 401
        assert served.post("/v1/embeddings", {"input": "bee"}, {"x-api-key": TOKEN}).status == 200
        assert TOKEN.encode() not in served.get("/metrics", good).content
    assert TOKEN not in caplog.text


def test_beyond_loopback_only_with_a_token(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(SearchAppError, match="no token is asked for"):
            Door.of(host)
        assert Door.of(host, token=TOKEN).token == TOKEN
    for host in ("127.0.0.1", "localhost", "::1", "127.0.0.2"):
        assert is_loopback(host) and Door.of(host).token is None
    for name in ("search.example.org", "Search.Example.org.", "10.0.0.7", "[::1]", "fe80::1", "nas_1"):
        assert Door.of("127.0.0.1", allowed=[name])
    for name in (
        "",
        "http://search.example.org",
        "search.example.org:8000",
        "*.example.org",
        "a b",
        "search.example.org/",
    ):
        with pytest.raises(SearchAppError, match="--allow-host .* expected such as search.example.org"):
            Door.of("127.0.0.1", allowed=[name])
    for wrong in ({"allowed": ["*"]}, {"origins": ["*"]}, {"origins": ["example.org"]}, {"origins": ["http://a/b"]}):
        with pytest.raises(SearchAppError):
            Door.of("127.0.0.1", **wrong)


def test_token_files(tmp_path: Path) -> None:
    place = tmp_path / "token"
    made = read_token(place)
    assert len(made) >= 32 and read_token(place) == made
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    place.chmod(0o644)
    with pytest.raises(SearchAppError, match="others can read"):
        read_token(place)
    place.chmod(0o600)
    with pytest.raises(SearchAppError, match="is no file"):  # and not: chmod 600 a folder
        read_token(tmp_path)
    for content in ("", "short", "with blanks in the middle of it", "\xfc" * 20):
        place.write_text(content)
        with pytest.raises(SearchAppError, match="no token"):
            read_token(place)


def test_a_port_that_is_taken_is_said(served: Running) -> None:
    with pytest.raises(SearchAppError, match="cannot be listened on"):
        listen("127.0.0.1", served.port)


@pytest.mark.parametrize(
    "path",
    [
        "/page/..%2f..%2fetc/passwd",
        "/page/%2e%2e/%2e%2e/etc/passwd",
        "/../../etc/passwd",
        "/page//etc/passwd",
        "/page/%00",
        "/api/documents/..%2f..%2f..%2fetc%2fpasswd",
        "/api/documents/" + "a" * 5_000,
        "/api/index?index=..%2f..",
        "/api/index?index=%ff",
        "/v1/models/..%2f",
        "/api/judgements/..%2f..%2fetc/next",
        "/api/jobs/..%2f",
    ],
)
def test_paths_lead_nowhere(served: Running, path: str) -> None:
    answer = served.get(path)
    assert answer.status in (400, 404), answer.content
    assert b"root:" not in answer.content


def test_what_belongs_into_the_body_is_refused_in_the_url(served: Running) -> None:
    """An index that is passed over there would have documents written to the first one."""
    for method, path, body in (
        ("PUT", "/api/documents", {"documents": [{"id": "a", "text": "b"}]}),
        ("DELETE", "/api/documents", {"ids": ["d1"]}),
        ("POST", "/api/search", {"query": "bee"}),
    ):
        answer = served.ask(method, f"{path}?index=notes", body)
        assert answer.status == 400 and answer.problem["param"] == "index", answer.content
    assert served.post("/v1/embeddings?api-version=2024-10-21", {"input": "bee"}).status == 200


def test_an_index_without_words_is_named_as_it_is_served(built: Path, tmp_path: Path, tiny_encoder) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"_id": "a", "text": "bee"}\n')
    build([str(lines)], tmp_path / "plain", tiny_encoder, lexical=False)
    with running({"short": tmp_path / "plain"}) as served:
        for mode in ("bm25", "hybrid"):
            answer = served.post("/api/search", {"query": "bee", "mode": mode})
            assert answer.status == 400 and str(tmp_path) not in answer.content.decode(), answer.content
            assert "short has no BM25 part" in answer.problem["message"] and "--hybrid" not in answer.problem["message"]
            assert "whoever runs the server can do `searchapp lexical short`" in answer.problem["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "advice"),
    [
        ("GET", "/api/documents/qqqqqq", None, "POST /api/search"),
        ("POST", "/api/explain", {"query": "bee", "id": "qqqqqq"}, "POST /api/search"),
        ("POST", "/rerank", {"query": "bee", "ids": ["qqqqqq"]}, "POST /api/search"),
        ("GET", "/api/documents/d1x", None, "near it: d1"),
        ("GET", "/api/nothing", None, "/openapi.json"),
        ("GET", "/page/nothing.js", None, "the page itself is at /"),
        ("GET", "/api/index?index=x", None, "there are notes"),
        ("GET", "/api/jobs/x", None, "its own last"),
        ("POST", "/v1/embeddings", {"input": "a", "model": "gpt-4"}, "there are "),
    ],
)
def test_what_is_not_there_is_answered_with_advice_for_a_client(
    served: Running, method: str, path: str, body: dict | None, advice: str
) -> None:
    answer = served.ask(method, path, body)
    assert answer.status == 404, answer.content
    said = answer.problem["message"]
    assert advice in said and "`searchapp" not in said and "--" not in said


def test_no_answer_names_a_place_on_this_machine(served: Running, built: Path) -> None:
    home = str(built.parent)
    for answer in (
        served.get("/api/index"),
        served.get("/v1/models"),
        served.get("/metrics"),
        served.get("/openapi.json"),
        served.get("/api/documents/nobody"),
        served.post("/api/explain", {"query": "bee", "id": "nobody"}),
        served.post("/api/search", {"query": "bee", "filter": "nokey == 1"}),
        served.post("/api/search", {"query": "bee", "index": "x"}),
        served.ask("PUT", "/api/documents", {"documents": [{"id": "a", "text": "b"}]}),
    ):
        assert home.encode() not in answer.content


def test_heads_that_are_long_or_slow_end(built: Path) -> None:
    limits = Limits(header_seconds=0.5, body_seconds=0.5, header_bytes=8_192)
    with running({"notes": built}, limits=limits) as served:
        long = raw(served.port, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n")
        assert status_of(long) == 431 and json.loads(long.split(b"\r\n\r\n", 1)[1])["error"]["code"] == "head_too_long"
        many = b"".join(b"X-%d: y\r\n" % number for number in range(2_000))
        assert status_of(raw(served.port, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n")) == 431
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as link:
            try:
                for letter in b"GET /livez HTTP/1.1\r\nHost: localhost":
                    link.send(bytes([letter]))
                    time.sleep(0.1)
            except OSError:
                pass
            try:
                assert link.recv(100) == b""
            except ConnectionError:
                pass
        assert time.monotonic() - began < 5
        head = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
        assert status_of(raw(served.port, head + b'{"quer')) == 408
        assert served.get("/livez").status == 200


def test_idle_connections_do_not_hold_up_a_query(built: Path) -> None:
    limits = Limits(connections=64)
    with running({"notes": built}, limits=limits) as served:
        links = [socket.create_connection(("127.0.0.1", served.port), timeout=5) for _ in range(60)]
        began = time.monotonic()
        assert served.post("/api/search", {"query": "bee"}).status == 200
        assert time.monotonic() - began < 2
        for link in links:
            link.close()


@pytest.mark.parametrize(
    "text",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(served: Running, text: bytes) -> None:
    answer = raw(served.port, text, seconds=2)
    assert answer == b"" or 400 <= status_of(answer) < 506
    if answer and b"\r\n\r\n" in answer:
        assert set(json.loads(answer.split(b"\r\n\r\n", 1)[1])) == {"error"}
    assert served.get("/livez").status == 200
