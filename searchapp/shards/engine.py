"""Engines: what starts workers and gives them chunks. The truth about progress lies in the store, never in an engine.

An engine knows nothing of plans, retries or what is done: it starts workers, hands a chunk's number to one, and tells
what was answered and which workers are gone. ``searchapp.shards.driver`` decides what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

PROCESSES, RAY, NONE = "processes", "ray", "none"
NAMES = (PROCESSES, RAY, NONE)


@dataclass(frozen=True)
class Ready:
    """A worker has loaded its encoder and takes chunks from now on; ``versions`` are those of its packages.

    ``refused`` says why it must not get any, "" where it may.
    """

    worker: str
    versions: dict[str, str] = field(default_factory=dict)
    refused: str = ""


@dataclass(frozen=True)
class Answer:
    """A worker is done with a chunk: committed where ``reason`` is empty, else it failed for that reason."""

    worker: str
    chunk: int
    reason: str = ""
    seconds: float = 0.0


class Engine(Protocol):
    """Workers somewhere. A worker is named by ``start``; each has at most one chunk at a time."""

    def slots(self) -> int:
        """How many workers there may be at once, at this moment."""
        ...

    def start(self) -> str:
        """Begin to start a worker and return its name; ``wait`` tells when it is ready, ``lost`` where it never is."""
        ...

    def submit(self, worker: str, chunk: int) -> None:
        """Give a chunk to a worker that is ready. That the worker is gone is told by ``lost``."""
        ...

    def wait(self, seconds: float) -> Sequence[Ready | Answer]:
        """What workers said, as soon as one says something, at the latest after so long."""
        ...

    def lost(self) -> dict[str, str]:
        """The workers that have ended since this was asked last, with the reason."""
        ...

    def stop(self, worker: str) -> None:
        """End a worker, whatever it does."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...
