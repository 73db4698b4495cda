"""Print the percent of time that this machine's processors were busy, ten times a second: nvidia-smi's stand-in."""

from __future__ import annotations

import sys
import time
from pathlib import Path


def times() -> tuple[int, int]:
    """Busy and all ticks since the machine was started (Linux, /proc/stat)."""
    fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


if __name__ == "__main__":
    before = times()
    while True:
        time.sleep(0.1)
        now = times()
        if now[1] > before[1]:
            sys.stdout.write(f"{100 * (now[0] - before[0]) // (now[1] - before[1])}\n")
            sys.stdout.flush()
        before = now
