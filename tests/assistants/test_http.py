"""The tools at ``/mcp`` of a server: the SDK's client, the door before it, and other processes passed on to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytest.importorskip("mcp")
pytest.importorskip("starlette")

from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from searchapp.assistants.mount import mounted
from searchapp.search import Index
from searchapp.serve.limits import Limits
from tests.serve.local import Running, running

QUERIES = ("honey of bees", "harbour", "stone bridge", "honny", 'a "stone bridge"')
TOKEN = "a-token-of-the-tests"
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Running]:
    limits = Limits(body_bytes=100_000)
    with running({"notes": place}, mounts=(mounted,), token=TOKEN, limits=limits) as found:
        yield found


@pytest.fixture(scope="module")
def index(place: Path, tiny_encoder) -> Index:
    return Index.open(place, encoder=tiny_encoder)


def authorized(**more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {TOKEN}", **ACCEPT, **more}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_client_of_the_sdk_gets_the_answers_of_the_library(served: Running, index: Index, mode: str) -> None:
    async def ask() -> None:
        web = httpx2.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"})
        async with Client(streamable_http_client(f"{served.url}/mcp", http_client=web), mode=mode) as client:
            assert len((await client.list_tools()).tools) == 4
            for query in QUERIES:
                result = await client.call_tool("search", {"query": query})
                assert result.structured_content["mode"] == "hybrid"
                found = [one["id"] for one in result.structured_content["results"]]
                assert found == [f"notes/{hit.id}" for hit in index.search(query, 5)]
                assert json.loads(result.content[0].text) == result.structured_content
            read = (await client.read_resource("searchapp://notes/guide/bees.md%232")).contents[0]
            assert json.loads(read.text)["file"] == "guide/bees.md"
            refused = await client.call_tool("search", {"query": "x", "filter": "nothing == 1"})
            assert refused.is_error
            assert "year" in refused.content[0].text
            text = json.dumps([one.model_dump(mode="json") for one in (result, refused)])
            assert "assistants-canary" not in text

    asyncio.run(ask())


def test_the_door_is_before_it(served: Running) -> None:
    answer = served.post("/mcp", LIST, authorized())
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-request-id"]
    assert served.post("/mcp", LIST, ACCEPT).status == 401
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert served.post("/mcp", LIST, authorized(**headers)).status == 403
    assert served.post("/mcp", LIST, authorized(**{"content-type": "text/plain"})).status == 415
    assert served.post("/mcp", {**LIST, "params": {"x": "y" * 200_000}}, authorized()).status == 413
    for method in ("GET", "DELETE", "PUT"):
        assert served.ask(method, "/mcp", headers=authorized()).status == 405
    for body in (b"{", b"[]", b"null", b"[" * 3_000, b"\xff"):
        answer = served.ask("POST", "/mcp", body, authorized(**{"content-type": "application/json"}))
        assert answer.status == 400, body
        assert "Traceback" not in answer.content.decode()
    assert served.post("/mcp", LIST, authorized()).status == 200


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


def test_calls_side_by_side_are_answered_each_by_its_own(served: Running, index: Index) -> None:
    def ask(query: str) -> list[str]:
        answer = served.post("/mcp", call("search", query=query), authorized())
        return [one["id"] for one in answer.json["result"]["structuredContent"]["results"]]

    queries = list(QUERIES) * 6
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, queries))
    expected = {query: [f"notes/{hit.id}" for hit in index.search(query, 5)] for query in QUERIES}
    assert found == [expected[query] for query in queries]


def test_a_busy_and_a_loading_server_say_when_to_come_again(served: Running, place: Path) -> None:
    admission = served.server.admission
    plain = admission._limits
    admission._limits = replace(plain, waiting_each=0)
    try:
        said = served.post("/mcp", call("describe"), authorized()).json["result"]
    finally:
        admission._limits = plain
    assert said["isError"]
    assert said["content"][0]["text"].endswith("ask again in 1 s")
    with running({"notes": place}, mounts=(mounted,), loaded=False) as loading:
        assert len(loading.post("/mcp", LIST, ACCEPT).json["result"]["tools"]) == 4
        said = loading.post("/mcp", call("search", query="honey"), ACCEPT).json["result"]
        assert said["isError"]
        assert said["content"][0]["text"] == "the index notes is not loaded yet; ask again in 2 s"


def test_a_process_passes_messages_on(served: Running, index: Index, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")
    arguments = ["-m", "searchapp", "mcp", "--connect", served.url, "--token-file", str(secret)]

    async def ask(mode: str) -> None:
        parameters = StdioServerParameters(command=sys.executable, args=arguments)
        async with Client(stdio_client(parameters), mode=mode) as client:
            assert len((await client.list_tools()).tools) == 4
            answers = await asyncio.gather(*(client.call_tool("search", {"query": query}) for query in QUERIES))
            for query, answer in zip(QUERIES, answers, strict=True):
                found = [one["id"] for one in answer.structured_content["results"]]
                assert found == [f"notes/{hit.id}" for hit in index.search(query, 5)]
            read = await client.read_resource("searchapp://notes/d%207/%C3%BC%237")
            assert json.loads(read.contents[0].text)["id"] == "notes/d 7/ü#7"

    for mode in ("auto", "legacy"):
        asyncio.run(ask(mode))


@pytest.mark.parametrize("secret", [None, "another-token-than-that"])
def test_what_a_server_refuses_or_does_not_answer_is_said(served: Running, tmp_path: Path, secret: str | None) -> None:
    more = []
    if secret is not None:
        (tmp_path / "token").write_text(secret)
        more = ["--token-file", str(tmp_path / "token")]
    url = served.url if secret is not None else "http://127.0.0.1:9"
    lines = "\n".join([json.dumps(LIST), "{", json.dumps({**LIST, "id": "b"}), '{"jsonrpc":"2.0","method":"x"}', ""])
    process = subprocess.Popen(
        [sys.executable, "-m", "searchapp", "mcp", "--connect", url, *more],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    with contextlib.closing(process.stdout), process.stdin:
        process.stdin.write(lines)
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert process.wait(10) == 0
    assert {answer["id"] for answer in answers} == {1, "b"}
    for answer in answers:
        expected = "a token is needed" if secret is not None else "cannot be reached"
        assert expected in answer["error"]["message"]
