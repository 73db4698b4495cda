"""A part of the GPU run that does not come to its end, in the way its name says."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from benchmarks.gpu.record import Run, SkippedError


def measure(run: Run) -> None:
    """Leave a row and a process, then fail."""
    run.row("before", value=1.5, none=float("nan"), nested={"list": [1, True, "text"]})
    if run.part == "hangs":
        child = subprocess.Popen(["sleep", "600"])
        (run.out / "child").write_text(str(child.pid))
        time.sleep(600)
    if run.part == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if run.part == "raises":
        raise ValueError("what the part says")
    if run.part == "half":
        run.attempt("fails", lambda: {"never": 1 / 0})
        run.attempt("is left out", _skipped)
        run.attempt("works", lambda: {"figure": 2})


def _skipped() -> dict[str, float]:
    raise SkippedError("nothing to measure with")
