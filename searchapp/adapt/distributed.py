"""What several training processes exchange. With one process every function gives back what it was given."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def rank_and_world_size() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are."""
    import torch.distributed as dist

    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def env_rank() -> int:
    """The number that a launcher (torchrun) gave this process, which holds before the processes have met."""
    return int(os.environ.get("RANK", "0"))


def env_world_size() -> int:
    """How many processes a launcher started, which holds before they have met."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leave_group() -> None:
    """Part from the other processes when the program ends; without it torch warns."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def all_reduce_sum(value: torch.Tensor) -> torch.Tensor:
    """Sum of a tensor over the processes."""
    import torch.distributed as dist

    if rank_and_world_size()[1] == 1:
        return value
    summed = value.clone()
    dist.all_reduce(summed)
    return summed


def gather(rows: torch.Tensor) -> torch.Tensor:
    """Rows (n, …) of all processes in the order of their ranks; this process's own keep their gradient.

    The processes may hold different numbers of rows.
    """
    import torch
    import torch.distributed as dist

    rank, count = rank_and_world_size()
    if count == 1:
        return rows
    own = torch.tensor([len(rows)], device=rows.device)
    sizes = [torch.zeros_like(own) for _ in range(count)]
    dist.all_gather(sizes, own)
    longest = int(max(size.item() for size in sizes))
    padded = rows.new_zeros((longest, *rows.shape[1:]))
    padded[: len(rows)] = rows.detach()
    parts = [torch.zeros_like(padded) for _ in range(count)]
    dist.all_gather(parts, padded)
    kept = [part[: int(size.item())] for part, size in zip(parts, sizes, strict=True)]
    kept[rank] = rows
    return torch.cat(kept)
