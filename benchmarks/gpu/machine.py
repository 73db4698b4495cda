"""Clocks, rates, memory and idle share of a device: ``cuda`` or ``cpu``, the same for both."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

WARM, TIMED = 3, 10
# One line of percent every tenth of a second. Where nvidia-smi is absent there is no line, and no share.
SAMPLERS = {
    "cuda": "exec nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits --loop-ms=100",
    "cpu": f"exec '{sys.executable}' '{Path(__file__).with_name('load.py')}'",
}


def settle(device: str) -> None:
    """Wait until the device has done all it was given."""
    torch.get_device_module(device).synchronize()


def seconds(job: Callable[[], object], device: str, times: int = 1) -> float:
    """Mean seconds of a call by the wall clock, the device's work included."""
    settle(device)
    began = time.perf_counter()
    for _ in range(times):
        job()
    settle(device)
    return (time.perf_counter() - began) / times


def matmul_rate(device: str, side: int, dtype: torch.dtype = torch.bfloat16) -> float:
    """Floating-point operations a second of a product of square random matrices."""
    one = torch.randn(side, side, device=device).to(dtype)
    seconds(lambda: one @ one, device, WARM)
    return 2 * side**3 / seconds(lambda: one @ one, device, TIMED)


def copy_rate(device: str, size: int) -> float:
    """Bytes a second, read and written, of a copy within the device's memory."""
    one = torch.zeros(size // 4, dtype=torch.float32, device=device)
    other = torch.empty_like(one)
    seconds(lambda: other.copy_(one), device, WARM)
    return 2 * size / seconds(lambda: other.copy_(one), device, TIMED)


def peak_memory(device: str) -> int:
    """The most bytes taken since ``forget_peak``: on the GPU, or on a CPU by this process in its life."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())  # on a GPU only
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak(device: str) -> None:
    """Begin to count ``peak_memory`` anew, on a GPU."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()  # on a GPU only


def describe(device: str) -> dict[str, Any]:
    """What the card is called, and its memory; of a CPU its threads."""
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)  # on a GPU only
        return {"name": card.name, "memory": card.total_memory}  # on a GPU only
    return {"name": "cpu", "threads": torch.get_num_threads()}


class Idle:
    """Samples how busy the device is, by a program beside this one, while it is entered.

    On a GPU a sample is nvidia-smi's utilisation, the share of the time since the last one in which a kernel ran.
    """

    def __init__(self, device: str) -> None:
        self._command = SAMPLERS[device]
        self._samples: list[tuple[float, float]] = []

    def __enter__(self) -> Idle:
        self._process = subprocess.Popen(
            ["sh", "-c", self._command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def _read(self) -> None:
        for line in self._process.stdout or ():
            if (text := line.split("\n")[0].strip()).isdigit():
                self._samples.append((time.perf_counter(), int(text) / 100))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join(5)

    def share(self, begin: float, end: float) -> float | None:
        """Share of the time between two readings of ``perf_counter`` in which nothing ran; None without a sample."""
        within = [busy for moment, busy in self._samples if begin <= moment <= end]
        return 1 - sum(within) / len(within) if within else None


def idle_by_profiler(job: Callable[[], object], device: str) -> float:
    """Share of a call's time in which no kernel ran, by torch's profiler, which slows the host side down itself."""
    from torch.profiler import ProfilerActivity, profile

    kind = {"cuda": ProfilerActivity.CUDA, "cpu": ProfilerActivity.CPU}[device]
    field = {"cuda": "self_device_time_total", "cpu": "self_cpu_time_total"}[device]
    settle(device)
    with profile(activities=[kind]) as profiled:
        took = seconds(job, device)
    busy: float = sum(getattr(event, field) for event in profiled.key_averages()) / 1e6
    return 1 - busy / took
