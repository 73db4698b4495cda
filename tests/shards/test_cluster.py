"""A coordinator over HTTP and its shard servers: the answers of one index, of one generation, with what is missing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("msgspec")

import searchapp
from searchapp import Index
from searchapp.cli import main
from searchapp.errors import IndexStoreError
from searchapp.serve.shard_mount import mounted
from searchapp.shards.opening import open_root
from searchapp.shards.peers import PeerAddress
from searchapp.shards.place import LocalPlace
from searchapp.shards.remote import Cluster
from searchapp.shards.root import load_root
from searchapp.shards.split import split
from tests.program import start
from tests.serve.local import Running, running
from tests.shards.roots import documents

NAMES = ("s0000", "s0001", "s0002")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cluster") / "single"
    searchapp.build(documents(150), path, progress=False, segment_size=40)
    return path


@pytest.fixture(scope="module")
def roots(source: Path) -> Path:
    """The roots of three and of two shards that tests copy."""
    split(source, source.parent / "three", 3)
    split(source, source.parent / "two", 2)
    return source.parent


def _cluster(servers: list[Running], **more: object) -> Cluster:
    held = (NAMES[:2], NAMES[2:])
    named = [f"http://127.0.0.1:{one.port}={','.join(names)}" for one, names in zip(servers, held, strict=True)]
    return Cluster([PeerAddress.of(text) for text in named], **more)


def _serving(stack: ExitStack, root: Path, names: tuple[str, ...], port: int = 0) -> Running:
    return stack.enter_context(running({"root": root}, shards=names, mounts=(mounted,), port=port))


def test_a_coordinator_answers_as_the_index_does(source: Path, roots: Path, tmp_path: Path) -> None:
    shutil.copytree(roots / "three", tmp_path / "root")
    with ExitStack() as stack:
        servers = [_serving(stack, tmp_path / "root", NAMES[:2]), _serving(stack, tmp_path / "root", NAMES[2:])]
        one = stack.enter_context(running({"notes": source}))
        other = stack.enter_context(running({"notes": tmp_path / "root"}, cluster=_cluster(servers)))
        for mode in ("dense", "bm25", "hybrid"):
            for filter in ("", "year >= 2004"):
                asked = {"query": "honey bridge", "mode": mode, "filter": filter, "k": 20, "columns": True}
                found = [server.post("/api/search", asked).json for server in (one, other)]
                first, second = (answer["results"][0] for answer in found)
                assert first["hits"] == second["hits"] or filter
                assert [hit["id"] for hit in first["hits"]] == [hit["id"] for hit in second["hits"]]
                assert found[0]["total"] == found[1]["total"]
                assert found[1]["coverage"] == {"shards": [3, 3], "documents": [150, 150], "missing": []}
                assert "coverage" not in found[0]
        for path in ("/api/documents/d7", "/api/documents/d7?similar=3"):
            assert one.get(path).json == other.get(path).json or "generation" in one.get(path).json
        assert other.get("/api/documents/nothing").status == 404
        assert other.get("/api/index").json["documents"] == 150
        refused = other.post("/api/search", {"query": "bee", "filter": "yaer == 1"})
        assert (refused.status, "yaer" in refused.json["error"]["message"]) == (400, True)
        assert other.get("/api/map?n=10").status == 400
        assert servers[0].post("/api/search", {"query": "bee"}).json["error"]["code"] == "shard_server"
        assert servers[0].ask("POST", "/shards", {"verb": "held"}).status == 415


def test_a_server_that_dies_is_said_and_comes_back(roots: Path, tmp_path: Path) -> None:
    """A real process, killed while queries come: each answer is right, or says what is missing; 503 where all count."""
    shutil.copytree(roots / "three", tmp_path / "root")
    asked = {"query": "honey bridge", "mode": "bm25", "k": 150}
    with ExitStack() as stack:
        stays = _serving(stack, tmp_path / "root", NAMES[:2])
        port = _free_port()
        process, _ = _started(stack, tmp_path / "root", port)
        servers = [stays, Running(None, port)]
        strict = stack.enter_context(running({"notes": tmp_path / "root"}, cluster=_cluster(servers)))
        lenient = stack.enter_context(
            running({"notes": tmp_path / "root"}, cluster=_cluster(servers, require_all=False))
        )
        whole = strict.post("/api/search", asked).json
        process.kill()
        process.wait()
        begin = time.monotonic()
        refused = strict.post("/api/search", asked)
        assert refused.status == 503
        assert refused.json["error"]["code"] == "shards_missing"
        part = lenient.post("/api/search", asked).json
        assert time.monotonic() - begin < 4
        assert part["coverage"] == {"shards": [2, 3], "documents": [100, 150], "missing": ["s0002"]}
        ids = {hit["id"] for hit in part["results"][0]["hits"]}
        assert ids == {hit["id"] for hit in whole["results"][0]["hits"] if int(hit["id"][1:]) < 100}
        _, ready = _started(stack, tmp_path / "root", port)
        while strict.post("/api/search", asked).status != 200:
            assert time.monotonic() - ready < 2
            time.sleep(0.05)
        assert strict.post("/api/search", asked).json["results"] == whole["results"]
        time.sleep(0.6)  # the pause after its last failure
        assert lenient.post("/api/search", asked).json["coverage"]["missing"] == []


def _free_port() -> int:
    from searchapp.serve.run import listen

    with listen("127.0.0.1", 0) as found:
        return int(found.getsockname()[1])


def _started(stack: ExitStack, root: Path, port: int) -> tuple[subprocess.Popen[str], float]:
    """A shard server in a process of its own, and when it was ready."""
    process = start("serve", root, "--shards", "s0002", "--port", port)
    stack.callback(process.wait)
    stack.callback(process.kill)
    server = Running(None, port)
    end = time.monotonic() + 60
    while True:
        try:
            if server.get("/readyz").status == 200:
                return process, time.monotonic()
        except OSError:
            pass
        assert time.monotonic() < end
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.02)


def _published(root: Path, stop: threading.Event, failures: list[str]) -> None:
    """Publish generations of which each has its own 20 documents, all with one word, and none of the one before."""
    index, number = Index.open(root), 0
    while not stop.is_set():
        number += 1
        given = [{"id": f"g{number}-{place}", "text": f"zebra crossing {place}"} for place in range(20)]
        try:
            index.add(given, name="zebras", sync=True, prune=True, progress=False)
        except Exception as error:
            failures.append(repr(error))
            return


@pytest.mark.parametrize("queries", [150, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_answer_is_of_two_generations(roots: Path, tmp_path: Path, queries: int) -> None:
    shutil.copytree(roots / "three", tmp_path / "root")
    index = Index.open(tmp_path / "root")
    index.add([{"id": f"g0-{n}", "text": f"zebra crossing {n}"} for n in range(20)], name="zebras", progress=False)
    seen: set[int] = set()
    failures: list[str] = []
    stop = threading.Event()
    with ExitStack() as stack:
        servers = [_serving(stack, tmp_path / "root", NAMES), _serving(stack, tmp_path / "root", ())]
        named = [f"http://127.0.0.1:{servers[0].port}={','.join(NAMES)}", f"http://127.0.0.1:{servers[1].port}"]
        cluster = Cluster([PeerAddress.of(text) for text in named], seconds=20)  # this process does all of it
        other = stack.enter_context(running({"notes": tmp_path / "root"}, cluster=cluster))
        publisher = threading.Thread(target=_published, args=(tmp_path / "root", stop, failures))
        publisher.start()
        try:
            for number in range(queries):
                mode = ("bm25", "hybrid", "dense")[number % 3]
                answer = other.post("/api/search", {"query": "zebra crossing", "mode": mode, "k": 40})
                assert answer.status == 200, answer.content
                hits = [hit["id"] for hit in answer.json["results"][0]["hits"] if hit["id"].startswith("g")]
                found = {name.partition("-")[0] for name in hits}
                assert len(found) == 1, found
                assert len(hits) == 20 or mode == "dense"
                assert answer.json["total"] == 170
                seen.add(answer.json["generation"])
        finally:
            stop.set()
            publisher.join()
    assert not failures
    assert len(seen) > 1


WRITER = """
import sys, time
from pathlib import Path
from searchapp.shards.writer import RootWriter
with RootWriter.update(Path(sys.argv[1]), seconds=1.0) as writer:
    print("ready", flush=True)
    sys.stdin.readline()
    writer.publish(writer.generation.shards, writer.generation.intake)
