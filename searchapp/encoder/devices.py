"""Where a model runs and in what precision: names as the command line has them, resolved for this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from searchapp.errors import ModelError

BACKENDS = ("torch", "openvino", "numpy", "auto")
DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICE = re.compile(r"auto|cpu(:0)?|cuda(:[0-9]{1,3})?")


def choose_device(device: str) -> str:
    """Resolve ``auto`` to cuda where there is one; ModelError when the GPU that is asked for is absent."""
    import torch

    if not DEVICE.fullmatch(device):
        raise ModelError(f"device {device!r} is unknown; expected auto, cpu, cuda or cuda:N (N the number of a GPU)")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError("device cuda was asked for, but torch finds no GPU here; use --device cpu or auto")
    if ":" in device and int(device.split(":")[1]) >= max(1, count := torch.cuda.device_count()):
        raise ModelError(f"device {device} was asked for, but torch finds {count} GPUs here, numbered from 0")
    return device


def choose_devices(devices: Sequence[str], backend: str = "torch") -> tuple[str, ...]:
    """Resolve names as ``choose_device`` does; ``auto`` alone is every GPU of the machine, or the CPU."""
    import torch

    if backend not in BACKENDS:
        raise ModelError(f"backend {backend!r} is unknown; expected one of {', '.join(BACKENDS)}")
    names = list(devices)
    if backend != "torch":
        if set(names) - {"auto", "cpu"} or len(names) > 1:
            raise ModelError(f"backend {backend} runs on the CPU; leave out --device {','.join(names)}")
        return ("cpu",)
    if names == ["auto"] and torch.cuda.device_count() > 1:
        return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))
    return tuple(choose_device(name) for name in names)


def choose_dtype(dtype: str, device: str) -> Any:
    """Resolve ``auto`` to bfloat16 where the device multiplies it natively, else float32; ModelError if unknown.

    Natively: every CUDA device that is bought today, and CPUs with AMX or AVX512-BF16. Elsewhere bfloat16 is emulated,
    and slower than float32.
    """
    import torch

    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r} is unknown; expected one of {', '.join(DTYPES)}")
    if dtype != "auto":
        return getattr(torch, dtype)
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if cpu_has_bfloat16() else torch.float32


def why(dtype: str, device: str, taken: str = "") -> str:
    """Why ``auto`` took the precision it took, as a phrase in brackets; "" where it was asked for.

    ``taken`` is what the model has, as torch spells it: another than this processor's is for want of memory.
    """
    if dtype != "auto":
        return ""
    if taken and taken != str(choose_dtype(dtype, device)):
        return " (auto: float32 does not fit in memory)"
    native = choose_dtype(dtype, device).itemsize == 2
    what = "GPU" if device.startswith("cuda") else "CPU"
    return f" (auto: this {what} {'multiplies' if native else 'does not multiply'} bfloat16 natively)"


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself."""
    import torch

    return native_bfloat16(torch.cpu)


def native_bfloat16(cpu: Any) -> bool:
    """Ask ``torch.cpu`` for AMX or AVX512-BF16. They are private there: one that is absent counts as no."""
    asked = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(cpu, name, lambda: False)()) for name in asked)
