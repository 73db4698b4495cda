"""Vectors made on the device: topics, a falling spectrum, an offset common to all, queries near documents.

They behave like ``searchapp.bench.vectors.Synthetic``, which would take minutes of a CPU for gigabytes of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

BLOCK = 65_536


@dataclass(frozen=True)
class Made:
    """Unit vectors float32 (rows, dim) in the machine's memory, and unit queries."""

    rows: np.ndarray
    queries: np.ndarray

    def blocks(self) -> Iterator[np.ndarray]:
        """The rows, some thousand at a time."""
        for begin in range(0, len(self.rows), BLOCK):
            yield self.rows[begin : begin + BLOCK]


def make(rows: int, dim: int, queries: int, topics: int, device: str) -> Made:
    """Draw vectors and queries; the same for the same device."""
    torch.manual_seed(0)
    scale = torch.arange(1, dim + 1, device=device) ** -0.6
    scale /= scale.norm()
    offset = torch.randn(dim, device=device) * scale
    offset *= 0.7 / offset.norm()
    centres = torch.randn(topics, dim, device=device) * scale

    def drawn(count: int, noise: float) -> torch.Tensor:
        chosen = centres[torch.randint(topics, (count,), device=device)]
        made = offset + 0.8 * chosen + noise * torch.randn(count, dim, device=device) * scale
        return torch.nn.functional.normalize(made)

    out = np.empty((rows, dim), dtype=np.float32)
    for begin in range(0, rows, BLOCK):
        count = min(BLOCK, rows - begin)
        torch.from_numpy(out[begin : begin + count]).copy_(drawn(count, 0.7))
    asked = torch.from_numpy(out[:: max(1, rows // queries)][:queries]).to(device)
    near = torch.nn.functional.normalize(asked + 0.4 * torch.randn(len(asked), dim, device=device) * scale)
    return Made(out, near.cpu().numpy())
