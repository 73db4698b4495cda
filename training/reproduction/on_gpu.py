"""The part ``reproduction`` of ``make gpu``: what is missing of the reproduction, brought out while it is made.

The parts that ``travel`` packed lie in ``.gpu/reproduction``. The results of cells, records and adapters are in
``recipe.tar.*`` of the folder of the results, written anew whenever there is something more: what is killed loses only
what it was at.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu.carry import FOLDER
from benchmarks.gpu.recipe import EVERY, SAVED, Saved
from benchmarks.gpu.record import Figures, Run
from benchmarks.gpu.runner import ROOT, environment
from training.reproduction.travel import unpack

PARTS, WORK = "reproduction", "GPU_WORK"  # below FOLDER; variable: where what was made stays for the next run
MINUTES, TINY_CELLS = 7.5, 2  # of the part's limit, after what is begun must not begin; cells of a trial on a CPU


WANTED = ("mntp+supervised", "mntp", "mntp+simcse")  # the adapters that are brought out first


def ordered(path: Path) -> tuple[int, ...] | None:
    """The order of what is brought out: results and records, adapters that are wanted, then the rest."""
    if path.suffix == ".json" and "kept" not in path.parts:
        return (0, 0, 0)
    if path.name not in SAVED:
        return None
    wanted = [place for place, name in enumerate(WANTED) if name in path.parts]
    return (1, "checkpoints" in path.parts, *(wanted or [len(WANTED)]))


def measure(run: Run) -> None:
    """Go on with the reproduction."""
    run.attempt("python -m training.reproduction next", lambda: gone_on(run))


def gone_on(run: Run) -> Figures:
    """Run the command, and save what it makes."""
    home = Path(os.environ.get(WORK, ROOT / "runs" / "gpu-reproduction"))
    base, data = unpack(Path(os.environ.get("GPU_CARRY", ROOT / FOLDER)) / PARTS, home / "carried")
    made = home / "made"
    command = [sys.executable, "-m", "training.reproduction", "--base", str(base), "--data", str(data)]
    command += ["--work", str(made), "--results", str(made / "results"), "next", "--minutes", str(MINUTES)]
    command += ["--cells", str(TINY_CELLS)] if run.shapes.name == "tiny" else []
    began = time.perf_counter()
    saved = Saved(made, run.out, ordered)
    process = subprocess.Popen(  # noqa: S603 - this interpreter
        command, cwd=ROOT, env=environment(run.work), stdin=subprocess.DEVNULL
    )
    while (code := process.poll()) is None:
        saved.look()
        time.sleep(EVERY)
    saved.look()
    if code:
        raise RuntimeError(f"the command ended with exit status {code}; log.txt has what it said")
    cells = len(list((made / "results").glob("*.json")))
    return {"seconds": time.perf_counter() - began, "cells": cells, **saved.figures()}
