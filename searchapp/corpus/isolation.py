"""Files of untrusted formats, read by a process of its own (``worker``) that reads ahead while the caller works.

A file that kills its parser, takes too long or too much memory is unreadable, for that reason; the next file is read by
a new process. What was read and is not yet taken is bounded.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from searchapp.corpus.block_lines import to_item
from searchapp.corpus.blocks import Block
from searchapp.corpus.formats.reading import Facts, Unreadable
from searchapp.corpus.worker import NO_MEMORY

AHEAD = 12_000_000  # bytes of lines that are read and not taken
WHOLE = 8_000_000  # bytes of lines of a file that wait for its end
TEXT = 200_000_000  # bytes of lines of one file
FILES = 500  # that one process reads
STARVED = 4  # times the seconds of a file that are waited for while its process wants to work
IDLE = 20.0  # seconds without a request after which the process ends
_CHUNK = 1 << 18
_LOOK = 0.02  # seconds between two looks at the memory of a process that reads
_LARGE = 200_000  # kilobytes of a process that died: its parser will have asked for more than it got
_CRASHES = ("SIGABRT", "SIGTRAP", "SIGILL", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGSYS")
_END = b'{"spent"'  # how the last line of a file begins


@dataclass(frozen=True, slots=True)
class Request:
    """A file to read: its path, the name of its format, its size in bytes."""

    path: Path
    format: str
    size: int = 0

    @property
    def seconds(self) -> float:
        """How long the process may work on it: 15 s and 4 s a megabyte, at most 300 s.

        Well made PDF files have up to 700 pages a megabyte, of which 200 are read in a second.
        """
        return min(300.0, 15.0 + 4.0 * self.size / 1_000_000)

    def line(self) -> bytes:
        """The request as the process reads it."""
        content = {"path": os.fspath(self.path.absolute()), "format": self.format, "seconds": self.seconds}
        return json.dumps(content).encode() + b"\n"


class _Job:
    """A request, and the lines that were read of it and are not taken."""

    __slots__ = ("count", "dropped", "finished", "held", "lines", "reason", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.lines: list[bytes] = []
        self.held = 0  # their bytes
        self.count = 0  # of all its lines
        self.finished = self.dropped = False
        self.reason = ""


class Readers:
    """Reads files one after the other, in a process that is started when the first is asked for.

    ``expect`` says which files will be asked for, in this order, so that they are read ahead; ``read`` asks for one.
    Both are called by one thread. ``close`` ends the process; it also ends when it has nothing to do.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()  # that at hand, then those expected
        self._todo: deque[_Job] = deque()  # of these, in the same order: those not begun
        self._expected: Counter[Request] = Counter()
        self._working: _Job | None = None
        self._held = 0  # bytes of lines that are not taken
        self._thread: threading.Thread | None = None
        self._closed = False
        self._process = _Process()

    def expect(self, requests: Iterable[Request]) -> None:
        """Read these ahead, after those expected before."""
        with self._changed:
            for request in requests:
                self._jobs.append(_Job(request))
                self._todo.append(self._jobs[-1])
                self._expected[request] += 1
            if self._jobs:
                self._begin()

    def read(self, request: Request) -> Generator[Facts | Block]:
        """The facts and blocks of a file. Raises Unreadable with the reason.

        Nothing is yielded before the file is read to its end, or 8 MB of it: so of a damaged one no half is taken.
        """
        job = self._claim(request)
        try:
            finished, whole = False, True
            while not finished:
                with self._changed:
                    while not job.finished and job.held < WHOLE:
                        self._changed.wait()
                    lines, job.lines = job.lines, []
                    self._held -= job.held
                    job.held, finished = 0, job.finished
                    self._changed.notify_all()
                if finished and job.reason and whole:
                    break
                whole = False
                yield from map(to_item, lines)
        finally:
            with self._changed:
                self._drop(job)
        if job.reason:
            raise Unreadable(job.reason)

    def close(self) -> None:
        """End the process; what was expected is forgotten. Another ``read`` starts it again."""
        with self._changed:
            self._closed = True
            while self._jobs:
                self._drop(self._jobs[0])
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            self._process.kill()
            thread.join()
        self._closed = False

    def _claim(self, request: Request) -> _Job:
        """The job of a request; those expected before it are passed over."""
        with self._changed:
            if self._expected[request]:
                while self._jobs[0].request != request:
                    self._drop(self._jobs[0])
            else:
                self._put_off()
                self._jobs.appendleft(_Job(request))
                self._todo.appendleft(self._jobs[0])
                self._expected[request] += 1
            self._begin()
            return self._jobs[0]

    def _begin(self) -> None:
        """Let the thread work; it is started where it does not run."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="searchapp-readers", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _drop(self, job: _Job) -> None:
        """Forget a job, with what was read of it."""
        if not job.dropped:
            job.dropped = True
            self._held -= job.held
            job.lines, job.held = [], 0
            self._jobs.remove(job)
            self._expected[job.request] -= 1
            self._changed.notify_all()

    def _put_off(self) -> None:
        """Read the file that is being read again, later: another is wanted first."""
        job = self._working
        if job is not None and not job.dropped:
            place = self._jobs.index(job)
            self._drop(job)
            again = _Job(job.request)
            self._jobs.insert(place, again)
            self._todo.appendleft(again)
            self._expected[job.request] += 1

    def _work(self) -> None:
        """Read what is wanted, in order, until nothing has been for a while."""
        try:
            while (job := self._next()) is not None:
                self._read(job)
                with self._changed:
                    job.finished, self._working = True, None
                    self._changed.notify_all()
        except Exception as error:  # a fault of this module must not leave the caller waiting
            with self._changed:
                for job in self._jobs:
                    job.reason, job.finished = job.reason or f"its reader failed: {error}", True
                self._todo.clear()
                self._thread = self._working = None
                self._changed.notify_all()
        finally:
            self._process.end()

    def _next(self) -> _Job | None:
        until = time.monotonic() + IDLE
        with self._changed:
            while True:
                while self._todo and self._todo[0].dropped:
                    self._todo.popleft()
                left = until - time.monotonic()
                if self._closed or (not self._todo and left <= 0):
                    self._thread = None  # the next one who asks starts another
                    return None
                if self._todo:
                    self._working = self._todo.popleft()
                    return self._working
                self._changed.wait(left)

    def _read(self, job: _Job) -> None:
        """Read a file, once more where its process was killed by somebody else."""
        for turn in range(2):
            skip, seen = job.count, 0
            for line in self._process.lines(job.request):
                seen += 1
                if seen > skip and not self._put(job, line):
                    self._process.end()
                    return
            job.reason = self._process.reason
            if not self._process.was_killed or turn or job.dropped:
                return

    def _put(self, job: _Job, line: bytes) -> bool:
        """Hand a line out, when there is room; false where nobody wants it any more."""
        with self._changed:
            while self._held >= AHEAD and not job.dropped and not self._closed:
                self._changed.wait()
            if job.dropped or self._closed:
                return False
            job.lines.append(line)
            job.count += 1
            job.held += len(line)
            self._held += len(line)
            if job.held >= WHOLE:
                self._changed.notify_all()
            return True


class _Process:
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
