"""Supervised contrastive learning: queries, their positives and hard negatives, and what teachers say of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from searchapp.adapt.config import SupervisedConfig
from searchapp.adapt.data import PairFile
from searchapp.adapt.dataset import as_pair, pair_dataset
from searchapp.adapt.distributed import gather
from searchapp.adapt.model import TrainableModel
from searchapp.adapt.objectives import losses
from searchapp.adapt.objectives.base import rank_slice, text_number, tokenization
from searchapp.adapt.objectives.gradcache import contrastive_backward
from searchapp.adapt.objectives.teacher import Teacher, load_teacher
from searchapp.adapt.sampler import Batch, epoch_batches
from searchapp.encoder.tokenization import Tokens
from searchapp.errors import AdaptError


class SupervisedObjective:
    """Queries, their positives and hard negatives, a batch from one data set at a time."""

    def __init__(self, trainee: TrainableModel, stage: SupervisedConfig, files: Sequence[PairFile], work: Path) -> None:
        if stage.matryoshka and max(stage.matryoshka) > trainee.config.hidden_size:
            raise AdaptError(
                f"matryoshka asks for {max(stage.matryoshka)} dimensions, the model has {trainee.config.hidden_size}; "
                "leave the larger ones out"
            )
        self.trainee = trainee
        self.stage = stage
        self._files = list(files)
        self._epoch = lru_cache(maxsize=2)(self._plan)
        self._datasets = [pair_dataset(file, work) for file in files]
        self._sizes = [len(table) for table in self._datasets]
        self._tokenize = tokenization(trainee, stage.training.max_length)
        self._teacher: Teacher | None = load_teacher(stage.teacher) if stage.teacher else None
        rank_slice(self.rows_per_step)

    @property
    def rows_per_step(self) -> int:
        """See ``Objective``."""
        return len(self._epoch(0)[0].rows)

    def _plan(self, epoch: int) -> list[Batch]:
        training = self.stage.training
        return epoch_batches(self._files, self._sizes, training.batch_size, training.seed, epoch)

    def _batch(self, step: int) -> Batch:
        epoch, place = divmod(step, len(self._epoch(0)))
        return self._epoch(epoch)[place]

    def _rows(self, step: int) -> tuple[PairFile, PairBatch]:
        batch = self._batch(step)
        pairs = [as_pair(row) for row in _take(self._datasets[batch.file], batch.rows)]
        return self._files[batch.file], PairBatch.of(pairs, self.stage, step)

    def tokens(self, step: int) -> list[list[Tokens]]:
        """The tokenized queries, positives and negatives of a step that are this process's own."""
        file, rows = self._rows(step)
        local = rows.slice(rank_slice(len(rows.queries)))
        documents = [*local.positives, *local.negatives]
        tokens = self._tokenize(
            [*local.queries, *documents],
            [file.instruction or None] * len(local.queries) + [file.candidate_instruction or None] * len(documents),
        )
        count = len(local.queries)
        return [list(part) for part in (tokens[:count], tokens[count : 2 * count], tokens[2 * count :])]

    def backward(self, model: Any, step: int) -> tuple[torch.Tensor, int]:
        """See ``Objective``."""
        stage = self.stage
        file, rows = self._rows(step)
        groups = self.tokens(step)
        taught = None
        if self._teacher is not None:  # every process asks about the whole batch: it is what the scores are over
            taught = self._teacher(rows.queries, [*rows.positives, *rows.negatives], file.instruction).to(
                self.trainee.device
            )

        def loss_of(vectors: list[torch.Tensor]) -> torch.Tensor:
            queries, positives, negatives = (gather(part) for part in vectors)
            return supervised_loss(queries, torch.cat([positives, negatives]), rows, stage, taught)

        loss = contrastive_backward(
            model,
            self.trainee,
            groups,
            loss_of,
            chunk=stage.training.chunk,
            seed=stage.training.seed,
            step=step,
        )
        return loss, sum(len(item.ids) for group in groups for item in group)

    def describe(self, step: int) -> str:
        """See ``Objective``."""
        batch = self._batch(step)
        return f"{len(batch.rows)} rows of {self._files[batch.file].name}, {', '.join(map(str, batch.rows[:4]))}, …"


