"""The process that reads files of untrusted formats, seen from the program that asks: what it is sent, how it ends."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from searchapp.corpus.remote import RemoteFile
from searchapp.corpus.worker import NO_MEMORY

TEXT = 200_000_000  # bytes of lines of one file
FILES = 500  # that one process reads
STARVED = 4  # times the seconds of a file that are waited for while its process wants to work
_CHUNK = 1 << 18
_LOOK = 0.02  # seconds between two looks at the memory of a process that reads
_LARGE = 200_000  # kilobytes of a process that died: its parser will have asked for more than it got
_CRASHES = ("SIGABRT", "SIGTRAP", "SIGILL", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGSYS")
_END = b'{"spent"'  # how the last line of a file begins


@dataclass(frozen=True, slots=True)
class Request:
    """A file to read: its path, the name of its format, its size in bytes, passwords that may open it."""

    path: Path
    format: str
    size: int = 0
    passwords: tuple[str, ...] = field(default=(), repr=False)
    remote: RemoteFile | None = None  # what has to be fetched first; ``path`` is its name alone then

    @classmethod
    def of_remote(cls, file: RemoteFile, format: str, passwords: tuple[str, ...]) -> Request:
        """A request for a file that has to be fetched."""
        return cls(Path(file.name), format, file.size, passwords, file)

    @property
    def seconds(self) -> float:
        """How long the process may work on it: 15 s and 4 s a megabyte, at most 300 s.

        Well made PDF files have up to 700 pages a megabyte, of which 200 are read in a second.
        """
        return min(300.0, 15.0 + 4.0 * self.size / 1_000_000)

    def line(self) -> bytes:
        """The request as the process reads it."""
        content: dict[str, Any] = {"path": os.fspath(self.path.absolute()), "format": self.format}
        content["seconds"] = self.seconds
        if self.passwords:
            content["passwords"] = self.passwords
        return json.dumps(content).encode() + b"\n"


class ReadingProcess:
    """The process that reads, started when it is needed; used by one thread, and killed by any."""

    def __init__(self) -> None:
        self._running: subprocess.Popen[bytes] | None = None
        self._files = 0
        self._resident = 0  # kilobytes it was seen to have, at most
        self.reason = ""  # why the last file could not be read
        self.was_killed = False  # by somebody else

    def lines(self, request: Request) -> Iterator[bytes]:
        """The lines of one file. Afterwards ``reason`` says why it could not be read, "" where it could."""
        self.reason, self.was_killed = "", False
        process = self._sent(request)
        waited, taken, limit, most = 0.0, 0, request.seconds, request.seconds
        ready = select.poll()
        output = process.stdout.fileno() if process.stdout is not None else -1
        ready.register(output, select.POLLIN | select.POLLHUP)
        parts: list[bytes] = []  # of a line that is not complete
        while True:
            began = time.monotonic()
            found = os.read(output, _CHUNK) if self._is_ready(ready, process.pid, most - waited) else None
            waited += time.monotonic() - began  # the time that it was waited for, not that it waited for us
            if found is None and most < STARVED * limit and _is_running(process.pid):
                most += limit  # others have the processor; the system ends it when it has worked for so long
                continue
            taken += len(found or b"")
            if found is None or taken > TEXT:
                self.end()
                self.reason = _too_long(limit) if found is None else "more than 200 MB of text"
                return
            if not found:
                self.reason = self._died(limit)
                return
            *lines, rest = found.split(b"\n")
            if lines:
                lines[0] = b"".join([*parts, lines[0]])
                parts.clear()
            parts.append(rest)
            for line in lines:
                if line.startswith(_END):
                    self._finish(line)
                    return
                yield line

    def _is_ready(self, ready: select.poll, pid: int, seconds: float) -> bool:
        """Whether there is something to read within the time; meanwhile the memory of the process is looked at.

        What the system says of it afterwards is no use: a process inherits what the one that started it had.
        """
        until = time.monotonic() + max(0.0, seconds)
        while True:
            left = until - time.monotonic()
            if ready.poll(1_000 * max(0.0, min(left, _LOOK))):
                return True
            self._resident = max(self._resident, _resident(pid))
            if left <= 0:
                return False

    def _sent(self, request: Request) -> subprocess.Popen[bytes]:
        """The process, with the request sent to it; another one where it died since its last file."""
        for _ in range(2):
            process = self._running or self._start()
            if process.stdin is None:
                break
            try:
                process.stdin.write(request.line())
                process.stdin.flush()
            except BrokenPipeError:
                self._reap()
                continue
            self._files += 1
            return process
        raise OSError("the process that reads documents ends at once")

    def _start(self) -> subprocess.Popen[bytes]:
        self._files = self._resident = 0
        self._running = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-m", "searchapp.corpus.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the program that asked
        )
        return self._running

    def _finish(self, line: bytes) -> None:
        answer = json.loads(line)
        self.reason = answer.get("unreadable", "")
        if answer["spent"] or self._files >= FILES:
            self.end()

    def _died(self, limit: float) -> str:
        """Why a process ended in the middle of a file."""
        code = self._reap()
        if code < 0:
            name = signal.Signals(-code).name
            if name == "SIGXCPU":
                return _too_long(limit)
            if name in _CRASHES:
                return NO_MEMORY if self._resident > _LARGE else f"its parser crashed ({name})"
            self.was_killed = True
            return f"its reader was killed ({name}); is memory short?"
        return f"its parser ended the process (exit code {code})"

    def kill(self) -> None:
        """End the process at once."""
        process = self._running
        if process is not None:
            process.kill()

    def end(self) -> None:
        """End the process, and wait for that."""
        self.kill()
        self._reap()

    def _reap(self) -> int:
        """Wait for the process; its exit code, or minus the signal."""
        process, self._running = self._running, None
        if process is None:
            return 0
        code = process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass
        return code


def _is_running(pid: int) -> bool:
    """Whether a process works or could: not one that waits for a disk, a pipe or a peer."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"R"
    except (OSError, IndexError):
        return False


def _resident(pid: int) -> int:
    """The memory that a process has, in kilobytes; 0 where that cannot be told."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    except (OSError, ValueError, IndexError):
        return 0


def _too_long(limit: float) -> str:
    return f"took more than {limit:.0f} s to read"


def _environment() -> dict[str, str]:
    """The caller's environment, in which this package is found and no order depends on chance."""
    place = str(Path(__file__).parents[2])
    known = os.environ.get("PYTHONPATH", "")
    if place not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):  # else it is found anyway
        known = os.pathsep.join(part for part in (place, known) if part)
    return {**os.environ, "PYTHONPATH": known, "PYTHONHASHSEED": "0"}
