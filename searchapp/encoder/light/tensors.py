"""Weights from one safetensors file, mapped and widened to float32 by NumPy, which has no bfloat16 of its own.

The format: eight bytes with the length of a JSON header, the header (name → dtype, shape, data_offsets), the numbers
(https://github.com/huggingface/safetensors, "Format").
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.encoder.light.refusal import NotLightError

STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
HEADER = 1 << 24  # bytes; a small model's header is a few thousand


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Each tensor of a file by its name, as stored, mapped; bfloat16 as uint16. Raises NotLightError.

    A file that breaks the format is left to the full path, whose error says what is wrong with it.
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        begin = 8 + int.from_bytes(data[:8].tobytes(), "little")
        if not 8 < begin <= min(len(data), HEADER):
            raise ValueError("header")
        header = json.loads(data[8:begin].tobytes())
        header.pop("__metadata__", None)
        return {name: _tensor(data[begin:], entry) for name, entry in header.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise NotLightError(f"{path.name} cannot be read as float32, float16 or bfloat16 ({error})") from error


def _tensor(data: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
    dtype, shape, (begin, end) = np.dtype(STORED[entry["dtype"]]), entry["shape"], entry["data_offsets"]
    if not 0 <= begin <= end <= len(data) or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError("offsets")
    found: np.ndarray = data[begin:end].view(dtype).reshape(shape)
    return found


def widen(stored: np.ndarray) -> np.ndarray:
    """What is stored as float32: float16 and float32 converted, bfloat16 moved to the upper half of its bits."""
    if stored.dtype == np.uint16:
        bits: np.ndarray = stored.astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    return np.array(stored, dtype=np.float32)
