"""How long a piece of work took by the clock, how much of that the processors worked, and how much nothing did."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

TASKS = Path("/proc/self/task")


@dataclass(frozen=True)
class Elapsed:
    """Seconds: by the ``clock``, of all processors (``cpu``), and ``waiting``, when no thread of this process worked.

    Waiting is for a disk, a GPU, worker processes, or for other programs that have the processors.
    """

    clock: float = 0.0
    cpu: float = 0.0
    waiting: float = 0.0

    def __add__(self, other: Elapsed) -> Elapsed:
        return Elapsed(self.clock + other.clock, self.cpu + other.cpu, self.waiting + other.waiting)


class Stopwatch:
    """Runs from when it is made. What a thread did that has ended since counts as work, but not against waiting."""

    def __init__(self) -> None:
        self._clock, self._cpu, self._threads = time.perf_counter(), time.process_time(), _thread_seconds()

    def read(self) -> Elapsed:
        """What has passed so far.

        No thread works more than the busiest one, so that the clock beyond its work is waiting, where threads take
        turns perhaps somewhat less.
        """
        clock, cpu = time.perf_counter() - self._clock, time.process_time() - self._cpu
        worked = {thread: spent - self._threads.get(thread, 0.0) for thread, spent in _thread_seconds().items()}
        return Elapsed(clock, cpu, max(0.0, clock - max(worked.values(), default=cpu)))


def _thread_seconds() -> dict[int, float]:
    """Processor seconds of each thread; where the system does not say, those of Python's threads or of this one."""
    try:
        return {int(task.name): int((task / "schedstat").read_text().split()[0]) / 1e9 for task in TASKS.iterdir()}
    except (OSError, ValueError, IndexError):
        pass
    if not hasattr(time, "pthread_getcpuclockid"):
        return {threading.get_ident(): time.thread_time()}
    found = {}
    for thread in threading.enumerate():
        if thread.ident is not None and thread.is_alive():
            found[thread.ident] = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return found
