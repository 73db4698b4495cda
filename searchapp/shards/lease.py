"""One writer of a root at a time, by a lease that has an owner, an increasing epoch, and an end.

A lease is a file ``lease-EPOCH-RENEWAL.json``, put where none is; the newest one holds. A writer renews it while it
works and ends it when it is done. One that was stopped past its end finds a newer epoch when it comes to commit, and
has lost. What decides is the commit itself, which is put where none is: the lease only spares work that would be lost.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from searchapp.errors import IndexStoreError
from searchapp.shards.place import Place

log = logging.getLogger(__name__)

SECONDS = 60.0  # a lease holds without being renewed; it is renewed three times as often
_FILE = re.compile(r"lease-([0-9]{10})-([0-9]{6})\.json")


@dataclass(frozen=True)
class _Held:
    epoch: int
    renewal: int
    owner: str
    until: float

    @property
    def name(self) -> str:
        return f"lease-{self.epoch:010d}-{self.renewal:06d}.json"


class Lease:
    """The right of this process to write a root, as ``epoch``."""

    def __init__(self, place: Place, held: _Held, where: str, seconds: float) -> None:
        self._place, self._held, self._where, self._seconds = place, held, where, seconds
        self._end = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(target=self._renew, name="lease", daemon=True).start()

    @property
    def epoch(self) -> int:
        """How many leases there have been."""
        return self._held.epoch

    def check(self) -> None:
        """Raise IndexStoreError where another writer has taken over."""
        newest = _newest(self._place)
        if newest is None or newest.epoch != self.epoch:
            owner = newest.owner if newest is not None else "nobody"
            raise IndexStoreError(
                f"{self._where} was taken over by {owner}, for this writer was not heard of for {self._seconds:g} s; "
                "nothing of it was published: run the same command again"
            )

    def end(self) -> None:
        """Let others write."""
        self._end.set()
        self._next(0.0)

    def _renew(self) -> None:
        while not self._end.wait(self._seconds / 3):
            self._next(time.time() + self._seconds)

    def _next(self, until: float) -> None:
        with self._lock:
            made = _Held(self.epoch, self._held.renewal + 1, self._held.owner, until)
            try:
                newest = _newest(self._place)
                if newest is None or newest.epoch != self.epoch:
                    return  # it was taken over, and ``check`` says so
                _put(self._place, made)
                self._place.delete(self._held.name)
            except (OSError, IndexStoreError) as error:
                log.warning("the lease of %s could not be renewed: %s", self._where, error)
                return
            self._held = made


@contextmanager
def leased(place: Place, where: str, seconds: float = SECONDS) -> Iterator[Lease]:
    """Hold the lease of a root. Raises IndexStoreError where another writer has it."""
    newest = _newest(place)
    if newest is not None and newest.until > time.time() and not _is_gone(newest.owner):
        left = newest.until - time.time()
        raise IndexStoreError(
            f"{where} is being written by {newest.owner}; wait for it, or, where it is gone, for {left:.0f} s"
        )
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    held = _Held(1 if newest is None else newest.epoch + 1, 0, owner, time.time() + seconds)
    try:
        _put(place, held)
    except FileExistsError:
        raise IndexStoreError(f"{where} is being written by another process, which was faster; wait for it") from None
    for old in _all(place):
        if old[0] < held.epoch:
            place.delete(old[2])
    lease = Lease(place, held, where, seconds)
    try:
        yield lease
    finally:
        lease.end()


def _is_gone(owner: str) -> bool:
    """Whether the owner was a process of this machine that has ended."""
    host, _, rest = owner.rpartition(":")[0].rpartition(":")
    if host != socket.gethostname() or not rest.isdecimal() or os.name != "posix":
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _put(place: Place, held: _Held) -> None:
    place.put_new(held.name, json.dumps({"owner": held.owner, "until": held.until}).encode())


def _all(place: Place) -> list[tuple[int, int, str]]:
    matches = [(_FILE.fullmatch(name), name) for name in place.list()]
    return sorted((int(match[1]), int(match[2]), name) for match, name in matches if match)


def _newest(place: Place) -> _Held | None:
    """The lease that holds, or held last; None where there never was one."""
    for _ in range(10):
        found = _all(place)
        if not found:
            return None
        epoch, renewal, name = found[-1]
        with suppress(FileNotFoundError):  # it was renewed meanwhile
            try:
                said = json.loads(place.get(name))
                return _Held(epoch, renewal, str(said["owner"]), float(said["until"]))
            except (ValueError, KeyError, TypeError):
                return _Held(epoch, renewal, "a writer whose lease cannot be read", 0.0)
    raise IndexStoreError("the lease changes too fast to be read; try again")
