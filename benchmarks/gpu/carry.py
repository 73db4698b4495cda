"""What a machine with CUDA and PyTorch, and no network, lacks: gathered as one folder, and listed with sizes.

``.gpu/wheels`` are wheels of small packages, ``.gpu/faissgpu`` FAISS for GPUs as the kit makes it portable. Wheels are
chosen for the Python of that machine (``--python-version``, which ``python3 --version`` says there), not of this one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(".gpu")
KIT = Path("../shared/gpukit")
PYTHON_VERSION = "3.12"
LIMIT = 60 << 20  # bytes of the checkout and everything carried
CONSTRAINTS = Path("constraints.txt")
GLIBC = (39, 35, 34, 31, 28, 27, 24, 17, 12, 5)  # manylinux_2_N, as pip wants each of them named


@dataclass(frozen=True)
class Need:
    """A module, the package it is in, what asks for it, and whether it is carried: small, and seldom beside PyTorch."""

    module: str
    package: str
    used: str
    carried: bool = False


NEEDED = (
    Need("torch", "torch", "everything"),
    Need("numpy", "numpy", "everything"),
    Need("transformers", "transformers", "every model"),
    Need("tokenizers", "tokenizers", "every model"),
    Need("safetensors", "safetensors", "every model"),
    Need("huggingface_hub", "huggingface_hub", "every model"),
    Need("pyarrow", "pyarrow", "every index, and Parquet"),
    Need("faiss", "faiss-gpu", "every index; carried by the kit"),
    Need("peft", "peft", "adapters and training"),
    Need("accelerate", "accelerate", "training"),
    Need("matplotlib", "matplotlib", "the curve of a training run"),
    Need("sentence_transformers", "sentence-transformers", "a rival of encoding"),
    Need("pytest", "pytest", "the part pytest"),
    Need("hypothesis", "hypothesis", "the part pytest"),
    Need("typer", "typer", "the command line"),
    Need("tqdm", "tqdm", "the command line"),
    Need("psutil", "psutil", "accelerate"),
    Need("prompt_toolkit", "prompt_toolkit", "the command line", True),
    Need("wcwidth", "wcwidth", "prompt_toolkit", True),
    Need("bm25s", "bm25s", "the BM25 part of an index", True),
    Need("Stemmer", "PyStemmer", "the BM25 part of an index", True),
    Need("filelock", "filelock", "locks, and the hub's cache", True),
    Need("regex", "regex", "the words of BM25", True),
    Need("yaml", "PyYAML", "front matter, and the hub's cache", True),
    Need("ir_measures", "ir_measures", "evaluation", True),
    Need("datasets", "datasets", "training", True),
    Need("dill", "dill", "datasets", True),
    Need("multiprocess", "multiprocess", "datasets", True),
    Need("xxhash", "xxhash", "datasets", True),
)


def carry(to: Path, kit: Path, python_version: str) -> int:
    """Gather the folder and list it; return 0, or 1 when something could not be had or all is too large."""
    failed = [*fetch_wheels(to / "wheels", python_version), *prepare_faiss(to / "faissgpu", kit)]
    total = listing(to)
    failed += [f"{total / 2**20:.1f} MiB in all, more than {LIMIT >> 20}; carry less"] if total > LIMIT else []
    for line in failed:
        print(line, file=sys.stderr)
    return int(bool(failed))


def fetch_wheels(to: Path, python_version: str) -> list[str]:
    """Download the carried packages at the versions of constraints.txt; return a line for each that cannot be had."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    pinned = dict(line.split("==") for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if "==" in line)
    platforms = [f"--platform=manylinux_2_{version}_x86_64" for version in GLIBC]
    failed = []
    for need in (need for need in NEEDED if need.carried):
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--implementation=cp",
             f"--python-version={python_version}", *platforms, "--platform=manylinux2014_x86_64", "-d", str(to),
             f"{need.package}=={pinned[need.package]}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            failed.append(f"{need.package} has no wheel for Python {python_version}: {reason}")
    return failed


def prepare_faiss(to: Path, kit: Path) -> list[str]:
    """Make FAISS for GPUs portable by the kit, unless it is there already; a line when that fails."""
    if (to / "p1").exists():
        return []
    script = kit / "prepare.sh"
    if not script.exists():
        return [f"FAISS for GPUs is not carried: there is no {script}; name the kit's folder with --kit"]
    done = subprocess.run(["sh", str(script), str(to)], stdin=subprocess.DEVNULL)
    return [f"FAISS for GPUs is not carried: {script} ended with {done.returncode}"] if done.returncode else []


def listing(to: Path) -> int:
    """Print what travels, with sizes; return their sum in bytes, the checkout's tracked files among them."""
    sizes: dict[str, int] = {}
    for path in sorted([*to.glob("wheels/*"), *to.glob("faissgpu/*")]):
        files = [path, *path.rglob("*")]
        sizes[str(path)] = sum(file.stat().st_size for file in files if file.is_file())
    tracked = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True).stdout.split("\0")
    sizes["the checkout"] = sum(Path(name).stat().st_size for name in tracked if name and Path(name).is_file())
    sizes["in all"] = sum(sizes.values())
    for name, size in sizes.items():
        print(f"{size / 2**20:8.2f} MiB  {name}")
    return sizes["in all"]
