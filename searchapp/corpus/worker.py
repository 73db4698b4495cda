"""The process that reads files of untrusted formats: requests in, a JSON line each, blocks out, a JSON line each.

``python -m searchapp.corpus.worker`` reads from standard input ``{"path": …, "format": …, "seconds": …}``, perhaps with
``passwords``. It writes for each the lines of ``block_lines``, then ``{"done": …}`` or ``{"unreadable": reason}``, both
with ``spent``: whether another process should read on. It may take 1 GiB of memory, write no file, and work the seconds
of a request. It ends when its input does. ``isolation`` is the parent's side.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from searchapp.corpus.block_lines import message, to_line
from searchapp.corpus.blocks import Block
from searchapp.corpus.formats.reading import Facts, Limits, Unreadable
from searchapp.corpus.formats.table import BY_NAME, recognise

MEMORY = 1 << 30  # bytes of address space
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
            limits = Limits(passwords=tuple(request.get("passwords", ())))
            for item in _read(Path(request["path"]), request["format"], limits):
                sink.write(to_line(item))
        except MemoryError:
            answer = {"unreadable": NO_MEMORY, "spent": True}
        except BrokenPipeError:
            return
        except Exception as error:  # whatever a parser meets, the next file is read
            answer = {"unreadable": _reason(error)}
        sink.write(message({"spent": _resident() > RESIDENT} | answer))
        sink.flush()


def _read(path: Path, name: str, limits: Limits) -> Iterator[Facts | Block]:
    """The blocks of a file by the reader that its content asks for; where its name says another, a note says so."""
    named = BY_NAME[name]
    found = recognise(path, named) or named
    if not found.is_installed:
        raise Unreadable(f"it is {found.label}, which needs `{found.command}`")
    if found.largest and (size := path.stat().st_size) > found.largest:
        most = f"at most {found.largest / 1e6:,.0f} MB of {found.label} are read"
        raise Unreadable(f"too large: {size / 1e6:,.0f} MB; {most}")
    yield from found.load()(path, limits)
    if found is not named:
        yield Facts(notes={f"files are {found.label} though named as {named.label}": 1})


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
    for name, most in (("RLIMIT_AS", MEMORY), ("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", 0)):
        limit = getattr(resource, name, None)
        if limit is not None:
            _, hard = resource.getrlimit(limit)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(limit, (most, most))


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
