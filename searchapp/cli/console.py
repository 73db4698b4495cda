"""Everything the program prints goes through here: results to standard output, all else to standard error."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any

BOLD, DIM, GREEN, RESET = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[0m"


def say(text: str = "") -> None:
    """A line of result."""
    sys.stdout.write(text + "\n")


def say_json(content: Any) -> None:
    """One JSON value on one line."""
    say(json.dumps(content, ensure_ascii=False))


def notice(text: str) -> None:
    """A line of news."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def complain(text: str) -> None:
    """One line that says what is wrong."""
    notice("searchapp: error: " + " ".join(text.split()))


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


def bytes_text(size: float) -> str:
    """A size as people read it: 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def seconds_text(seconds: float) -> str:
    """A duration as people read it: 850 ms, 12.3 s, 4 min 05 s."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
