"""The command line: ``run``, ``part`` (which ``run`` starts), ``carry`` and ``page``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.carry import FOLDER, KIT, PYTHON_VERSION, carry
from benchmarks.gpu.page import DOCUMENT, write_page
from benchmarks.gpu.parts import NAMED, PARTS
from benchmarks.gpu.record import make_run, read_lines, run_part
from benchmarks.gpu.runner import run_parts
from benchmarks.gpu.shapes import SHAPES

DEVICES = ("cuda", "cpu")


def main(given: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: 0, or 1 when a part or anything in it failed."""
    options = _parser().parse_args(given)
    match options.command:
        case "run":
            wanted = [name for text in options.part or () for name in text.split(",")]
            kept = {PARTS[0].name, *wanted} if wanted else {part.name for part in PARTS}
            chosen = [part for part in (*PARTS, *NAMED) if part.name in kept]
            if unknown := sorted(set(wanted) - {part.name for part in chosen}):
                known = ", ".join(part.name for part in (*PARTS, *NAMED))
                print(f"there is no part {unknown[0]!r}; expected one of {known}", file=sys.stderr)
                return 2
            records = run_parts(chosen, options.device, options.shapes, options.out)
            return int(any("error" in found for record in records for found in (record, *record["figures"])))
        case "part":
            run = make_run(options.name, options.device, options.shapes, options.out, options.work)
            run_part(options.module, run)
        case "carry":
            return carry(options.to, options.kit, options.python_version)
        case "page":
            write_page(read_lines(options.results), options.to)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Measure what a GPU does.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the parts")
    run.add_argument("--part", action="append", help="only this one, after set-up; repeat it, or put commas")
    part = commands.add_parser("part", help="run one part in this process, as `run` does")
    part.add_argument("name")
    part.add_argument("--module", required=True)
    part.add_argument("--work", type=Path, required=True)
    for command in (run, part):
        command.add_argument("--device", choices=DEVICES, default="cuda")
        command.add_argument("--shapes", choices=list(SHAPES), default="full")
        command.add_argument("--out", type=Path, default=Path("runs/gpu"), help="where results go")
    carried = commands.add_parser("carry", help="gather what the GPU machine lacks")
    carried.add_argument("--to", type=Path, default=FOLDER)
    carried.add_argument("--kit", type=Path, default=KIT, help="the folder that makes faiss-gpu portable")
    carried.add_argument("--python-version", default=PYTHON_VERSION, help="of the GPU machine: python3 --version there")
    page = commands.add_parser("page", help="write the page of the results")
    page.add_argument("results", type=Path)
    page.add_argument("--to", type=Path, default=DOCUMENT)
    return parser
