"""What an objective is, and what all of them share: slices for processes, tokenization, equal texts.

A step's batch is a function of its number alone, so that a run that was stopped goes on with the same batches.
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import torch

from searchapp.adapt.distributed import rank_and_world_size
from searchapp.adapt.model import TrainableModel
from searchapp.encoder.tokenization import Tokenization
from searchapp.errors import AdaptError


class Objective(Protocol):
    """A stage at work."""

    trainee: TrainableModel

    @property
    def rows_per_step(self) -> int:
        """Rows of a batch, which are fewer than were asked for where there are no more."""
        ...

    def backward(self, model: Any, step: int) -> tuple[torch.Tensor, int]:
        """Add the gradients of step ``step`` (from 0); return the loss of the whole batch and the tokens it had here.

        ``model`` is the trainee or its wrapper.
        """
        ...

    def describe(self, step: int) -> str:
        """Say in a few words where the batch of a step comes from."""
        ...


def rank_slice(size: int) -> slice:
    """The rows of a batch that belong to this process. Raises AdaptError when the batch cannot be shared evenly."""
    rank, count = rank_and_world_size()
    if size % count:
        raise AdaptError(f"a batch of {size} cannot be shared by {count} processes; give a multiple of {count}")
    each = size // count
    return slice(rank * each, (rank + 1) * each)


def tokenization(trainee: TrainableModel, max_length: int) -> Tokenization:
    """Tokenizes for training as the encoder does for search, with the stage's own greatest length."""
    settings = trainee.settings.with_options(
        max_length=max_length, document_max_length=min(trainee.settings.document_max_length, max_length)
    )
    if settings.template is None:
        raise AdaptError("settings without a template; load the model with load_trainable_model")
    limit = getattr(trainee.config, "max_position_embeddings", None)
    return Tokenization(trainee.tokenizer.backend_tokenizer, settings, settings.template, limit)


def text_number(text: str) -> int:
    """A number that is equal for equal texts, in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")
