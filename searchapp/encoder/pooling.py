"""From hidden states to one vector a text: pure functions of (hidden, mask), in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def pool(hidden: torch.Tensor, spans: torch.Tensor, lengths: torch.Tensor, mode: str) -> torch.Tensor:
    """Pool right-padded hidden states (n, length, dim) to float32 (n, dim).

    ``spans`` (n, 2) are the first and one-past-last position to pool, ``lengths`` (n,) the real tokens of each row.
    ``mean`` and ``weighted_mean`` (weights 1, 2, … over the span) follow LLM2Vec; ``eos_token`` and ``last_token``
    take the last real position, ``bos_token`` the first. An empty span gives the zero vector.
    """
    import torch

    hidden = hidden.float()
    rows = torch.arange(len(hidden), device=hidden.device)
    if mode in ("eos_token", "last_token"):
        return hidden[rows, lengths - 1]
    if mode == "bos_token":
        return hidden[:, 0]
    position = torch.arange(hidden.shape[1], device=hidden.device)[None, :]
    inside = (position >= spans[:, :1]) & (position < spans[:, 1:])
    weight = inside.float()
    if mode == "weighted_mean":
        weight = weight * (position - spans[:, :1] + 1)
    total = weight.sum(1, keepdim=True)
    return torch.einsum("nld,nl->nd", hidden, weight / total.clamp(min=1e-9))


def token_weights(start: int, end: int, length: int, mode: str) -> np.ndarray:
    """What each token of one sequence weighs in its vector, float32 (length,): ``pool`` written as a weighted sum."""
    weights = np.zeros(length, dtype=np.float32)
    if mode in ("eos_token", "last_token"):
        weights[-1] = 1
    elif mode == "bos_token":
        weights[0] = 1
    elif mode == "weighted_mean":
        weights[start:end] = np.arange(1, end - start + 1)
    else:
        weights[start:end] = 1
    return weights / max(float(weights.sum()), 1e-9)


def weigh(hidden: torch.Tensor, weights: torch.Tensor, begins: torch.Tensor) -> torch.Tensor:
    """Weighted sums over hidden states laid end to end, (positions, dim) → float32 (n, dim).

    ``begins`` (n,) is where each sequence begins. One kernel, whose order of summing does not depend on neighbours.
    """
    import torch

    positions = torch.arange(len(hidden), device=hidden.device)
    return torch.nn.functional.embedding_bag(positions, hidden.float(), begins, mode="sum", per_sample_weights=weights)