print("published", flush=True)
"""


def test_a_stopped_writer_loses_to_the_one_that_took_over(roots: Path, tmp_path: Path) -> None:
    shutil.copytree(roots / "two", tmp_path / "root")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", WRITER, str(tmp_path / "root")]
    process = subprocess.Popen(command, text=True, env=os.environ, **pipes)
    try:
        assert process.stdout.readline() == "ready\n"
        index = Index.open(tmp_path / "root")
        with pytest.raises(IndexStoreError, match="is being written by"):
            index.delete(["d1"])
        time.sleep(1.2)  # it is renewed
        with pytest.raises(IndexStoreError, match="is being written by"):
            index.delete(["d1"])
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.2)
        assert index.delete(["d1"]).deleted == 1
        before = load_root(LocalPlace(tmp_path / "root"))
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate("go\n", timeout=30)
    finally:
        process.kill()
    assert "published" not in out
    assert "was taken over by" in err
    assert load_root(LocalPlace(tmp_path / "root")) == before
    assert "d1" not in Index(open_root(tmp_path / "root"))


def test_the_commands_take_a_root(roots: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = roots / "two"

    def said(*words: object) -> tuple[int | str | None, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        return stop.value.code, *capsys.readouterr()

    hits = []
    for path in (root, source):
        code, out, err = said("search", path, "honey bridge", "--json", "-k", 3)
        assert code == 0, err
        hits.append([(hit["id"], hit["score"]) for hit in map(json.loads, out.splitlines())])
    assert hits[0] == hits[1]
    assert len(hits[0]) == 3
    for words, why in (
        (("serve", source, "--shards", "all"), "one root of shards"),
        (("serve", root, "--peer", "nowhere"), "no shard server"),
        (("serve", root, "--require", "some"), "expected all or any"),
        (("tune", root), "made of shards"),
        (("build", source / "history.jsonl", "--index", root), "made of shards"),
    ):
        code, _, err = said(*words)
        assert code == 2
        assert why in err
