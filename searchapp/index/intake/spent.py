"""Where the time of a build went: reading the sources and encoding, how much of it was work and how much waiting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from searchapp.stopwatch import Elapsed, Stopwatch

PARTS = ("read", "encode", "cpu", "read_cpu", "read_wait", "encode_cpu", "encode_wait")


class Spent:
    """Seconds to ``read`` and to ``encode`` by the clock, and of all processors together for both, ``cpu``.

    Of each part, ``_cpu`` are the seconds of all processors and ``_wait`` those by the clock in which none worked for
    this process. ``before`` are those that an interrupted build had spent; what lies between its last commit and its
    end is lost.
    """

    def __init__(self, before: Mapping[str, float]) -> None:
        self._before = {name: before.get(name, 0.0) for name in PARTS}
        self._watch, self._read, self._encoded = Stopwatch(), Elapsed(), Elapsed()

    def begin(self) -> None:
        """Start the clocks."""
        self._watch = Stopwatch()

    @contextmanager
    def encoding(self) -> Iterator[None]:
        """Count the time within as that of encoding; all other time is that of reading."""
        self._read += self._watch.read()
        watch = Stopwatch()
        yield
        self._encoded += watch.read()
        self._watch = Stopwatch()

    def seconds(self) -> dict[str, float]:
        """What was spent so far, earlier runs included."""
        read, encoded = self._read + self._watch.read(), self._encoded
        now = {
            "read": read.clock,
            "encode": encoded.clock,
            "cpu": read.cpu + encoded.cpu,
            "read_cpu": read.cpu,
            "read_wait": read.waiting,
            "encode_cpu": encoded.cpu,
            "encode_wait": encoded.waiting,
        }
        return {name: self._before[name] + seconds for name, seconds in now.items()}
