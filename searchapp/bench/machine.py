"""What the machine is and can do: its name, its matrix products a second, time and memory of a piece of work."""

from __future__ import annotations

import mmap
import os
import platform
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from searchapp.errors import SearchAppError
from searchapp.provenance import package_versions

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

SIZES = {"cpu": 2_048, "cuda": 8_192}  # side of the square matrices that are multiplied
REPEATS = 4
PACKAGES = ("torch", "transformers", "tokenizers", "sentence-transformers", "openvino")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")


@dataclass(frozen=True)
class Cost:
    """Seconds of a piece of work by the clock and by the processor (all threads), bytes of memory it added."""

    wall: float
    cpu: float
    memory: int


class Meter:
    """Measures the block it is entered for; ``cost`` is there when it is left."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._most = 0
        self._over = threading.Event()
        self.cost = Cost(0.0, 0.0, 0)

    def __enter__(self) -> Meter:
        self._settle()
        self._before = self._most = self._held()
        self._watch = threading.Thread(target=self._sample, daemon=True)
        self._watch.start()
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settle()
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        self._over.set()
        self._watch.join()
        self.cost = Cost(wall, cpu, max(self._most, self._held()) - self._before)

    def _settle(self) -> None:
        if self._device == "cuda":
            import torch

            torch.cuda.synchronize()
            if not self._most:
                torch.cuda.reset_peak_memory_stats()

    def _held(self) -> int:
        if self._device == "cuda":
            import torch

            return int(torch.cuda.max_memory_allocated())
        return resident()

    def _sample(self) -> None:
        while not self._over.wait(0.02):
            self._most = max(self._most, self._held())


def resident() -> int:
    """Bytes of memory that this process holds now; where the system does not say, the most it ever held."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * mmap.PAGESIZE
    except (OSError, ValueError, IndexError):
        if resource is None:
            raise SearchAppError(
                "this system does not say how much memory a process holds (no /proc, no module resource); "
                "run `searchapp bench` on Linux or macOS"
            ) from None
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def matmul_peak(dtype: str, device: str, clock: str) -> float:
    """Floating-point operations a second of the best of some square matrix products, by ``clock``: cpu or wall."""
    import torch

    size = SIZES[device]
    one = torch.randn(size, size, device=device).to(getattr(torch, dtype))
    best = 0.0
    with torch.inference_mode():
        torch.nn.functional.linear(one, one)
        for _ in range(REPEATS):
            with Meter(device) as meter:
                torch.nn.functional.linear(one, one)
            best = max(best, 2 * size**3 / getattr(meter.cost, clock))
    return best


def describe(device: str, threads: int) -> dict[str, Any]:
    """What the figures were measured on: processor or GPU, threads, memory, versions."""
    import torch

    processor, flags = platform.processor() or platform.machine(), ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        found = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
        fields = {key.strip(): value.strip() for key, value in found.items()}
        processor, flags = fields.get("model name", processor), fields.get("flags", "")
    except OSError:
        pass
    return {
        "device": torch.cuda.get_device_name(0) if device == "cuda" else "cpu",
        "processor": processor,
        "instructions": [flag for flag in FLAGS if flag in flags.split()],
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "versions": package_versions(PACKAGES),
    }
