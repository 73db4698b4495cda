"""SimCSE: the same texts twice, under two draws of dropout."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from searchapp.adapt.config import SimcseConfig
from searchapp.adapt.dataset import text_dataset
from searchapp.adapt.distributed import gather
from searchapp.adapt.model import TrainableModel
from searchapp.adapt.objectives import losses
from searchapp.adapt.objectives.base import rank_slice, text_number, tokenization
from searchapp.adapt.objectives.gradcache import contrastive_backward
from searchapp.encoder.tokenization import Tokens
from searchapp.errors import AdaptError


class SimcseObjective:
    """The same texts twice, under two draws of dropout."""

    def __init__(self, trainee: TrainableModel, stage: SimcseConfig, texts: Sequence[Path], work: Path) -> None:
        self.trainee = trainee
        self.stage = stage
        self._order = lru_cache(maxsize=2)(self._shuffle)
        self._dataset = text_dataset(texts, work)
        if len(self._dataset) < 2:
            raise AdaptError("there is 1 text; expected at least 2, as texts are each other's negatives: give more")
        self._tokenize = tokenization(trainee, stage.training.max_length)
        self._size = min(stage.training.batch_size, len(self._dataset))
        rank_slice(self._size)

    @property
    def rows_per_step(self) -> int:
        """See ``Objective``."""
        return self._size

    def _numbers(self, step: int) -> np.ndarray:
        each = len(self._dataset) // self._size
        epoch, place = divmod(step, each)
        return self._order(epoch)[place * self._size : (place + 1) * self._size]

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.stage.training.seed, epoch]).permutation(len(self._dataset))

    def tokens(self, step: int) -> list[Tokens]:
        """The tokenized texts of a step that are this process's own."""
        everything = self._dataset[self._numbers(step).tolist()]["text"]
        texts = everything[rank_slice(len(everything))]
        return list(self._tokenize(texts, [None] * len(texts)))

    def backward(self, model: Any, step: int) -> tuple[torch.Tensor, int]:
        """See ``Objective``."""
        numbers = self._numbers(step)
        everything = self._dataset[numbers.tolist()]["text"]
        masked = _copies(everything)
        view = self.tokens(step)

        def loss_of(vectors: list[torch.Tensor]) -> torch.Tensor:
            first, second = (gather(part) for part in vectors)
            return losses.info_nce(first, second, scale=self.stage.scale, masked=masked.to(first.device))

        loss = contrastive_backward(
            model,
            self.trainee,
            [view, view],
            loss_of,
            chunk=self.stage.training.chunk,
            seed=self.stage.training.seed,
            step=step,
        )
        return loss, 2 * sum(len(item.ids) for item in view)

    def describe(self, step: int) -> str:
        """See ``Objective``."""
        numbers = self._numbers(step)
        return f"{len(numbers)} texts, numbers {', '.join(map(str, numbers[:4]))}, …"


def _copies(texts: Sequence[str]) -> torch.Tensor:
    """Which texts are copies of which others, bool (n, n) with a false diagonal."""
    numbers = torch.tensor([text_number(text) for text in texts])
    same = numbers[:, None] == numbers[None, :]
    return same.fill_diagonal_(False)
