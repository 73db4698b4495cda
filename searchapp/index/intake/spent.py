"""Where the time of a build went: reading the sources, encoding, and how much of both the processor worked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Spent:
    """Seconds by the clock to ``read`` and to ``encode``, and those of all processors together, ``cpu``.

    ``before`` are those that an interrupted build had spent; what lies between its last commit and its end is lost.
    """

    def __init__(self, before: Mapping[str, float]) -> None:
        self._before = {name: before.get(name, 0.0) for name in ("read", "encode", "cpu")}
        self._began = self._cpu = self._encoding = 0.0

    def begin(self) -> None:
        """Start the clocks."""
        self._began, self._cpu = time.perf_counter(), time.process_time()

    @contextmanager
    def encoding(self) -> Iterator[None]:
        """Count the time within as that of encoding; all other time is that of reading."""
        began = time.perf_counter()
        yield
        self._encoding += time.perf_counter() - began

    def seconds(self) -> dict[str, float]:
        """What was spent so far, earlier runs included."""
        now = {
            "read": time.perf_counter() - self._began - self._encoding,
            "encode": self._encoding,
            "cpu": time.process_time() - self._cpu,
        }
        return {name: self._before[name] + seconds for name, seconds in now.items()}
