"""``searchapp serve`` as a program: it starts, answers, ends without losing a request, and refuses in a line."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """The program and its address, once it is ready."""
    program = subprocess.Popen(
        [sys.executable, "-m", "searchapp", "serve", *arguments, "--port", "0"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    for line in program.stderr:
        if found := re.search(r"ready: (http://\S+)", line):
            return program, found[1]
    raise AssertionError(f"it ended with {program.wait()}")


def search(address: str, query: str) -> dict:
    body = json.dumps({"query": query, "k": 3}).encode()
    request = urllib.request.Request(f"{address}api/search", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_it_answers_and_ends_with_what_it_has_begun(built: Path) -> None:
    program, address = start(str(built))
    try:
        assert len(search(address, "bee honey")["results"][0]["hits"]) == 3
        answers: list[object] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                try:
                    answers.append(search(address, "river"))
                except OSError:
                    return

        askers = [threading.Thread(target=ask) for _ in range(4)]
        for asker in askers:
            asker.start()
        time.sleep(0.5)
        program.send_signal(signal.SIGTERM)
        assert program.wait(20) == 0
        stop.set()
        for asker in askers:
            asker.join()
        assert answers
    finally:
        program.kill()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere"], "no directory"),
        (["{built}", "{built}"], "two indexes are named"),
        (["{built}", "--host", "0.0.0.0"], "no token is asked for"),
        (["{built}", "--cors-origin", "*"], "name each host and origin"),
        (["{built}", "--judgements", "nowhere"], "no directory"),
        (["{built}", "--judgements", "{empty}"], "no pool.jsonl"),
        (["{built}", "--allow-host", "https://search.example.org/"], "no name of a host"),
        (["{empty}"], "index"),
        (["{built}", "--waiting", "0"], "waiting"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(built: Path, tmp_path: Path, arguments: list[str], text: str) -> None:
    words = [argument.format(built=built, empty=tmp_path) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "searchapp", "serve", *words, "--port", "0"], capture_output=True, text=True, timeout=60
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("loading")]
    assert done.returncode == 2 and text in lines[-1], done.stderr


def test_a_port_in_use_is_said(built: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "searchapp", "serve", str(built), "--port", port],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 2 and "cannot be listened on" in done.stderr


def test_no_judgement_is_lost_when_it_is_killed(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "judged"
    folder.mkdir()
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "bees"}) + "\n")
    pool = [json.dumps({"query-id": "q1", "corpus-id": f"d{number}"}) for number in range(1, 61)]
    (folder / "pool.jsonl").write_text("\n".join(pool) + "\n")
    program, address = start(str(built), "--judgements", str(folder))
    answered: list[str] = []

    def judge() -> None:
        for number in range(1, 61):
            body = json.dumps({"query": "q1", "document": f"d{number}", "level": 1}).encode()
            request = urllib.request.Request(
                f"{address}api/judgements/judged", body, {"content-type": "application/json"}, method="PUT"
            )
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    assert json.load(answer)["level"] == 1
            except OSError:
                return
            answered.append(f"d{number}")

    judging = threading.Thread(target=judge)
    judging.start()
    while len(answered) < 20:
        time.sleep(0.002)
    program.kill()
    program.wait()
    judging.join()
    kept = {line.split("\t")[1] for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]}
    assert set(answered) <= kept and len(answered) >= 20


def test_the_first_search_imports_nothing(built: Path) -> None:
    """What is imported, opened or counted by a first search is so before the server says that it is ready."""
    code = """
import sys
from pathlib import Path
from searchapp.search import SearchOptions, highlights, hits_of, prepare, run
from searchapp.serve.served import Models, Served
served = Served("notes", Path(sys.argv[1]), Models("cpu"))
served.open()
state = served.state
vectors = state.encoder.encode_queries(["honey bee"])
before = set(sys.modules)
for mode in ("dense", "bm25", "hybrid"):
    plan = prepare(state.index, 5, SearchOptions(mode=mode)).plan
    hits = hits_of(state.index, run(state.index, ["honey bee"], vectors, plan), 0)
    highlights(None, state.analyzer, "honey bee", [hit.text for hit in hits])
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code, str(built)], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
