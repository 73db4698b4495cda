"""Contrastive gradients in bounded memory (GradCache, arXiv 2101.06983, section 3.2).

The loss needs the vectors of the whole batch; the activations of the whole batch do not fit. So:

1. Run every chunk without activations, and keep its vectors.
2. Compute the loss over all vectors, and its gradient for each vector.
3. Run every chunk again, now with activations, and carry the gradients of its vectors to the weights.

Both runs of a chunk draw the same dropout, because its seed is a function of where the chunk stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from searchapp.adapt.distributed import rank_and_world_size
from searchapp.encoder.batching import BUDGET, next_batch

if TYPE_CHECKING:
    from searchapp.adapt.model import TrainableModel
    from searchapp.encoder.tokenization import Tokens

SEED_SPAN = 1_000_003  # keeps the seeds of parts, ranks and steps apart


def part_seed(seed: int, step: int, part: int) -> int:
    """Seed of the dropout in one forward pass: a function of where it stands, so that a resumed run draws the same."""
    return (step_seed(seed, step) * SEED_SPAN + rank_and_world_size()[0] * 65_537 + part) % (1 << 63)


def step_seed(seed: int, step: int) -> int:
    """Seed of what every process draws alike in a step."""
    return seed * SEED_SPAN + step


def contrastive_backward(
    model: Any,
    trainee: TrainableModel,
    groups: Sequence[Sequence[Tokens]],
    loss_of: Callable[[list[torch.Tensor]], torch.Tensor],
    *,
    chunk: int,
    seed: int,
    step: int,
) -> torch.Tensor:
    """Add the gradients of a loss over pooled vectors to the trained weights; return the loss, detached.

    ``groups`` are tokenized texts by role (queries, positives, negatives); ``loss_of`` takes their vectors, one tensor
    (n, dim) a group. ``model`` is the trainee, or what wraps it for several processes. With ``chunk`` 0 the
    activations of all texts are kept; else ``chunk`` texts go through at a time, twice. The gradients are the same;
    only dropout is drawn differently. With several processes the loss has to be that of the whole batch: what a
    process adds is the share of its own texts, and the mean that the wrapper takes is made up for.
    """
    parts = _parts(groups, chunk, trainee.device.type)
    keep = chunk == 0
    made = []
    for number, part in enumerate(parts):
        with torch.set_grad_enabled(keep):
            made.append(_run(model, trainee, groups, part, part_seed(seed, step, number)))
    leaves = [
        torch.zeros((len(group), made[0].shape[1]), device=made[0].device, dtype=torch.float32) for group in groups
    ]
    for part, vectors in zip(parts, made, strict=True):
        for row, (group, place) in enumerate(part):
            leaves[group][place] = vectors[row].detach().float()
    for leaf in leaves:
        leaf.requires_grad_()
    loss = loss_of(leaves)
    torch.autograd.backward(loss)
    factor = rank_and_world_size()[1]  # data parallel wrappers average over processes what has to be summed

    def gradient(part: Sequence[tuple[int, int]]) -> torch.Tensor:
        rows = [leaves[group].grad[place] for group, place in part]  # type: ignore[index]
        return torch.stack(rows) * factor

    if keep:
        torch.autograd.backward(
            made, [gradient(part).to(vectors.dtype) for part, vectors in zip(parts, made, strict=True)]
        )
        return loss.detach()
    for number, part in enumerate(parts):
        with sync_on_last(model, last=number == len(parts) - 1):
            vectors = _run(model, trainee, groups, part, part_seed(seed, step, number))
            torch.autograd.backward(vectors, gradient(part).to(vectors.dtype))
    return loss.detach()


def _parts(groups: Sequence[Sequence[Tokens]], chunk: int, device: str = "cpu") -> list[list[tuple[int, int]]]:
    """(group, place) of the texts of each forward pass, which are neighbours in length, whatever their group.

    ``chunk`` texts each; with 0, as many tokens as a device computes well at once.
    """
    everything = [(number, place) for number, group in enumerate(groups) for place in range(len(group))]
    sizes = np.array([len(groups[group][place].ids) for group, place in everything])
    order = np.argsort(-sizes, kind="stable")
    parts, start = [], 0
    while start < len(order):
        count = chunk or next_batch(sizes[order[start:]], BUDGET[device], padded=False)
        parts.append([everything[i] for i in order[start : start + count]])
        start += count
    return parts


def _run(
    model: Any, trainee: TrainableModel, groups: Sequence[Sequence[Tokens]], part: Sequence[tuple[int, int]], seed: int
) -> torch.Tensor:
    torch.manual_seed(seed)
    vectors: torch.Tensor = model(**trainee.rows([groups[group][place] for group, place in part]))
    return vectors


def sync_on_last(model: Any, *, last: bool) -> AbstractContextManager[None]:
    """Gradients are exchanged between processes once, with the last part."""
    if last or not hasattr(model, "no_sync"):
        return nullcontext()
    context: AbstractContextManager[None] = model.no_sync()
    return context
