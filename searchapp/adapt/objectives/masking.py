"""Which tokens are hidden from the model, and what stands in their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from searchapp.adapt.config import STRATEGIES
from searchapp.adapt.objectives.losses import IGNORE_INDEX
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Masked:
    """``ids`` (n, length) go into the model; ``labels`` hold the original token where it is to be predicted."""

    ids: torch.Tensor
    labels: torch.Tensor


def mask_tokens(
    ids: torch.Tensor,
    special: torch.Tensor,
    *,
    mask_id: int,
    vocabulary: int,
    rate: float,
    strategy: str = "bert",
    generator: torch.Generator | None = None,
) -> Masked:
    """Choose tokens with probability ``rate`` and hide them; ``special`` (bool, like ids) marks those never chosen.

    ``bert``: of the chosen, 80 % become the mask token, 10 % a random token, 10 % stay. ``all``: all become the mask
    token (the published Mistral setting, with rate 0.8). Raises SearchAppError for a rate outside (0, 1) or an unknown
    strategy.
    """
    import torch

    if strategy not in STRATEGIES:
        raise SearchAppError(f"masking strategy {strategy!r} is unknown; expected one of {', '.join(STRATEGIES)}")
    if not 0 < rate < 1:
        raise SearchAppError(f"the masking rate is {rate}; expected a share between 0 and 1, such as 0.2")

    def draw() -> torch.Tensor:
        return torch.rand(ids.shape, generator=generator, device=ids.device)

    chosen = (draw() < rate) & ~special
    labels = torch.where(chosen, ids, IGNORE_INDEX)
    fate = draw()
    hidden = chosen if strategy == "all" else chosen & (fate < 0.8)
    masked = torch.where(hidden, mask_id, ids)
    if strategy == "bert":
        random = torch.randint(vocabulary, ids.shape, generator=generator, device=ids.device)
        masked = torch.where(chosen & (fate >= 0.9), random, masked)
    return Masked(masked, labels)
