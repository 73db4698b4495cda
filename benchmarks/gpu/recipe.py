"""The recipe: `searchapp adapt run` in one command, with its checkpoints brought out while it runs.

Here it is the small shipped recipe on the bundled model, over texts of the standard library: what it learns is of no
worth. A real model and its data take the places of ``BASE`` and of the files; nothing else has to change.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.gpu.record import Figures, Run
from benchmarks.gpu.runner import ROOT, environment
from benchmarks.gpu.texts import write_lines, write_pairs

RECIPE, BASE = "small", "bundled"
STAGES = ("mntp", "simcse", "supervised")
SAVED = ("run.json", "encoder.json", "history.json", "adapter_config.json", "adapter_model.safetensors")
PIECE, PIECES = 15 << 20, 4  # bytes of a piece, and how many at most: with the other results no more than eight files
ENTRY, ENDING = 2_048, 20_480  # bytes that a file takes in a tar beside its own, at most; bytes of a tar's end
EVERY = 2.0  # seconds between two looks


def measure(run: Run) -> None:
    """Run the recipe."""
    run.attempt("searchapp adapt run", lambda: trained(run))


def trained(run: Run) -> Figures:
    """Run the command; whenever there is something new, put what it has saved into the results."""
    to, steps = run.work / "recipe", run.shapes.recipe
    size = min(16, 4 * steps)
    texts = write_lines(run, size * (4 + steps), run.work / "recipe.txt")
    pairs = write_pairs(run, size * (1 + steps), run.work / "recipe.jsonl")
    changes = [f"base={BASE}", f"mntp.text={texts}", f"simcse.text={texts}", f"supervised.pairs={pairs}"]
    for stage in STAGES:
        changes += [f"{stage}.device={run.device}", f"{stage}.steps={steps}", f"{stage}.warmup_steps=0",
                    f"{stage}.save_steps={max(1, steps // 2)}", f"{stage}.batch_size={size}"]  # fmt: skip
    command = [sys.executable, "-m", "searchapp", "adapt", "run", RECIPE, "--to", str(to)]
    command += [part for change in changes for part in ("--set", change)]
    began = time.perf_counter()
    saved = Saved(to, run.out)
    process = subprocess.Popen(command, cwd=ROOT, env=environment(run.work), stdin=subprocess.DEVNULL)
    while (code := process.poll()) is None:
        saved.look()
        time.sleep(EVERY if run.device == "cuda" else 0.2)
    saved.look()
    if code:
        raise RuntimeError(f"searchapp adapt run ended with exit status {code}; log.txt has what it said")
    return {"seconds": time.perf_counter() - began, "stages": len(STAGES), "steps": steps, **saved.figures()}


class Saved:
    """Files of a directory, as a tar in pieces in the folder of the results; what finds no room there is left out.

    ``order`` puts first what is saved before the rest; by it None is never saved.
    """

    def __init__(self, source: Path, out: Path, order: Callable[[Path], tuple[int, ...] | None] | None = None) -> None:
        self._source, self._out, self._order = source, out, order or named
        self._seen = ""
        self._times = 0
        self._left_out = 0
        self._pieces: list[int] = []

    def look(self) -> None:
        """Write the pieces anew when there is something else to save: results of stages, and the last checkpoints."""
        try:
            ranked = [(rank, path) for path in self._source.rglob("*") if (rank := self._order(path)) is not None]
            found = [path for _, path in sorted(ranked)]
            stamps = [(str(path), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in found]
            seen = hashlib.sha256(repr(stamps).encode()).hexdigest()
            if not found or seen == self._seen:
                return
            packed, room, left_out = io.BytesIO(), PIECE * PIECES - ENDING, 0
            with tarfile.open(fileobj=packed, mode="w") as file:
                for path in found:
                    size = path.stat().st_size + ENTRY
                    if size > room:
                        left_out += 1
                        continue
                    room -= size
                    file.add(path, arcname=str(path.relative_to(self._source)))
        except FileNotFoundError:  # a checkpoint was removed for a newer one meanwhile: the next look finds that
            return
        self._seen, self._times, self._left_out = seen, self._times + 1, left_out
        self._write(packed.getvalue())

    def _write(self, content: bytes) -> None:
        pieces = [content[begin : begin + PIECE] for begin in range(0, len(content), PIECE)]
        for number, piece in enumerate(pieces):
            draft = self._out / f".recipe.tar.{number}"
            draft.write_bytes(piece)
            draft.replace(self._out / f"recipe.tar.{number}")
        self._pieces = [len(piece) for piece in pieces]

    def figures(self) -> Figures:
        """How often something was saved, how large it is now, and how many files found no room."""
        pieces = {"pieces": len(self._pieces), "bytes": sum(self._pieces)}
        return {"times_saved": self._times, **pieces, "left_out": self._left_out}


def named(path: Path) -> tuple[int, ...] | None:
    """The order of a recipe's files: records and settings before adapters, those of whole stages first."""
    return (SAVED.index(path.name), "checkpoints" in path.parts) if path.name in SAVED else None
