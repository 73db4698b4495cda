"""Cycles are searched for rarely in a process that is the program's alone, and as before where a caller has others."""

from __future__ import annotations

import gc
import subprocess
import sys

CODE = """
import atexit, gc, sys
from searchapp.cli import main
atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count() > 10_000))  # after what is registered later
sys.argv = ["searchapp", "--help"]
main()
"""


def test_the_program_searches_rarely_and_not_at_its_end() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "50000 True"


def test_who_calls_it_with_arguments_keeps_the_collector_as_it_is(run) -> None:
    before = gc.get_threshold()
    gc.set_threshold(1_234, 10, 10)  # the tests have the program's own number
    try:
        assert run("--help").code == 0
        assert gc.get_threshold() == (1_234, 10, 10)
    finally:
        gc.set_threshold(*before)
