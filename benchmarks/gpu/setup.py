"""Set-up: unpack what was carried, say what is there and what is missing, and measure the card itself."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu.carry import FOLDER, NEEDED
from benchmarks.gpu.record import Figures, Run, SkippedError
from benchmarks.gpu.runner import ENVIRONMENT, ROOT, environment

CARRIED = "GPU_CARRY"  # variable: another folder than the usual one
# One interpreter is asked for all modules. What was carried, and FAISS, are imported: the rest is the machine's own.
PROBE = """
import importlib, importlib.metadata, importlib.util, json, sys
found = {}
for name, package, tried in json.loads(sys.argv[1]):
    try:
        if tried:
            importlib.import_module(name)
        elif importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}")
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = str(getattr(sys.modules.get(name), "__version__", "present"))
    except Exception as error:
        found[package] = {"missing": f"{type(error).__name__}: {error}"}
print(json.dumps(found))
"""


def measure(run: Run) -> None:
    """Unpack, look, measure."""
    carried = Path(os.environ.get(CARRIED, ROOT / FOLDER))
    run.attempt("carried wheels", lambda: unpack_wheels(run, carried / "wheels"))
    run.attempt("FAISS for GPUs", lambda: assemble_faiss(run, carried / "faissgpu" / "p1"))
    run.attempt("packages", lambda: packages(run))
    run.attempt("driver", driver)
    run.attempt("PyTorch", pytorch)
    run.attempt("card", lambda: card(run))


def unpack_wheels(run: Run, wheels: Path) -> Figures:
    """Unpack carried wheels into a folder of this run; the parts that follow have it on their path.

    A wheel is an archive that is used as it is unpacked: nothing is installed, and one that does not fit this Python
    keeps no other from being used; what cannot be imported is then named as missing.
    """
    found = sorted(wheels.glob("*.whl"))
    if not found:
        raise SkippedError(f"no wheels in {wheels.parent.name}/wheels")
    to = run.work / "site"
    for wheel in found:
        zipfile.ZipFile(wheel).extractall(to)
    remember(run, PYTHONPATH=str(to))
    return {"wheels": len(found)}


def assemble_faiss(run: Run, kit: Path) -> Figures:
    """Unpack the carried FAISS and take over the environment that it asks for."""
    if not (kit / "assemble.sh").exists():
        raise SkippedError(f"{kit.parent.name}/{kit.name} was not carried; FAISS is what the machine has, if any")
    place = run.work / "faiss"
    told = {**environment(run.work), "SITE": str(place)}
    subprocess.run(["sh", str(kit / "assemble.sh")], check=True, env=told, stdin=subprocess.DEVNULL)
    shown = subprocess.run(
        ["sh", "-c", f". '{place}/env.sh' && printf '%s\\n%s' \"$PYTHONPATH\" \"$FAISS_CUBLAS13\""],
        check=True, env={**told, "PYTHONPATH": ""}, capture_output=True, text=True,
    )  # fmt: skip
    path, _, cublas = shown.stdout.partition("\n")
    known = saved(run).get("PYTHONPATH", "")
    remember(run, PYTHONPATH=os.pathsep.join(part for part in (path, known) if part), FAISS_CUBLAS13=cublas)
    return {"cublas": cublas or "not found"}


def saved(run: Run) -> dict[str, str]:
    """What the parts will find in their environment so far."""
    path = run.work / ENVIRONMENT
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def remember(run: Run, **values: str) -> None:
    """Add to the environment of the parts that follow."""
    (run.work / ENVIRONMENT).write_text(json.dumps(saved(run) | values), encoding="utf-8")


def packages(run: Run) -> Figures:
    """Versions of what is needed, and a line for each package that is missing."""
    asked = json.dumps([(item.module, item.package, item.carried or item.module == "faiss") for item in NEEDED])
    answer = subprocess.run(
        [sys.executable, "-c", PROBE, asked], check=True, env=environment(run.work), capture_output=True, text=True
    )
    found = json.loads(answer.stdout.splitlines()[-1])
    missing = [missing_line(item.package, found[item.package]["missing"], item.used)
               for item in NEEDED if isinstance(found[item.package], dict)]  # fmt: skip
    versions = {name: value for name, value in found.items() if not isinstance(value, dict)}
    return {"python": platform.python_version(), **versions, "missing": missing}


def missing_line(package: str, why: str, used: str) -> str:
    """What a person has to do about a package."""
    how = "take it from the machine's own image" if package in ("torch", "numpy") else "python -m benchmarks.gpu carry"
    return f"missing: {package} ({why}), for {used}; {how}"


def driver() -> Figures:
    """The driver's own words."""
    query = "nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader"
    shown = subprocess.run(["sh", "-c", query], capture_output=True, text=True)
    lines = shown.stdout.strip().splitlines()
    return {"cards": len(lines) if not shown.returncode else 0, "says": (lines or ["no nvidia-smi"])[0]}


def pytorch() -> Figures:
    """How PyTorch was built, and which attention kernels it has."""
    import torch
    from torch.nn.attention import varlen

    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda or "none",
        "sees_gpus": torch.cuda.device_count(),
        "varlen_attn": hasattr(varlen, "varlen_attn"),
        "flash_attn": find_spec("flash_attn") is not None,
    }


def card(run: Run) -> Figures:
    """What the device is, its matrix products in bfloat16, and its memory's bandwidth."""
    from benchmarks.gpu.machine import copy_rate, describe, matmul_rate

    about = describe(run.device)
    rate, copied = matmul_rate(run.device, run.shapes.matrix), copy_rate(run.device, run.shapes.copied)
    return {**about, "bf16_tflops": rate / 1e12, "copy_tb_per_s": copied / 1e12}
