"""Runs parts, each as a process group of its own with a time limit, and keeps one record of each as it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.page import table, write_page
from benchmarks.gpu.parts import BUDGET, Part
from benchmarks.gpu.record import read_lines, rows_file

ROOT = Path(__file__).resolve().parents[2]
RESULTS, LOG, TABLE, PAGE = "results.jsonl", "log.txt", "table.txt", "gpu.md"  # in the folder of the results
ENVIRONMENT = "environment.json"  # what set-up wants the parts after it to run with
TAIL = 2_000  # characters of a dead part's output that its record keeps
PATIENCE = {"cuda": 1.0, "cpu": 4.0}  # times the limits, which are for a card
LEAST = 5.0  # seconds; with less left of the budget no part is begun


def run_parts(
    parts: Sequence[Part], device: str, shapes: str, out: Path, *, budget: float = BUDGET, work: Path | None = None
) -> list[dict[str, Any]]:
    """Run parts one after another and return their records; each is in ``out`` before the next part begins.

    A record has ``part``, ``device``, ``shapes``, ``seconds``, ``figures`` (a list of rows) and, where the part did not
    come to its end, ``error``.
    """
    out.mkdir(parents=True, exist_ok=True)
    records = []
    patience = PATIENCE[device]
    ends = time.monotonic() + budget * patience
    with contextlib.ExitStack() as stack:
        if work is None:
            place = tempfile.TemporaryDirectory(prefix="searchapp-gpu-", ignore_cleanup_errors=True)
            work = Path(stack.enter_context(place))
        for part in parts:
            record = run_one(part, device, shapes, out, work, min(part.limit * patience, ends - time.monotonic()))
            records.append(record)
            with (out / RESULTS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
            shown = table([record])
            print(shown, flush=True)
            with (out / TABLE).open("a", encoding="utf-8") as file:
                file.write(shown + "\n")
            write_page(read_lines(out / RESULTS), out / PAGE)
    return records


def run_one(part: Part, device: str, shapes: str, out: Path, work: Path, limit: float) -> dict[str, Any]:
    """Run one part for at most ``limit`` seconds and return its record."""
    record: dict[str, Any] = {"part": part.name, "device": device, "shapes": shapes}
    if limit < LEAST:
        return {**record, "seconds": 0.0, "figures": [], "error": "not begun: the time for all parts was used up"}
    rows = rows_file(work, part.name)
    rows.unlink(missing_ok=True)
    began = time.monotonic()
    with (out / LOG).open("ab") as log:
        log.write(f"== {part.name}\n".encode())
        log.flush()
        start = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu", "part", part.name, "--module", part.module, "--device", device,
             "--shapes", shapes, "--out", str(out.resolve()), "--work", str(work.resolve())],
            cwd=ROOT, env=environment(work), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        error = _wait(process, limit)
    figures = read_lines(rows)
    record |= {"seconds": round(time.monotonic() - began, 2), "figures": figures}
    if error:
        own = next((row for row in figures if row["what"] == "the part itself"), None)
        tail = (out / LOG).read_bytes()[start:].decode("utf-8", "replace")[-TAIL:]
        record["error"] = own["error"] if own else error
        record["traceback"] = own["traceback"] if own else tail
    return record


def _wait(process: subprocess.Popen[bytes], limit: float) -> str:
    """Wait for a part and end everything that it started; return what was wrong, "" when nothing was."""
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        return f"ran past its limit of {limit:.0f} s and was killed"
    finally:  # also when the run itself is stopped
        _kill(process)
    if code < 0:
        return f"died of {signal.Signals(-code).name}"
    return f"ended with exit status {code}" if code else ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group of a part, whether or not the part itself still lives."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment(work: Path) -> dict[str, str]:
    """The environment of a part: ours, this checkout on the path, and what set-up has unpacked."""
    found = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true", "PYTHONUNBUFFERED": "1"}
    path = work / ENVIRONMENT
    extra: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    places = [str(ROOT), extra.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")]
    return found | extra | {"PYTHONPATH": os.pathsep.join(place for place in places if place)}
