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
    take the last real position, ``bos_token`` the first. sentence-transformers' own: ``max``, ``first_token`` and
    ``last_of_span`` of the span, ``weighted_by_position`` (weights by the position in the sequence) and
    ``mean_sqrt_len_tokens`` (the sum by the root of its number of tokens). An empty span gives the zero vector, but
    for ``first_token``, which then is the first of the sequence.
    """
    import torch

    hidden = hidden.float()
    rows = torch.arange(len(hidden), device=hidden.device)
    if mode in ("eos_token", "last_token"):
        return hidden[rows, lengths - 1]
    if mode in ("bos_token", "first_token"):
        first = torch.where(spans[:, 0] < spans[:, 1], spans[:, 0], 0)  # of no text: BOS, as sentence-transformers does
        return hidden[:, 0] if mode == "bos_token" else hidden[rows, first]
    position = torch.arange(hidden.shape[1], device=hidden.device)[None, :]
    inside = (position >= spans[:, :1]) & (position < spans[:, 1:])
    weight = inside.float()
    if mode == "last_of_span":
        weight = weight * (position == spans[:, 1:] - 1)
    if mode == "max":
        highest = hidden.masked_fill(~inside[:, :, None], float("-inf")).amax(1)
        return torch.where(inside.any(1, keepdim=True), highest, 0.0)
    if mode in ("weighted_mean", "weighted_by_position"):
        weight = weight * (position + 1 - (spans[:, :1] if mode == "weighted_mean" else 0))
    total = weight.sum(1, keepdim=True)
    if mode == "mean_sqrt_len_tokens":
        total = total.sqrt()
    return torch.einsum("nld,nl->nd", hidden, weight / total.clamp(min=1e-9))


def token_weights(start: int, end: int, length: int, mode: str) -> np.ndarray:
    """What each token of one sequence weighs in its vector, float32 (length,): ``pool`` written as a weighted sum."""
    weights = np.zeros(length, dtype=np.float32)
    if mode in ("eos_token", "last_token"):
        weights[-1] = 1
    elif mode in ("bos_token", "first_token"):
        weights[start if mode == "first_token" and start < end else 0] = 1
    elif mode == "last_of_span":
        weights[max(start, end - 1) : end] = 1
    elif mode == "weighted_by_position":
        weights[start:end] = np.arange(start + 1, end + 1)
    elif mode == "mean_sqrt_len_tokens":
        weights[start:end] = np.sqrt(max(end - start, 1))  # the sum over the tokens, by the root of their number
        return weights / np.float32(max(end - start, 1))
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


def highest(hidden: torch.Tensor, weights: torch.Tensor, begins: torch.Tensor) -> torch.Tensor:
    """The highest value of each dimension where ``weights`` are not 0: as ``weigh``, for pooling by max."""
    import torch

    positions = torch.arange(len(hidden), device=hidden.device)
    states = hidden.float().masked_fill(weights[:, None] == 0, float("-inf"))
    found = torch.nn.functional.embedding_bag(positions, states, begins, mode="max")
    return torch.where(found.isneginf(), 0.0, found)
