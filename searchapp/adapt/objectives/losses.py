"""The losses of the recipe: pure functions of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IGNORE_INDEX = -100  # a label that is not scored, as in transformers
MASKED_SCORE = -1e4  # a score to which softmax gives no weight; float16 holds it


def mntp_loss(
    hidden: torch.Tensor,
    head: torch.Tensor | Callable[[torch.Tensor], torch.Tensor],
    labels: torch.Tensor,
    *,
    total: bool = False,
) -> torch.Tensor:
    """Mean cross-entropy of masked next-token prediction (LLM2Vec paper, section 2.2); the sum with ``total``.

    ``hidden`` (n, length, dim) are last hidden states, ``head`` the frozen output weights (vocabulary, dim) or a
    function from states to logits, ``labels`` (n, length) the original token where it was masked and ``IGNORE_INDEX``
    elsewhere. The token at position i is read from the state at i-1; a label at position 0 is never scored. Logits
    are made for the scored positions only.
    """
    scored = labels[:, 1:] != IGNORE_INDEX
    return token_loss(hidden[:, :-1][scored], head, labels[:, 1:][scored], total=total)


def token_loss(
    states: torch.Tensor,
    head: torch.Tensor | Callable[[torch.Tensor], torch.Tensor],
    targets: torch.Tensor,
    *,
    total: bool = False,
) -> torch.Tensor:
    """Mean cross-entropy of states (n, dim) under a frozen head, for target tokens (n,); the sum with ``total``.

    With a head that is a matrix (vocabulary, dim), or has one as its ``weight``, no logits are kept.
    """
    import torch.nn.functional as F

    from searchapp.adapt.kernels import scored_loss

    weight = getattr(head, "weight", None) if callable(head) else head
    if weight is not None and not weight.requires_grad:
        return scored_loss(states, weight, targets) / (1 if total else len(targets))
    logits = head(states) if callable(head) else states @ head.to(states.dtype).T
    return F.cross_entropy(logits.float(), targets, reduction="sum" if total else "mean")


def cosines(queries: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Cosine of every query (n, dim) with every candidate (m, dim), float32 (n, m)."""
    import torch.nn.functional as F

    return F.normalize(queries.float(), dim=-1) @ F.normalize(candidates.float(), dim=-1).T


def info_nce(
    queries: torch.Tensor,
    positives: torch.Tensor,
    negatives: torch.Tensor | None = None,
    *,
    scale: float = 20.0,
    masked: torch.Tensor | None = None,
) -> torch.Tensor:
    """Contrastive loss over cosines, one direction (LLM2Vec's HardNegativeNLLLoss; SimCSE paper, equation 1).

    ``queries`` and ``positives`` are (n, dim), row by row; ``negatives`` (m, dim) stand against every query, with the
    positives of the other queries. ``scale`` is the inverse temperature: 20 in SimCSE, 50 in supervised training.
    ``masked`` (n, n + m) bool takes candidates out of a query's sum (see ``false_negatives``).
    """
    import torch
    import torch.nn.functional as F

    candidates = positives if negatives is None else torch.cat([positives, negatives])
    scores = scale * cosines(queries, candidates)
    if masked is not None:
        scores = scores.masked_fill(masked, MASKED_SCORE)
    return F.cross_entropy(scores, torch.arange(len(queries), device=scores.device))


def false_negatives(
    scores: torch.Tensor, texts: torch.Tensor, *, margin: float | None, positive: torch.Tensor | None = None
) -> torch.Tensor:
    """Candidates that are probably relevant too, bool (n, m): they are no negatives of their query.

    ``scores`` (n, m) are cosines of n queries with m candidates, of which the first n are the positives row by row (or
    ``positive`` gives each query's own). ``texts`` (m,) are numbers that are equal for equal texts: a copy of the
    positive is always masked. With a ``margin``, so is every candidate that scores above the positive by more than it
    (GISTEmbed, arXiv 2402.16829, equation 2, which has margin 0). The positive itself never is.
    """
    import torch

    count = len(scores)
    own = torch.arange(count, device=scores.device) if positive is None else positive
    masked = texts[None, :] == texts[own][:, None]
    if margin is not None:
        masked |= scores > scores.gather(1, own[:, None]) + margin
    return masked.scatter(1, own[:, None], False)


def matryoshka(
    loss: Callable[[Sequence[torch.Tensor]], torch.Tensor], vectors: Sequence[torch.Tensor], dims: Sequence[int]
) -> torch.Tensor:
    """Mean of a loss over vectors cut to each of ``dims`` (arXiv 2205.13147, equation 1).

    With no ``dims`` it is the loss of the whole vectors.
    """
    import torch

    if not dims:
        return loss(vectors)
    return torch.stack([loss([vector[..., :dim] for vector in vectors]) for dim in dims]).mean()


def distribution_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    *,
    scale: float,
    teacher_scale: float,
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """Kullback-Leibler divergence of the student's distribution over candidates from the teacher's, mean over rows.

    ``student`` and ``teacher`` are scores (n, m); each row becomes a distribution by softmax of ``scale`` or
    ``teacher_scale`` times the scores (knowledge distillation, arXiv 1503.02531, section 2). Entries where ``valid``
    (n, m) is false are left out of both.
    """
    import torch
    import torch.nn.functional as F

    student, teacher = scale * student.float(), teacher_scale * teacher.float()
    if valid is not None:
        student = torch.where(valid, student, MASKED_SCORE)
        teacher = torch.where(valid, teacher, MASKED_SCORE)
    return F.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="batchmean")
