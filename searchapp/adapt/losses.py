"""The losses of the recipe: pure functions of tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IGNORED = -100  # a label that is not scored, as in transformers


def mntp_loss(hidden: torch.Tensor, head: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of masked next-token prediction (LLM2Vec paper, section 2.2).

    ``hidden`` (n, length, dim) are last hidden states, ``head`` (vocabulary, dim) the frozen output weights, ``labels``
    (n, length) the original token where it was masked and ``IGNORED`` elsewhere. The token at position i is read from
    the state at i-1; a label at position 0 is never scored. Logits are made for the scored positions only.
    """
    import torch.nn.functional as F

    scored = labels[:, 1:] != IGNORED
    logits = hidden[:, :-1][scored] @ head.to(hidden.dtype).T
    return F.cross_entropy(logits.float(), labels[:, 1:][scored])


def info_nce(
    queries: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor | None = None, *, scale: float = 20.0
) -> torch.Tensor:
    """Contrastive loss over cosines, one direction (LLM2Vec's HardNegativeNLLLoss; SimCSE paper, equation 1).

    ``queries`` and ``positives`` are (n, dim), row by row; ``negatives`` (m, dim) stand against every query, with the
    positives of the other queries. ``scale`` is the inverse temperature: 20 in SimCSE, 50 in supervised training.
    """
    import torch
    import torch.nn.functional as F

    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = F.normalize(queries.float(), dim=-1) @ F.normalize(candidates.float(), dim=-1).T
    return F.cross_entropy(scale * scores, torch.arange(len(queries), device=scores.device))
