"""The program over standard input and output: the SDK's client, lines that are no messages, prints, commits, endings."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

from mcp import Client, StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError

from searchapp.index import add, delete
from searchapp.search import Index


class Host:
    """A host that speaks the protocol by hand, in its older form."""

    def __init__(self, *arguments: object, code: str | None = None) -> None:
        start = ["-c", code] if code is not None else ["-m", "searchapp"]
        self.process = subprocess.Popen(
            [sys.executable, *start, "mcp", *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.number = 0

    def send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.endswith(b"\n"), (line, self.process.stderr and self.process.stderr.read())
        assert b"\r" not in line
        return json.loads(line)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        self.send(json.dumps({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params}).encode())
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                return answer

    def greet(self) -> None:
        answer = self.ask(
            "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "t", "version": "1"}
        )
        assert answer["result"]["serverInfo"]["name"] == "searchapp"
        self.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return self.ask("tools/call", name=tool, arguments=arguments)["result"]

    def ready(self) -> None:
        """Wait until the model is loaded."""
        end = time.monotonic() + 120
        while self.call("search", query="honey")["structuredContent"]["mode"] == "bm25":
            assert time.monotonic() < end
            time.sleep(0.2)


@contextmanager
def host(*arguments: object, code: str | None = None) -> Iterator[Host]:
    found = Host(*arguments, code=code)
    try:
        yield found
    finally:
        found.process.kill()
        for stream in (found.process.stdin, found.process.stdout, found.process.stderr):
            assert stream is not None
            stream.close()
        found.process.wait()


PRINTING = """
import os, subprocess, sys, threading
from searchapp.assistants import desk
plain = desk.Desk.call
def call(self, tool, given):
    print("a library prints")
    os.write(1, b"straight to the descriptor\\n")
    subprocess.run(["echo", "a child prints"], check=True)
    assert subprocess.run(["cat"], capture_output=True, check=True).stdout == b""  # it reads nothing of the wire
    return plain(self, tool, given)
desk.Desk.call = call
from searchapp.cli import main
main()
"""


@pytest.fixture(scope="module")
def moving(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the index, which changes."""
    copy = tmp_path_factory.mktemp("assistants-canary") / "moving"
    shutil.copytree(place, copy)
    return copy


@pytest.fixture(scope="module")
def running(moving: Path) -> Iterator[Host]:
    """A program that the tests of this file share; libraries print whenever one of its tools is called."""
    with host(f"notes={moving}", code=PRINTING) as found:
        found.greet()
        found.ready()
        yield found
        assert found.process.stdin and found.process.stdout and found.process.stderr
        found.process.stdin.close()
        assert found.process.stdout.read() == b""
        said = found.process.stderr.read().decode()
        assert all(text in said for text in ("a library prints", "straight to", "a child prints"))


def test_the_client_of_the_sdk_gets_the_answers_of_the_library(place: Path, tiny_encoder) -> None:
    index = Index.open(place, encoder=tiny_encoder)

    async def ask() -> None:
        parameters = StdioServerParameters(
            command=sys.executable, args=["-m", "searchapp", "mcp", f"notes={place}"], env={**os.environ}
        )
        async with Client(stdio_client(parameters)) as client:
            tools = (await client.list_tools()).tools
            assert [tool.name for tool in tools] == ["search", "fetch", "similar", "describe"]
            assert all(tool.annotations.read_only_hint and tool.output_schema for tool in tools if tool.annotations)
            assert (await client.list_prompts()).prompts == []
            assert [one.uri for one in (await client.list_resources()).resources] == ["searchapp://notes"]
            first = (await client.call_tool("search", {"query": "honey of bees"})).structured_content
            plain = "bm25" if first["mode"] == "bm25" else "hybrid"
            assert [one["id"] for one in first["results"]] == expected("honey of bees", plain)
            while (await client.call_tool("search", {"query": "honey"})).structured_content["mode"] == "bm25":
                await asyncio.sleep(0.2)
            for query in ("honey of bees", "harbour", "stone bridge"):
                result = await client.call_tool("search", {"query": query})
                assert not result.is_error
                assert [one["id"] for one in result.structured_content["results"]] == expected(query, "hybrid")
                assert json.loads(result.content[0].text) == result.structured_content
            read = (await client.read_resource("searchapp://notes/d%207/%C3%BC%237")).contents[0]
            assert json.loads(read.text)["id"] == "notes/d 7/ü#7"
            for wrong in ("searchapp://other", "searchapp://notes/nothing", "file:///etc/passwd"):
                with pytest.raises(MCPError):
                    await client.read_resource(wrong)
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.call_tool("delete", {})
            refused = await client.call_tool("fetch", {"id": "notes/nothing"})
            assert refused.is_error
            assert "take one from search" in refused.content[0].text
            ending.append(time.monotonic())
        assert time.monotonic() - ending[0] < 1.0

    ending: list[float] = []

    def expected(query: str, how: str) -> list[str]:
        return [f"notes/{hit.id}" for hit in index.search(query, 5, mode=how)]

    asyncio.run(ask())


