"""Several devices of one machine: a process for each beyond the first, long-lived; vectors come in the texts' order.

A worker process runs ``worker_main.main``. It reads JSON lines on its standard input and answers each on its standard
output with a JSON line and, behind it, the vectors as raw float32; messages for people go to standard error.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import IO, Any, Protocol

import numpy as np

from searchapp.encoder.inference import prefetch
from searchapp.encoder.window import EncodeInput, Window
from searchapp.errors import ModelError
from searchapp.progress import Progress

Worker = Callable[[Sequence[EncodeInput], int | None], tuple[np.ndarray, int]]  # as ``Encoder.compute``


class LocalEncoder(Protocol):
    """What a pool needs of the encoder that it works for."""

    @property
    def attention(self) -> str:
        """The attention kernel."""
        ...

    @property
    def dtype(self) -> str:
        """The precision of the weights."""
        ...

    @property
    def reference(self) -> dict[str, Any]:
        """The arguments of ``Encoder.load`` that load it again."""
        ...

    def compute(self, inputs: Sequence[EncodeInput], most: int | None = None) -> tuple[np.ndarray, int]:
        """Vectors float32 (n, dim) of texts with their instructions, and how many tokens these had."""
        ...


class WorkerProcess:
    """An encoder in a process of its own. Its process starts with it, and ends when it is closed or we end."""

    def __init__(self, arguments: dict[str, Any], threads: int) -> None:
        self.device = arguments["device"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH120, PTH100
        environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", "from searchapp.encoder.worker_main import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self.process_id = self._process.pid
        self._send(arguments)
        self._ready = False
        self._lock = threading.Lock()  # one question and its answer at a time

    def __call__(self, inputs: Sequence[EncodeInput], most: int | None) -> tuple[np.ndarray, int]:
        """As ``Encoder.compute``, in the process. Raises ModelError with the cause when the worker fails or is gone."""
        with self._lock:
            if not self._ready:
                self._receive()
                self._ready = True
            self._send({"inputs": inputs, "most": most})
            answer = self._receive()
            wanted = answer["rows"] * answer["dim"] * 4
            content = self._output.read(wanted)
        if len(content) < wanted:
            self._lost()
        vectors = np.frombuffer(bytearray(content), dtype="<f4")  # a copy that may be written to
        return vectors.reshape(answer["rows"], answer["dim"]), int(answer["tokens"])

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def _output(self) -> IO[bytes]:
        if self._process.stdout is None:
            raise ModelError(f"the worker of {self.device} has no output")
        return self._process.stdout

    def _send(self, message: dict[str, Any]) -> None:
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(json.dumps(message).encode() + b"\n")
                self._process.stdin.flush()
        except OSError:
            self._lost()

    def _receive(self) -> dict[str, Any]:
        line = self._output.readline()
        if not line.endswith(b"\n"):
            self._lost()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ModelError(f"the worker of {self.device} failed: {answer['error']}")
        return answer

    def _lost(self) -> None:
        code = self._process.wait()
        cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        advice = "; the machine may be out of memory" if cause.endswith("SIGKILL") else "; see its message above"
        raise ModelError(f"the worker of {self.device} (process {self.process_id}) {cause}{advice}; run it again")


class EncoderPool:
    """The devices of one encoder: the first is its own, each other has a process, started when there is work for it."""

    def __init__(self, encoder: LocalEncoder, devices: Sequence[str]) -> None:
        self.devices = tuple(devices)
        self._encoder = encoder
        self.workers: list[WorkerProcess] = []

    def start(self) -> None:
        """Start the workers that are not running."""
        if self.workers:
            return
        threads = max(1, (os.cpu_count() or 1) // len(self.devices))
        if self.devices[0] == "cpu":  # this process is one of them
            import torch

            torch.set_num_threads(threads)
        encoder = self._encoder
        common = {**encoder.reference, "attention": encoder.attention, "dtype": encoder.dtype}
        self.workers = [WorkerProcess({**common, "device": device}, threads) for device in self.devices[1:]]

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.close()
        self.workers = []

    def map(
        self, source: Iterable[Window], most: int | None, progress: Progress
    ) -> Iterator[tuple[Window, np.ndarray, int]]:
        """Yield each window with the vectors of what it misses and their tokens, in order, computed on any device.

        When a device fails or the source raises, the windows before come first. The workers are ended then, as they
        are when the iterator is left.
        """
        tasks = TaskQueue(most)
        try:
            with closing(_to_its_end(source)) as items:
                for item in items:
                    if tasks.sent == 0:
                        tasks.serve(self._encoder.compute)
                    elif tasks.sent == 1:  # one window alone is not worth a process
                        self.start()
                        for worker in self.workers:
                            tasks.serve(worker)
                    tasks.put(item)
                    if tasks.sent - tasks.given > len(self.devices):
                        yield tasks.next(progress)
            while tasks.given < tasks.sent:
                yield tasks.next(progress)
        except BaseException:
            self.close()
            raise
        finally:
            tasks.close()


def _to_its_end(source: Iterable[Window]) -> Generator[Window | Exception]:
    """Pass windows on, and an exception of theirs as the last item, so that it is met in its turn."""
    try:
        yield from prefetch(source)
    except Exception as error:
        yield error


class TaskQueue:
    """Windows given out to workers, a thread for each, and their outcomes in the order the windows came in."""

    def __init__(self, most: int | None) -> None:
        self.sent = self.given = 0
        self._most = most
        self._workers = 0
        self._tasks: queue.Queue[tuple[int, Window] | None] = queue.Queue()
        self._results: queue.Queue[tuple[int, Any]] = queue.Queue()
        self._windows: dict[int, Window] = {}
        self._done: dict[int, Any] = {}

    def serve(self, worker: Worker) -> None:
        """Let a worker take windows until the end, or until it fails."""

        def run() -> None:
            while (task := self._tasks.get()) is not None:
                try:
                    self._results.put((task[0], worker(task[1].missing, self._most)))
                except BaseException as error:  # raised where the outcome is awaited
                    self._results.put((task[0], error))
                    return

        self._workers += 1
        threading.Thread(target=run, name="searchapp-device", daemon=True).start()

    def put(self, item: Window | Exception) -> None:
        """Give out a window; an exception is its own outcome."""
        if isinstance(item, Window):
            self._windows[self.sent] = item
            self._tasks.put((self.sent, item))
        else:
            self._done[self.sent] = item
        self.sent += 1

    def next(self, progress: Progress) -> tuple[Window, np.ndarray, int]:
        """Wait for the outcome that is next in order. Raises what was raised in its place."""
        while self.given not in self._done:
            number, outcome = self._results.get()
            self._done[number] = outcome
        outcome = self._done.pop(self.given)
        if isinstance(outcome, BaseException):
            raise outcome
        window = self._windows.pop(self.given)
        self.given += 1
        if window.missing:
            progress.advance(len(window.missing), tokens=outcome[1])
        return window, *outcome

    def close(self) -> None:
        """Let the workers go."""
        for _ in range(self._workers):
            self._tasks.put(None)