class PairBatch:
    """The texts of a batch: a query and a positive a row, and negatives with the row each belongs to."""

    def __init__(
        self,
        queries: list[str],
        positives: list[str],
        negatives: list[str],
        owners: list[int],
        scores: list[list[float] | None],
    ) -> None:
        self.queries, self.positives, self.negatives = queries, positives, negatives
        self.owners = owners
        self.scores = scores  # of the positive and then the row's negatives, where a teacher gave them

    @classmethod
    def of(cls, pairs: Sequence[Any], stage: SupervisedConfig, step: int) -> PairBatch:
        """Choose a positive and up to ``stage.negatives`` negatives for each pair, by the number of the step."""
        rng = np.random.default_rng([stage.training.seed, step])
        made = cls([], [], [], [], [])
        for row, pair in enumerate(pairs):
            positive = int(rng.integers(len(pair.positives)))
            size = min(stage.negatives, len(pair.negatives))
            chosen = rng.permutation(len(pair.negatives))[:size]
            made.queries.append(pair.query)
            made.positives.append(pair.positives[positive])
            made.negatives += [pair.negatives[i] for i in chosen]
            made.owners += [row] * size
            scores = None
            if pair.scores is not None:
                scores = [pair.scores[positive], *(pair.scores[len(pair.positives) + i] for i in chosen)]
            made.scores.append(scores)
        return made

    def slice(self, part: slice) -> PairBatch:
        """The rows of one process, with their negatives."""
        kept = range(*part.indices(len(self.queries)))
        mine = [i for i, owner in enumerate(self.owners) if owner in kept]
        return PairBatch(
            self.queries[part],
            self.positives[part],
            [self.negatives[i] for i in mine],
            [self.owners[i] - kept.start for i in mine],
            self.scores[part],
        )


def supervised_loss(
    queries: torch.Tensor,
    candidates: torch.Tensor,
    rows: PairBatch,
    stage: SupervisedConfig,
    taught: torch.Tensor | None,
) -> torch.Tensor:
    """InfoNCE over positives and negatives, and what teachers say on top of it.

    ``queries`` (n, dim); ``candidates`` (n + m, dim) are the positives and then the negatives of ``rows``. ``taught``
    (n, n + m) are a teacher's cosines. False negatives are judged by the teacher where there is one.
    """
    count = len(queries)
    texts = torch.tensor([text_number(text) for text in [*rows.positives, *rows.negatives]], device=queries.device)
    judged = losses.cosines(queries.detach(), candidates.detach()) if taught is None else taught
    masked = losses.false_negatives(judged, texts, margin=stage.margin)

    def loss(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
        asked, found = vectors
        value = losses.info_nce(asked, found[:count], found[count:], scale=stage.scale, masked=masked)
        if taught is not None and stage.teacher_weight:
            value = value + stage.teacher_weight * losses.distribution_loss(
                losses.cosines(asked, found), taught, scale=stage.scale, teacher_scale=stage.teacher_scale
            )
        if stage.row_weight and any(scores is not None for scores in rows.scores):
            value = value + stage.row_weight * _row_loss(losses.cosines(asked, found), rows, stage)
        return value

    return losses.matryoshka(loss, [queries, candidates], stage.matryoshka)


def _row_loss(scores: torch.Tensor, rows: PairBatch, stage: SupervisedConfig) -> torch.Tensor:
    """Divergence from the teacher's scores of each row's own positive and negatives."""
    count = len(rows.queries)
    own: list[list[int]] = [[row] for row in range(count)]
    for place, owner in enumerate(rows.owners):
        own[owner].append(count + place)
    kept = [row for row in range(count) if rows.scores[row] is not None]
    width = max(len(own[row]) for row in kept)
    index = torch.zeros((len(kept), width), dtype=torch.long)
    taught = torch.zeros((len(kept), width))
    valid = torch.zeros((len(kept), width), dtype=torch.bool)
    for place, row in enumerate(kept):
        size = len(own[row])
        index[place, :size] = torch.tensor(own[row])
        taught[place, :size] = torch.tensor(rows.scores[row])
        valid[place, :size] = True
    device = scores.device
    student = scores[torch.tensor(kept, device=device)].gather(1, index.to(device))
    return losses.distribution_loss(
        student, taught.to(device), scale=stage.scale, teacher_scale=1.0, valid=valid.to(device)
    )


def _take(table: Any, rows: np.ndarray) -> list[dict[str, Any]]:
    columns = table[rows.tolist()]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
