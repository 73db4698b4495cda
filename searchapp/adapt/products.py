"""Matrix products of training by whichever library is the faster one on this processor.

torch's float32 products are MKL's, which on AMD's processors stays 10 to 15 % behind the OpenBLAS that NumPy brings
(docs/log.md, 2026-11-30). The choice depends on the processor alone, so that a run that goes on computes as before.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch

from searchapp.encoder.light.threads import numpy_has_openblas

LARGE = 20_000_000  # multiplications from which the way through NumPy pays


def product(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """``one @ other`` of two matrices, without a gradient."""
    made = one.new_empty(len(one), other.shape[1])
    multiply(one, other, made)
    return made


def multiply(one: torch.Tensor, other: torch.Tensor, out: torch.Tensor) -> None:
    """Write ``one @ other`` into ``out``, whose rows are contiguous."""
    large = one.shape[0] * one.shape[1] * other.shape[1] >= LARGE
    if large and out.dtype == torch.float32 and out.device.type == "cpu" and _numpy_is_faster():
        np.matmul(one.detach().numpy(), other.detach().numpy(), out=out.detach().numpy())
    else:
        torch.mm(one.detach(), other.detach(), out=out)


def _numpy_is_faster() -> bool:
    """On one thread of an AMD processor; with more, the threads of two libraries would be in each other's way."""
    return torch.get_num_threads() == 1 and _is_amd() and numpy_has_openblas(threads=1)


@cache
def _is_amd() -> bool:
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
