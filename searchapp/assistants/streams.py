"""Standard input and output as the wire of a protocol, which nothing else in this process reads or writes.

A line that a library prints would break the protocol, and a child process that reads would eat a request: while this
process serves, descriptor 1 leads to standard error and descriptor 0 to nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

LINE = 4 << 20  # bytes of a line; a longer one is passed over
LEAVE = 0.5  # seconds that answers under way have when the other side is gone
WATCH = 0.25  # seconds between looks at the parent process


@dataclass(frozen=True)
class Wire:
    """The two ends, as binary files of this process alone."""

    reader: BinaryIO
    writer: BinaryIO


def claim() -> Wire:
    """Take standard input and output for the protocol. To be called before a library can print."""
    sys.stdout.flush()
    reader, writer = (os.dup(number) for number in (0, 1))  # which children do not inherit
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    try:
        os.dup2(2, 1)
    except OSError:  # standard error is closed
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.close(nothing)
    return Wire(os.fdopen(reader, "rb"), os.fdopen(writer, "wb"))


class Lines:
    """Lines from the wire, for a thread that may wait; "" at its end, when ``ended`` is called.

    A line longer than ``LINE`` comes as ``{``, which is no JSON, so that the other side hears of it.
    """

    def __init__(self, reader: BinaryIO, ended: Callable[[], None]) -> None:
        self._reader = reader
        self._ended = ended

    def readline(self) -> str:
        """The next line that is not empty, without its end."""
        while True:
            line = self._reader.readline(LINE)
            if not line:
                self._ended()
                return ""
            if not line.endswith(b"\n") and len(line) >= LINE:
                while line and not line.endswith(b"\n"):
                    line = self._reader.readline(LINE)
                return "{"
            if text := line.decode("utf-8", "replace").strip():
                return text


def leave(code: int = 0) -> NoReturn:
    """End this process at once, whatever its threads do: they only read."""
    sys.stderr.flush()
    os._exit(code)


def leave_soon(seconds: float = LEAVE) -> None:
    """End this process after the time that answers under way have to go out."""

    def wait() -> None:
        time.sleep(seconds)
        leave()

    threading.Thread(target=wait, name="leave", daemon=True).start()


def leave_with_parent() -> None:
    """End this process when the one that started it ends, even where a child of it still holds the pipe."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        leave()

    threading.Thread(target=watch, name="parent", daemon=True).start()
