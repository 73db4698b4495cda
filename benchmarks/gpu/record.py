"""What a part tells while it runs: a row at a time, on disk at once, so that what is killed leaves what it had."""

from __future__ import annotations

import gc
import json
import math
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.shapes import SHAPES, Shapes

Figures = dict[str, Any]


class SkippedError(Exception):
    """What cannot be measured here, with the reason."""


@dataclass(frozen=True)
class Run:
    """A part at work: on ``device`` (cuda or cpu), results to the folder ``out``, everything else below ``work``."""

    part: str
    device: str
    shapes: Shapes
    out: Path
    work: Path

    @property
    def rows(self) -> Path:
        """The file of the rows so far."""
        return rows_file(self.work, self.part)

    def row(self, what: str, **figures: Any) -> None:
        """Keep figures under a name."""
        with self.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, **{name: plain(value) for name, value in figures.items()}}) + "\n")

    def attempt(self, what: str, job: Callable[[], Figures]) -> Figures:
        """Keep what a job measures, why it could not, or the traceback it ends with; return its figures, if any.

        What one job fails at is no reason to leave out the next.
        """
        began = time.perf_counter()
        figures: Figures = {}
        try:
            figures = job()
            self.row(what, **figures)
        except SkippedError as reason:
            self.row(what, skipped=str(reason))
        except Exception as error:  # whatever it is, it is the result
            self.row(what, error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        free_memory()
        print(f"{self.part}: {what}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
        return figures


def rows_file(work: Path, part: str) -> Path:
    """Where the rows of a part are kept while it runs."""
    return work / f"{part}.rows.jsonl"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file; none where it is not there. A last line that was cut short is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def plain(value: Any) -> Any:
    """A figure as JSON takes it, with six digits; what is no number becomes None."""
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else float(f"{number:.6g}")


def free_memory() -> None:
    """Give back what a job left behind, on the GPU too."""
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None:
        torch.cuda.empty_cache()  # does nothing without CUDA


def run_part(module: str, run: Run) -> None:
    """Measure a part in this process. What it raises is left as a row too."""
    import importlib

    try:
        measure = importlib.import_module(module).measure
        gc.freeze()  # the libraries stay: each look for garbage would go through them
        measure(run)
    except BaseException as error:
        run.row("the part itself", error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        raise


def make_run(part: str, device: str, shapes: str, out: Path, work: Path) -> Run:
    """A run from what the command line says."""
    return Run(part, device, SHAPES[shapes], out, work)
