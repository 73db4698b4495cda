"""The engine ``processes``: fresh processes of this machine, each with an encoder of its own."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

from searchapp.shards.engine import Answer, Ready


class Processes:
    """An ``Engine`` of ``workers`` processes over the plan at ``place``; they take the ``devices`` in turn.

    Each has its share of the processor's cores, unless ``OMP_NUM_THREADS`` says otherwise.
    """

    def __init__(
        self, place: str, workers: int, devices: Sequence[str] = ("auto",), scratch: str | None = None
    ) -> None:
        self._place, self._count, self._devices, self._scratch = place, workers, tuple(devices), scratch
        self._numbers = count()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._said: queue.Queue[Ready | Answer | str] = queue.Queue()
        self._gone: dict[str, str] = {}

    def slots(self) -> int:
        """As many as were asked for."""
        return self._count

    @property
    def pids(self) -> dict[str, int]:
        """The process of each worker."""
        return {name: process.pid for name, process in self._processes.items()}

    def start(self) -> str:
        """Start a process."""
        number = next(self._numbers)
        name = f"process-{number}"
        threads = max(1, (os.cpu_count() or 1) // self._count)
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        root = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "searchapp.shards.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self._processes[name] = process
        threading.Thread(target=self._listen, args=(name, process), name=f"searchapp-{name}", daemon=True).start()
        device = self._devices[number % len(self._devices)]
        self._send(name, {"place": self._place, "scratch": self._scratch, "device": device, "worker": name})
        return name

    def submit(self, worker: str, chunk: int) -> None:
        """Write a line to a process."""
        self._send(worker, {"chunk": chunk})

    def wait(self, seconds: float) -> Sequence[Ready | Answer]:
        """What the processes have said."""
        found: list[Ready | Answer] = []
        try:
            said: Ready | Answer | str = self._said.get(timeout=seconds)
            while True:
                if isinstance(said, str):
                    self._end(said)
                else:
                    found.append(said)
                said = self._said.get_nowait()
        except queue.Empty:
            return found

    def lost(self) -> dict[str, str]:
        """The processes that have ended."""
        gone, self._gone = self._gone, {}
        return gone

    def stop(self, worker: str) -> None:
        """Kill a process."""
        process = self._processes.pop(worker, None)
        if process is not None:
            _kill(process)

    def close(self) -> None:
        """Kill all processes."""
        for worker in list(self._processes):
            self.stop(worker)

    def _send(self, worker: str, message: dict[str, Any]) -> None:
        process = self._processes.get(worker)
        try:
            if process is not None and process.stdin is not None:
                process.stdin.write(json.dumps(message).encode() + b"\n")
                process.stdin.flush()
        except OSError:
            pass  # its output ends too, which tells that it is gone

    def _listen(self, name: str, process: subprocess.Popen[bytes]) -> None:
        for line in process.stdout or ():
            if not line.endswith(b"\n"):
                break
            said = json.loads(line)
            if "ready" in said:
                self._said.put(Ready(name, said["versions"], said.get("refused", "")))
            else:
                self._said.put(Answer(name, said["chunk"], said["reason"], said["seconds"]))
        self._said.put(name)

    def _end(self, name: str) -> None:
        """Note that the output of a process has ended; one that was stopped is no loss."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        _kill(process)
        code = process.returncode
        was = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        self._gone[name] = f"process {process.pid} {was}" + ("; is memory short?" if code == -signal.SIGKILL else "")


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill() if process.poll() is None else None
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                pass  # what was not written to it is lost with it