LINES = [
    b"", b"   ", b"{", b"null", b"[]", b"[1]", b"{}", b'"x"', b"\xff\xfe", b'{"jsonrpc":"2.0"}', b"\x00" * 40,
    b'{"jsonrpc":"1.0","id":1,"method":"ping"}', b'{"jsonrpc":"2.0","id":{},"method":"ping"}', b"[" * 5_000,
    b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}', b'{"jsonrpc":"2.0","id":77,"method":"nothing/such"}',
    b'{"jsonrpc":"2.0","id":78,"method":"tools/call"}', b'{"jsonrpc":"2.0","id":79,"method":"tools/call","params":[]}',
    b'{"jsonrpc":"2.0","id":80,"method":"tools/call","params":{"name":"search","arguments":{"query":"\\ud800"}}}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}',
    b'{"jsonrpc":"2.0","id":81,"result":{}}', b'{"jsonrpc":"2.0","id":82,"method":"initialize","params":{}}',
    b'{"jsonrpc":"2.0","id":83,"method":"tools/call","params":{"name":"search","arguments":{"query":"' + b"x" * 1_000_000 + b'"}}}',
    b"x" * (5 << 20), b'{"a":' + b'{"a":' * 2_000,
]  # fmt: skip


def test_lines_that_are_no_messages_do_not_end_it(running: Host) -> None:
    for line in LINES:
        running.send(line)
        assert running.call("fetch", id="notes/d3")["structuredContent"]["id"] == "notes/d3", line[:60]
    assert running.process.poll() is None


def test_answers_and_errors_name_no_path(running: Host, place: Path) -> None:
    for tool, arguments in [
        ("search", {"query": "honey", "limit": 20}),
        ("search", {"query": "honey", "filter": "nothing == 1"}),
        ("fetch", {"id": "notes/web"}),
        ("fetch", {"id": "nothing"}),
        ("similar", {"id": "notes/d3"}),
        ("describe", {}),
    ]:
        text = json.dumps(running.call(tool, **arguments))
        assert all(canary not in text for canary in (str(place.parent), "assistants-canary", "/tmp", "/etc")), text
    listed = json.dumps([running.ask(f"{kind}/list") for kind in ("tools", "resources", "resources/templates")])
    assert "assistants-canary" not in listed
    assert len(listed) < 5_000


def test_a_commit_is_seen_within_two_seconds(running: Host, moving: Path, tiny_encoder, tmp_path: Path) -> None:
    found, copy = running, moving
    for number in range(2):
        (tmp_path / "more.jsonl").write_text(json.dumps({"_id": f"new{number}", "text": f"zyzzyva{number}"}) + "\n")
        add([str(tmp_path / "more.jsonl")], copy, tiny_encoder)
        committed = time.monotonic()
        while found.call("fetch", id=f"notes/new{number}").get("isError"):
            assert time.monotonic() < committed + 2
            time.sleep(0.05)
    before = found.call("describe")["structuredContent"]["generation"]
    delete(copy, ["new0"])
    committed = time.monotonic()
    while not found.call("fetch", id="notes/new0").get("isError"):
        assert time.monotonic() < committed + 2
        time.sleep(0.05)
    assert found.call("describe")["structuredContent"]["generation"] > before


SLOW = """
import time
from searchapp.assistants import desk
desk.Desk.call = lambda self, tool, given: time.sleep(30)
from searchapp.cli import main
main()
"""


def test_it_ends_within_a_second_of_its_input_though_a_tool_runs(place: Path) -> None:
    with host(f"notes={place}", code=SLOW) as found:
        found.greet()
        found.send(b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"describe","arguments":{}}}')
        time.sleep(0.3)
        assert found.process.stdin is not None
        found.process.stdin.close()
        began = time.monotonic()
        assert found.process.wait(10) == 0
        assert time.monotonic() - began < 1.0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")
def test_it_ends_when_the_host_is_killed_though_the_pipe_stays_open(place: Path) -> None:
    code = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-m', 'searchapp', 'mcp', sys.argv[1]],"
        " stdin=sys.stdin, stdout=subprocess.DEVNULL); print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, f"notes={place}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None and parent.stdin is not None
    child = int(parent.stdout.readline())
    while len(list(Path(f"/proc/{child}/task").iterdir())) < 2:  # until a thread of its watches
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 10
    while (
        Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    ):
        assert time.monotonic() < end
        time.sleep(0.1)
    parent.stdin.close()
    parent.stdout.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{place}", "--tools", "x"], "expected some of search"),
        (["{place}", "--root", "other=."], "names no index"),
        (["{place}", "--root", "notes=/nowhere"], "no directory"),
        (["/nowhere"], "is no directory"),
        (["{parent}"], "is not an index; make one with"),
        (["{place}", "--connect", "http://127.0.0.1:1"], "leave out INDEX"),
        (["--connect", "x"], "is no address"),
        (["{place}", "--print-config", "emacs"], "expected one of claude"),
        (["{place}", "--token-file", "x"], "goes with --connect"),
    ],
)
def test_options_that_do_not_fit_are_refused(run, place: Path, arguments: list[str], words: str) -> None:
    done = run("mcp", *(text.format(place=place, parent=place.parent) for text in arguments))
    assert done.code == 2
    assert done.out == ""
    assert words in " ".join(done.err.split())


def test_the_printed_command_starts_it_from_anywhere(run, place: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(place.parent)
    done = run("mcp", "notes", "--print-config", "cursor", "--tools", "search", "--root", ".")
    entry = json.loads(done.out)["mcpServers"]["notes"]
    assert done.code == 0
    assert Path(entry["command"]).is_absolute()
    assert f"notes={place.resolve()}" in entry["args"]
    assert entry["args"][-1] == f"notes={place.parent.resolve()}"
    assert all(Path(text.partition("=")[2]).is_absolute() for text in entry["args"] if "=" in text)
