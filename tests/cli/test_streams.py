"""Standard input, output and error as shells hand them over: closed, full, cut off, not UTF-8."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import Outcome, start


def _shell(line: str, stdin: bytes = b"", **environment: str) -> Outcome:
    """Run a line of shell in which ``searchapp`` is the program."""
    program = f"{shlex.quote(sys.executable)} -m searchapp"
    done = subprocess.run(
        ["bash", "-c", f"{program} {line}"], input=stdin, capture_output=True, env={**os.environ, **environment}
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def _refused(outcome: Outcome) -> bool:
    return outcome.code == 2 and len(outcome.err.splitlines()) == 1 and outcome.err.startswith("searchapp: error: ")


@pytest.mark.parametrize("handler", ["strict", "surrogateescape"])
def test_queries_that_are_not_utf8(index: Path, handler: str) -> None:
    outcome = _shell(f"search {index}", b"honey\n\xff\xfe\n", PYTHONIOENCODING=f"utf-8:{handler}")
    assert _refused(outcome), outcome
    assert "UTF-8" in outcome.err


@pytest.mark.parametrize("redirection", ["<&-", "</dev/null"])
def test_without_any_input_the_query_is_missing(index: Path, redirection: str) -> None:
    outcome = _shell(f"search {index} {redirection}")
    assert _refused(outcome), outcome
    assert "the query is missing" in outcome.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_device(index: Path) -> None:
    for arguments in (f"info {index}", "--help"):
        outcome = _shell(f"{arguments} > /dev/full")
        assert _refused(outcome), outcome
    assert _shell("info nowhere 2> /dev/full").code == 2


def test_closed_streams(index: Path) -> None:
    assert _shell(f"info {index} >&-").code == 0
    assert _shell("info nowhere 2>&-").code == 2


def test_a_reader_that_goes_away_is_no_error(index: Path) -> None:
    """Enough hits to fill the pipe, and a reader that takes one line."""
    queries = [f"honey {number} " + "bees " * 100 for number in range(100)]
    process = start("search", index, "--json", *queries)
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["rank"] == 1
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_reader_that_was_never_there(index: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for arguments in (["info", str(index)], ["--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "searchapp", *arguments], stdout=writing, stderr=subprocess.PIPE, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
    os.close(writing)
