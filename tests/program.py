"""Starting the program as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Outcome:
    """How a run of the program ended and what it wrote."""

    code: int
    out: str
    err: str


def start(*arguments: object, cwd: Path | None = None) -> subprocess.Popen[str]:
    """Start the program in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "searchapp", *map(str, arguments)], cwd=cwd, env={**os.environ}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
