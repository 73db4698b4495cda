"""Files of untrusted formats, read by a process of its own (``worker``) that reads ahead while the caller works.

A file that kills its parser, takes too long or too much memory is unreadable, for that reason; the next file is read by
a new process. What was read and is not yet taken is bounded.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable
from dataclasses import replace

from searchapp.corpus.block_lines import to_item
from searchapp.corpus.blocks import Block
from searchapp.corpus.extraction_cache import Draft, ExtractionCache
from searchapp.corpus.file_state import CHANGED, FileState, Seen
from searchapp.corpus.formats.reading import Facts, Unreadable
from searchapp.corpus.reading_process import ReadingProcess, Request
from searchapp.errors import CorpusError

AHEAD = 12_000_000  # bytes of lines that are read and not taken
WHOLE = 8_000_000  # bytes of lines of a file that wait for its end
IDLE = 20.0  # seconds without a request after which the process ends


class _Job:
    """A request, and the lines that were read of it and are not taken."""

    __slots__ = ("count", "dropped", "finished", "held", "lines", "reason", "request", "state", "taken")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.lines: list[bytes] = []
        self.held = 0  # their bytes
        self.count = 0  # of all its lines
        self.finished = self.dropped = False
        self.taken = False  # whether the caller has lines of it
        self.reason = ""
        self.state: FileState | None = None  # of the file whose lines these are


class Readers:
    """Reads files one after the other, in a process that is started when the first is asked for.

    ``expect`` says which files will be asked for, in this order, so that they are read ahead; ``read`` asks for one.
    Both are called by one thread. What is in ``cache`` is not read but taken from there. ``close`` ends the process; it
    also ends when it has nothing to do.
    """

    def __init__(self, cache: ExtractionCache | None = None) -> None:
        self._cache = cache
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()  # that at hand, then those expected
        self._todo: deque[_Job] = deque()  # of these, in the same order: those not begun
        self._expected: Counter[Request] = Counter()
        self._working: _Job | None = None
        self._held = 0  # bytes of lines that are not taken
        self._thread: threading.Thread | None = None
        self._closed = False
        self._process = ReadingProcess()

    def expect(self, requests: Iterable[Request]) -> None:
        """Read these ahead, after those expected before."""
        with self._changed:
            for request in requests:
                self._jobs.append(_Job(request))
                self._todo.append(self._jobs[-1])
                self._expected[request] += 1
            if self._jobs:
                self._begin()

    def read(self, request: Request, seen: Seen | None = None) -> Generator[Facts | Block]:
        """The facts and blocks of a file. Raises Unreadable with the reason.

        Nothing is yielded before the file is read to its end, or 8 MB of it: so of a damaged one no half is taken. It
        may have been read long before it is asked for: ``seen`` is told what it was then.
        """
        job = self._claim(request)
        try:
            finished, whole = False, True
            while not finished:
                with self._changed:
                    while not job.finished and job.held < WHOLE:
                        self._changed.wait()
                    lines, job.lines, job.taken = job.lines, [], True
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
            if seen is not None:
                seen.state = job.state
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
        """Read a file, which may have to be fetched first."""
        if job.request.remote is None:
            self._read_at_rest(job, job.request)
            return
        try:
            with job.request.remote.fetched() as path:
                self._read_at_rest(job, replace(job.request, path=path, size=path.stat().st_size))
        except CorpusError as error:
            job.reason = str(error).removeprefix(f"{job.request.remote.shown}: ")

    def _read_at_rest(self, job: _Job, request: Request) -> None:
        """Read a file, once more where it changed meanwhile, if nothing of it was taken yet."""
        for turn in range(2):
            job.state = state = FileState.of(request.path)
            if not self._attempt(job, request, state) or state is None or state.holds(request.path):
                return
            job.reason, job.state = CHANGED, None  # what it is now was not read
            if turn or not self._take_back(job):
                return
            job.reason = ""

    def _attempt(self, job: _Job, request: Request, state: FileState | None) -> bool:
        """Read a file, or what was kept of it; says whether it was read to its end."""
        cache = self._cache
        key = None if state is None or cache is None else cache.key(request, state.sha256)
        if cache is None or key is None:
            return self._process_file(job, request, Draft(None))
        kept = cache.find(key)
        if kept is not None:
            return all(self._put(job, line) for line in kept)
        with cache.keeping(key) as draft:
            done = self._process_file(job, request, draft)
            draft.is_complete = done and state is not None and state.holds(request.path)
            return done

    def _process_file(self, job: _Job, request: Request, draft: Draft) -> bool:
        """Let the process read a file, once more where it was killed by somebody else."""
        for turn in range(2):
            skip, seen = job.count, 0
            for line in self._process.lines(request):
                seen += 1
                if seen <= skip:
                    continue
                draft.put(line)
                if not self._put(job, line):
                    self._process.end()
                    return False
            job.reason = self._process.reason
            if not self._process.was_killed or turn or job.dropped:
                break
        return not job.reason

    def _take_back(self, job: _Job) -> bool:
        """Forget what was read of a file; says whether that is possible, as nothing of it was taken."""
        with self._changed:
            if job.taken or job.dropped:
                return False
            self._held -= job.held
            job.lines, job.held, job.count = [], 0, 0
            return True

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
