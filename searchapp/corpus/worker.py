"""The process that reads files of untrusted formats: requests in, a JSON line each, blocks out, a JSON line each.

``python -m searchapp.corpus.worker`` reads from standard input ``{"path": …, "format": …, "seconds": …}`` and writes
for each the lines of ``block_lines``, then ``{"done": …}`` or ``{"unreadable": reason}``, both with ``spent``: whether
another process should read on. It may take 1 GiB of memory, write no file, and work the seconds of a request. It ends
when its input does. ``isolation`` is the parent's side.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from searchapp.corpus.block_lines import message, to_line
from searchapp.corpus.blocks import Block
from searchapp.corpus.formats.reading import Facts, Limits, Unreadable
from searchapp.corpus.formats.table import BY_NAME, format_of, recognise

MEMORY = 1 << 30  # bytes of address space
ATTACHED = 64 << 20  # bytes of an attachment, which are kept in memory as a file for its reader
RESIDENT = 300_000  # kilobytes from which on a process is spent
NO_MEMORY = "needs more than 1 GB of memory to read"
_BUFFER = 1 << 16


def main() -> None:
    """Answer requests until there are no more."""
    source, sink = _streams()
    _limit()
    for line in source:
        request = json.loads(line)
        _allow(request["seconds"])
        answer: dict[str, Any] = {"done": True}
        try:
            for item in _read(Path(request["path"]), request["format"]):
                sink.write(to_line(item))
        except MemoryError:
            answer = {"unreadable": NO_MEMORY, "spent": True}
        except BrokenPipeError:
            return
        except Exception as error:  # whatever a parser meets, the next file is read
            answer = {"unreadable": _reason(error)}
        sink.write(message({"spent": _resident() > RESIDENT} | answer))
        sink.flush()


def _read(path: Path, name: str) -> Iterator[Facts | Block]:
    """The blocks of a file by the reader that its content asks for; where its name says another, a note says so."""
    named = BY_NAME[name]
    found = recognise(path, named) or named
    if not found.is_installed:
        raise Unreadable(f"it is {found.label}, which needs `{found.command}`")
    notes = Counter() if found is named else Counter({f"files are {found.label} though named as {named.label}": 1})
    if found.attaches:
        yield from found.load()(path, Limits(), _Attachments(notes).read)
    else:
        yield from found.load()(path, Limits())
    if notes:
        yield Facts(notes=dict(notes))


class _Attachments:
    """Reads what is attached to a message by the reader of its format; what cannot be read is counted."""

    def __init__(self, notes: Counter[str]) -> None:
        self._notes = notes

    def read(self, name: str, data: bytes) -> Iterator[Facts | Block]:
        """The blocks of an attachment; none where there is no reader for it."""
        format = format_of(name)
        if format is None or not format.isolated or not format.is_installed:
            self._notes["attachments not read"] += 1
            return
        try:
            with _in_memory(data) as path:
                yield from (recognise(path, format) or format).load()(path, Limits())
        except (Unreadable, OSError, ValueError):
            self._notes["attachments not read"] += 1


@contextmanager
def _in_memory(data: bytes) -> Iterator[Path]:
    """A path at which these bytes can be read, for a while. No file is written: what stands there is memory."""
    if len(data) > ATTACHED:
        raise Unreadable("larger than 64 MB")
    handle = os.memfd_create("attachment")
    try:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        try:
            for start in range(0, len(data), 1 << 20):
                os.write(handle, data[start : start + (1 << 20)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        yield Path(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def _reason(error: Exception) -> str:
    """Why a file could not be read, in one line."""
    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    if isinstance(error, RecursionError):
        return "nested too deep"
    if isinstance(error, ModuleNotFoundError):
        return f"its reader needs the package {error.name}, which is not installed"
    return f"damaged: {type(error).__name__}: {' '.join(str(error).split())}"[:200]


def _streams() -> tuple[IO[bytes], IO[bytes]]:
    """Requests and answers. What a library prints goes nowhere: it would stand among the answers."""
    sink = os.fdopen(os.dup(1), "wb", _BUFFER)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return sys.stdin.buffer, sink


def _limit() -> None:
    """Take the rights that no reader needs: memory without end, files to write, a core to dump."""
    try:
        import resource
    except ImportError:  # a system without limits
        return
    limits = (("RLIMIT_AS", MEMORY, MEMORY), ("RLIMIT_FSIZE", 0, ATTACHED), ("RLIMIT_CORE", 0, 0))
    for name, soft, most in limits:
        limit = getattr(resource, name, None)
        if limit is not None:
            _, hard = resource.getrlimit(limit)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(limit, (min(soft, most), most))


def _allow(seconds: float) -> None:
    """Let the process work so many more seconds of processor time; past them the system ends it."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    until = int(used.ru_utime + used.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (until if hard == resource.RLIM_INFINITY else min(until, hard), hard))


def _resident() -> int:
    """The most memory that this process has had, in kilobytes.

    Where there is no /proc, the process that started this one counts too: what it had is inherited.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // 1024 if sys.platform == "darwin" else most


if __name__ == "__main__":
    main()
