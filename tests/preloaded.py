"""Programs that start without their imports: a process that has imported the libraries forks one for each of them.

What runs is a process of its own, with its own memory, files and environment, that can be killed as any other. It
imports searchapp itself; only the libraries below it (torch, transformers, …: seconds of each start) are there already.
For tests of what a program does, not of how it starts.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.program import Outcome

# The child goes on behind the loop. Its threads end and what is registered for its end is run, as in every Python; only
# the objects of the libraries are not taken apart, for which each page of memory would be copied.
SERVER = """
import atexit, gc, json, os, sys, threading, traceback
gc.disable()
import mcp.server.stdio, psutil, torch, transformers.models.llama.modeling_llama
from transformers import AutoModel, AutoTokenizer, Trainer
import faiss, pandas, peft, pyarrow.dataset
gc.enable()
gc.freeze()  # what is there is not gone through at the end of each child
requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
for line in requests:
    request = json.loads(line)
    if "wait" in request:
        options = 0 if request["block"] else os.WNOHANG
        process, status = os.waitpid(request["wait"], options)
        answer = os.waitstatus_to_exitcode(status) if process else None
    else:
        answer = os.fork()
        if not answer:
            break
    print(json.dumps(answer), file=answers, flush=True)
else:
    os._exit(0)
for number, (name, how) in enumerate(((os.devnull, os.O_RDONLY), (request["out"], os.O_WRONLY), (request["err"], os.O_WRONLY))):
    os.dup2(os.open(name, how), number)
os.environ.clear()
os.environ.update(request["environment"])
os.chdir(request["cwd"])
sys.argv = ["-c", *request["arguments"]]
code = 1
try:
    exec(request["code"], {"__name__": "__main__"})
    code = 0
except SystemExit as stop:
    code = stop.code or 0
except BaseException:
    traceback.print_exc()
threading._shutdown()
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
"""
PROGRAM = "import sys\nfrom searchapp.cli import main\nmain(sys.argv[1:])"


@dataclass
class Forked:
    """A program that was started; ``out`` and ``err`` are the files that it writes to."""

    pid: int
    out: Path
    err: Path
    server: Server

    def poll(self, block: bool = False) -> int | None:
        """The exit code, as ``subprocess`` gives it; None while it runs."""
        code = self.server.ask(wait=self.pid, block=block)
        assert code is None or isinstance(code, int)
        return code

    def kill(self) -> int | None:
        """End it as ``kill -9`` does; its exit code."""
        os.kill(self.pid, signal.SIGKILL)
        return self.poll(block=True)

    def finish(self, seconds: float = 300) -> Outcome:
        """Wait for its end, so long at most; asked once."""
        end = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                self.kill()
                raise AssertionError(f"it ran for more than {seconds} seconds: {self.err.read_text()}")
            time.sleep(0.005)
        return Outcome(code, self.out.read_text(), self.err.read_text())


class Server:
    """The process that has the libraries; the programs' output goes to files in ``folder``."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder, self._count = process, folder, 0

    def ask(self, **request: object) -> object:
        """Send a request, read its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, *arguments: object, code: str = PROGRAM, cwd: Path | None = None) -> Forked:
        """Start the program, or other code, with these arguments and the environment of this process."""
        self._count += 1
        out, err = (self._folder / f"{self._count}.{name}" for name in ("out", "err"))
        for path in (out, err):
            path.touch()
        process = self.ask(
            code=code, arguments=list(map(str, arguments)), out=str(out), err=str(err), cwd=str(cwd or Path.cwd()),
            environment={**os.environ},
        )  # fmt: skip
        assert isinstance(process, int)
        return Forked(process, out, err, self)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server that ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Server(process, folder)
        assert process.stdin is not None
        process.stdin.close()
