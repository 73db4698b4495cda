"""The client beside the library: the same hits, the same vectors, the same refusals."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from searchapp.client import Client, connect
from searchapp.errors import SearchAppError
from searchapp.evaluate.explain import explain
from searchapp.index import build
from searchapp.search import Fusion, Index, SearchOptions, like, prepare
from tests.serve.running import serving

TOKEN = "a-token-of-the-tests"
TEXTS = [
    f"{one} and {other} number {place}"
    for place, (one, other) in enumerate(zip("abcdefgh" * 6, "hgfedcba" * 6, strict=True))
]
QUERIES = ["bees make honey", "a and h", "number 3"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_encoder) -> Path:
    root = tmp_path_factory.mktemp("client")
    lines = [
        {"_id": f"d/{number} %", "title": f"title {number}", "text": text, "year": 1990 + number}
        for number, text in enumerate(TEXTS)
    ]
    (root / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    build([str(root / "d.jsonl")], root / "ix", tiny_encoder)
    return root / "ix"


@pytest.fixture(scope="module")
def url(place: Path):
    with serving({"first": place, "second index": place}, token=TOKEN) as running:
        yield running.url


@pytest.fixture(scope="module")
def client(url: str) -> Client:
    return connect(url, TOKEN)


@pytest.fixture(scope="module")
def library(place: Path) -> Index:
    return Index.open(place)


OPTIONS = [
    {}, {"mode": "dense"}, {"mode": "bm25"}, {"hybrid": True}, {"hybrid": False}, {"hybrid": Fusion("rrf", 0.3, depth=20)},
    {"filter": "year < 2000", "candidates": 5}, {"mode": "dense", "instruction": "Find:"},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_hits_are_those_of_the_library(client: Client, library: Index, options: dict) -> None:
    for found, wanted in zip(client.answer(QUERIES, 7, **options), library.answer(QUERIES, 7, **options), strict=True):
        assert (found.query, found.mode, found.meaning) == (wanted.query, wanted.mode, wanted.meaning)
        assert [(hit.id, hit.title, hit.text, hit.metadata, hit.stage) for hit in found.hits] == [
            (hit.id, hit.title, hit.text, hit.metadata, hit.stage) for hit in wanted.hits
        ]
        for hit, other in zip(found.hits, wanted.hits, strict=True):
            assert hit.score == pytest.approx(other.score, abs=1e-5)
            assert {name: at.rank for name, at in hit.places.items()} == {
                name: at.rank for name, at in other.places.items()
            }
    single = client.search(QUERIES[0], 3, **options)
    assert [hit.id for hit in single] == [hit.id for hit in library.search(QUERIES[0], 3, **options)]


def test_more_queries_than_a_request_has(client: Client, library: Index) -> None:
    queries = [f"number {number}" for number in range(70)]
    found, wanted = client.search(queries, 2, mode="dense"), library.search(queries, 2, mode="dense")
    assert [[hit.id for hit in hits] for hits in found] == [[hit.id for hit in hits] for hits in wanted]


def test_vectors_are_those_of_the_encoder(client: Client, library: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("searchapp.client.client.TEXTS", 20)  # several requests
    encoder = library.encoder
    for found, wanted in (
        (client.encode(TEXTS), encoder.encode(TEXTS)),
        (client.encode("one text"), encoder.encode("one text")),
        (client.encode(TEXTS, "Find:"), encoder.encode(TEXTS, "Find:")),
        (client.encode_queries(QUERIES), encoder.encode_queries(QUERIES)),
        (client.encode_queries(QUERIES, "Find:"), encoder.encode_queries(QUERIES, "Find:")),
        (client.encode_documents(["é ∀ 𝄞 \u2028"]), encoder.encode_documents(["é ∀ 𝄞 \u2028"])),
        (client.encode([]), encoder.encode([])),
    ):
        assert (found.dtype, found.shape) == (np.float32, wanted.shape)
        assert np.abs(found - wanted).max(initial=0) < 1e-6
    assert client.dim == encoder.dim
    assert client.fingerprint["sha256"] == encoder.fingerprint["sha256"]
    assert client.prompts is encoder.prompts


def test_the_rest_of_what_a_server_can_be_asked(client: Client, library: Index) -> None:
    ids = ["d/3 %", "nobody", "d/1 %"]
    assert [(one.id, one.text) for one in client.documents(ids)] == [("d/3 %", TEXTS[3]), ("d/1 %", TEXTS[1])]
    wanted = like(library.vectors, "d/3 %", 4, filter="year > 1995")
    assert [hit.id for hit in client.like("d/3 %", 4, filter="year > 1995").hits] == [hit.id for hit in wanted.hits]
    assert client.passing("year < 2000") == 10
    ranked = client.rerank("a and h", TEXTS[:9], top=4)
    query, documents = library.encoder.encode_queries("a and h"), library.encoder.encode_documents(TEXTS[:9])
    cosines = (documents @ query[0]).tolist()
    assert [one.index for one in ranked] == sorted(range(9), key=lambda number: -cosines[number])[:4]
    assert [one.score for one in ranked] == pytest.approx(sorted(cosines, reverse=True)[:4], abs=1e-6)
    found = client.explain("a and h", "d/3 %", mode="dense", filter="year < 2000")
    plan = replace(
        prepare(library.vectors, 1, SearchOptions("year < 2000", mode="dense")).plan, k=1_000, compressed=True
    )
    wanted = explain(library.vectors, library.encoder, "a and h", "d/3 %", plan, spans=0).to_json()
    score = wanted["metrics"]["score"]["value"]
    assert found["metrics"]["score"]["value"] == pytest.approx(score, abs=1e-6)
    assert found["metrics"]["rank"] == wanted["metrics"]["rank"]
    assert (found["setting"], found["terms"], found.keys()) == (wanted["setting"], wanted["terms"], wanted.keys())


def test_an_index_by_its_name(url: str, library: Index) -> None:
    second = connect(f"{url}/second%20index/", TOKEN)
    assert second.description["name"] == "second index"
    assert second.search("number 3", 1)[0].id == library.search("number 3", 1)[0].id
    with pytest.raises(SearchAppError, match="no index is named 'third'; there are first, second index"):
        connect(f"{url}/third", TOKEN)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda client: client.search(np.zeros(32)), "searched by words, not by vectors"),
        (lambda client: client.search(" "), "the query is empty; give at least one word"),
        (lambda client: client.search("\ud800"), "not valid Unicode"),
        (lambda client: client.search("a", k=0), "k is 0; ask for at least 1 hit"),
        (lambda client: client.search("a", k=5_000), "k is 5,000; expected at most 1,000"),
        (lambda client: client.search("a", filter="colour == 1"), "colour"),
        (lambda client: client.search("a", mode="dense", hybrid=True), "contradict each other"),
        (lambda client: client.search("a", rerank="nobody"), "no reranker 'nobody'"),
        (lambda client: client.search("a", rerank=object()), "give its name"),
        (lambda client: client.encode(["a", ""]), r"text 1 \(counted from 0\) is empty"),
        (lambda client: client.like("nobody"), "no document has the id 'nobody'"),
        (lambda client: client.passing("year >"), "filter 'year >' is not understood"),
    ],
)  # fmt: skip
def test_refusals_are_one_line(client: Client, ask, said: str) -> None:
    with pytest.raises(SearchAppError, match=said) as refusal:
        ask(client)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://127.0.0.1/", "no server's address"),
        ("http://127.0.0.1:99999/", "is no address"),
        ("http:///notes", "no server's address"),
        ("http://user:secret@127.0.0.1/", "no server's address"),
    ],
)
def test_addresses_that_are_none(address: str, said: str) -> None:
    with pytest.raises(SearchAppError, match=said):
        connect(address)


def test_no_server_and_no_token(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SearchAppError, match="Connection refused; is `searchapp serve` running there?"):
        connect(f"http://127.0.0.1:{port}")
    with pytest.raises(SearchAppError, match="asks for a token; give --token-file FILE, or set SEARCHAPP_TOKEN"):
        connect(url)
    with pytest.raises(SearchAppError, match="this is not the one") as refusal:
        connect(url, "another-token-that-is-wrong")
    assert "another" not in str(refusal.value)
    with pytest.raises(SearchAppError, match="blanks"):
        connect(url, "two words\r\nHost: evil")


def test_threads_share_a_client(client: Client, library: Index) -> None:
    queries = [f"number {number}" for number in range(40)]
    wanted = [library.search(query, 3, mode="dense")[0].id for query in queries]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda query: client.search(query, 3, mode="dense")[0].id, queries))
    assert found == wanted


class Scripted:
    """A server that answers as it is told, once each: status, headers, body; None closes without an answer."""

    def __init__(self, *answers: tuple | None) -> None:
        self.answers, self.asked = list(answers), []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append((time.monotonic(), self.path, dict(self.headers), self.client_address))
                answer = outer.answers.pop(0)
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, body = answer
                self.send_response(status)
                for name, value in {"content-length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True, args=(0.01,)).start()

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


GOOD = 200, {"content-type": "application/json"}, b'{"generation": 1, "model": "m"}'
BUSY = {"error": {"message": "too much is waiting; come again", "type": "t", "param": None, "code": None}}


def refusal(status: int, **headers: str) -> tuple:
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(BUSY).encode()


def test_a_busy_server_is_asked_again() -> None:
    with Scripted(refusal(429), refusal(503, retry_after="0"), refusal(429, retry_after="1"), GOOD) as server:
        assert connect(server.url).description["model"] == "m"
        times = [asked[0] for asked in server.asked]
        assert len(times) == 4
        assert times[1] - times[0] > 0.09, "without Retry-After there is a pause of our own"
        assert times[3] - times[2] > 0.95, "Retry-After is kept to"
        left = [int(asked[2]["x-timeout-ms"]) for asked in server.asked]
        assert left == sorted(left, reverse=True) and left[0] > left[3] + 900, "the deadline is of all tries together"


def test_the_deadline_ends_the_tries() -> None:
    with Scripted(*[refusal(429, retry_after="9")] * 3) as server:
        began = time.monotonic()
        with pytest.raises(SearchAppError, match="^too much is waiting; come again$"):
            connect(server.url, timeout=5)
        assert time.monotonic() - began < 2, "a pause beyond the deadline is not waited for"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(SearchAppError, match="did not answer in time"):
            connect(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)


def test_connections_are_kept_and_made_anew_where_they_were_closed() -> None:
    with Scripted(GOOD, GOOD, None, GOOD) as server:
        client = connect(server.url)
        for _ in range(2):
            del client.description
            assert client.description["model"] == "m"
        ports = [asked[3][1] for asked in server.asked]
        assert ports[0] == ports[1] == ports[2] != ports[3], "the third was closed without an answer, and tried again"


@pytest.mark.parametrize(
    "answer",
    [(200, {}, b"<html>"), (200, {}, b'{"name": 1}'), (502, {}, b"<html>bad gateway"), (500, {}, b'{"detail": "x"}')],
)
def test_what_is_no_server_of_ours(answer: tuple) -> None:
    with Scripted(answer) as server, pytest.raises(SearchAppError, match="check the address"):
        connect(server.url)
