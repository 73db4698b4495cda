"""Everything the program prints goes through here: results to standard output, all else to standard error."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from typing import Any

from searchapp.errors import SearchAppError, is_disk_full, reason_of

NOTICES = "searchapp.cli"  # the logger of what the program itself says
# Our own codes travel as surrogates, which no document can hold: `say` alone makes escapes, so none comes from a text.
BOLD, DIM, GREEN, RED, RESET = "\ud801", "\ud802", "\ud803", "\ud804", "\ud800"
LINK, LINKED, UNLINK = "\ud805", "\ud806", "\ud807"  # around an address and a text: `links` puts them
ESCAPES = {
    BOLD: "\x1b[1m", DIM: "\x1b[2m", GREEN: "\x1b[32m", RED: "\x1b[31m", RESET: "\x1b[0m",
    LINK: "\x1b]8;;", LINKED: "\x1b\\", UNLINK: "\x1b]8;;\x1b\\",
}  # fmt: skip
ORDERING = "\u202a-\u202e\u2066-\u2069"  # they show what follows them, on a line also ours, in another order
CONTROLS = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{ORDERING}]")  # C0 but for tab and newline, DEL, C1
NO_JSON = re.compile(
    f"[\x7f-\x9f\ud800-\udfff{ORDERING}]"
)  # what json.dumps leaves as it is and a terminal must not get


class OutputClosedError(Exception):
    """Nobody reads standard output any more. No OSError, because typer takes a broken pipe for itself."""


def plain(text: str) -> str:
    """Drop what a terminal would obey: control characters, and those that reorder a line.

    Lone surrogates, as in odd paths, become ``?``.
    """
    return CONTROLS.sub("", text).encode("utf-8", "replace").decode("utf-8")


def say(text: str = "") -> None:
    """A line of result. Raises OutputClosedError, or SearchAppError when standard output cannot be written."""
    pieces = re.split(f"([{''.join(ESCAPES)}])", text)
    _put("".join(ESCAPES.get(piece) or plain(piece) for piece in pieces))


def say_json(content: Any) -> None:
    """One JSON value on one line, in ASCII where standard output is not UTF-8. Raises as ``say`` does."""
    line = json.dumps(content, ensure_ascii=not _is_utf8())
    _put(NO_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", line))


def _put(line: str) -> None:
    with _writing():
        sys.stdout.write(line + "\n")


def _is_utf8() -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8")


def accept_all_characters() -> None:
    """Let a terminal that is not UTF-8 show ``?`` for the characters it lacks, where Python would raise."""
    if not _is_utf8() and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")


def flush() -> None:
    """Write out what ``say`` has gathered. Raises as ``say`` does."""
    with _writing():
        sys.stdout.flush()


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise OutputClosedError from error
    except OSError as error:
        raise SearchAppError(
            f"standard output cannot be written: {reason_of(error)}; "
            f"send it {'where there is room' if is_disk_full(error) else 'to a file, or somewhere else'}"
        ) from error


def flush_output() -> None:
    """Flush standard output a last time; what cannot be written is dropped, or the interpreter would complain of it."""
    try:
        sys.stdout.flush()
    except OSError:
        _drop(sys.stdout.fileno())


def _drop(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def notice(text: str) -> None:
    """A line of news, at level ``info`` of the program's logger. That nobody reads it is no reason to stop."""
    _log("INFO", text)


def complain(text: str, error: BaseException | None = None, *, fold: bool = True) -> None:
    """One line that says what is wrong, after the traceback of an error that is given.

    ``fold=False`` keeps the white space, as in a quoted path.
    """
    _log("ERROR", "searchapp: error: " + (" ".join(text.split()) if fold else text), error)


def _log(level: str, text: str, error: BaseException | None = None) -> None:
    import logging

    if logging.getLogger("searchapp").handlers:
        logging.getLogger(NOTICES).log(getattr(logging, level), "%s", text, exc_info=error)
    else:  # a part of the program that runs without the rest
        write_line(text)


def write_line(text: str) -> None:
    """A line on standard error; where it cannot be written, it is dropped."""
    try:
        sys.stderr.write(plain(text) + "\n")
        sys.stderr.flush()
    except OSError:
        _drop(sys.stderr.fileno())


def style(text: str, *codes: str) -> str:
    """Colour a piece of text where standard output is a terminal and colours are wanted."""
    if not text or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return "".join(codes) + text + RESET


def width() -> int:
    """Columns to print in: the terminal's, between 60 and 110."""
    return max(60, min(110, shutil.get_terminal_size((100, 24)).columns))


def table(rows: list[list[str]]) -> str:
    """Lay out rows in columns; the first row is the head, columns after the first are flush right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [
            cell.ljust(wide) if column == 0 else cell.rjust(wide)
            for column, (cell, wide) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append("  ".join("-" * wide for wide in widths))
    return "\n".join(lines)


def plural(count: int, noun: str) -> str:
    """A number with its noun: 1 document, 2,000 documents."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def bytes_text(size: float) -> str:
    """A size as people read it: 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def seconds_text(seconds: float) -> str:
    """A duration as people read it: 850 ms, 12.3 s, 4 min 05 s, 2 h 48 min."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3_600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3_600)} h {int(seconds % 3_600 // 60):02d} min"
