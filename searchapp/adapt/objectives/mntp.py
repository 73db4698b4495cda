"""Masked next-token prediction: blocks of text with some tokens hidden."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from searchapp.adapt.config import MntpConfig
from searchapp.adapt.dataset import text_dataset
from searchapp.adapt.distributed import all_reduce_sum, rank_and_world_size
from searchapp.adapt.head import load_head
from searchapp.adapt.model import TrainableModel
from searchapp.adapt.objectives import losses, packing
from searchapp.adapt.objectives.base import rank_slice
from searchapp.adapt.objectives.gradcache import part_seed, step_seed, sync_on_last
from searchapp.adapt.objectives.masking import Masked, mask_tokens
from searchapp.adapt.packed import pack_blocks
from searchapp.encoder.batching import BUDGET, require_known
from searchapp.errors import AdaptError


class MntpObjective:
    """Blocks of text with some tokens hidden."""

    def __init__(self, trainee: TrainableModel, stage: MntpConfig, texts: Sequence[Path], work: Path) -> None:
        self.trainee = trainee
        self.stage = stage
        _require_positions(trainee, stage.training.max_length)
        self._head = load_head(trainee)
        self._mask_id = mask_token_id(trainee, stage.mask_token)
        self._special = torch.tensor(sorted(trainee.tokenizer.all_special_ids))
        self._vocabulary = min(trainee.config.vocab_size, len(trainee.tokenizer))  # ids that a random token may have
        self._order = lru_cache(maxsize=2)(self._shuffle)
        table = text_dataset(texts, work)
        self._packed = packing.pack(_tokenized(trainee, table), stage.training.max_length, work / "packed")
        rank_slice(stage.training.batch_size)

    @property
    def rows_per_step(self) -> int:
        """See ``Objective``."""
        return self.stage.training.batch_size

    def _numbers(self, step: int) -> np.ndarray:
        """The blocks of a step: every epoch goes through all of them in another order."""
        size, count = self.stage.training.batch_size, self._packed.blocks
        places = np.arange(step * size, (step + 1) * size)
        epochs, within = np.divmod(places, count)
        return np.array([self._order(int(epoch))[place] for epoch, place in zip(epochs, within, strict=True)])

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.stage.training.seed, epoch]).permutation(self._packed.blocks)

    def masked(self, step: int) -> tuple[Masked, torch.Tensor]:
        """The blocks of a step, some of their tokens hidden, and the number of each token's document (n, length)."""
        stage = self.stage
        ids, documents = (torch.from_numpy(part) for part in self._packed.read(self._numbers(step)))
        special = torch.isin(ids, self._special)
        if not stage.mix_documents:  # the token before the first one of a document is another document's
            special[:, 0] = True
            special[:, 1:] |= documents[:, 1:] != documents[:, :-1]
        masked = mask_tokens(
            ids,
            special,
            mask_id=self._mask_id,
            vocabulary=self._vocabulary,
            rate=stage.mask_rate,
            strategy=stage.mask_strategy,
            generator=torch.Generator().manual_seed(step_seed(stage.training.seed, step)),
        )
        return masked, documents

    def backward(self, model: Any, step: int) -> tuple[torch.Tensor, int]:
        """See ``Objective``."""
        training = self.stage.training
        masked, documents = self.masked(step)
        ids = masked.ids
        scored = (masked.labels[:, 1:] != losses.IGNORE_INDEX).sum().clamp(min=1)
        own = rank_slice(len(ids))
        rank, count = rank_and_world_size()
        rows = list(range(len(ids)))[own]
        size = training.chunk or len(rows)
        if self.trainee.packs:  # a larger part is no faster there, and keeps more
            size = min(size, max(1, BUDGET["cpu"] // ids.shape[1]))
        summed = torch.zeros((), device=self.trainee.device)
        for part, start in enumerate(range(0, len(rows), size)):
            chosen = rows[start : start + size]
            torch.manual_seed(part_seed(training.seed, step, part))
            with sync_on_last(model, last=start + size >= len(rows)):
                made = self._end_to_end if self.trainee.packs else self._with_mask
                loss = made(model, masked.ids[chosen], masked.labels[chosen], documents[chosen]) / scored
                # data parallel wrappers average over processes what has to be summed
                torch.autograd.backward(loss * count)
            summed += loss.detach()
        return all_reduce_sum(summed), ids[own].numel()

    def _end_to_end(self, model: Any, ids: torch.Tensor, labels: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        """Sum of the losses of some blocks, their documents end to end."""
        borders = None if self.stage.mix_documents else documents
        blocks = pack_blocks(ids, labels, borders, losses.IGNORE_INDEX, rounded=self.trainee.rounds)
        return losses.token_loss(model(packed=blocks.batch), self._head, blocks.targets, total=True)

    def _with_mask(self, model: Any, ids: torch.Tensor, labels: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        """The same where attention has no other way to keep documents apart than a mask."""
        borders, mix = documents.to(self.trainee.device), self.stage.mix_documents
        hidden = model(
            ids.to(self.trainee.device),
            None if mix else packing.attention_mask(borders, self.trainee.dtype),
            None if mix else packing.positions(borders),
        )
        return losses.mntp_loss(hidden, self._head, labels.to(self.trainee.device), total=True)

    def describe(self, step: int) -> str:
        """See ``Objective``."""
        numbers = self._numbers(step)
        return f"{len(numbers)} blocks of text, numbers {', '.join(map(str, numbers[:4]))}, …"


def mask_token_id(trainee: TrainableModel, wanted: str) -> int:
    """The id of the token that stands for a hidden one; the tokenizer itself is never changed for it.

    The original makes ``_`` a special token of the saved tokenizer, which then cuts ``__init__`` differently. Raises
    AdaptError for what is no single token.
    """
    tokenizer = trainee.tokenizer
    if wanted in ("mask", "eos"):
        found = tokenizer.mask_token_id if wanted == "mask" else tokenizer.eos_token_id
        if found is None:
            raise AdaptError(f"the tokenizer has no {wanted} token; use mask_token blank, or name a single token")
        return _known(trainee, int(found), wanted)
    text = "_" if wanted == "blank" else wanted
    direct = tokenizer.get_vocab().get(text)
    ids = [direct] if direct is not None else tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1:
        raise AdaptError(f"mask_token {text!r} is {len(ids)} tokens here; name a single token, or use eos")
    return _known(trainee, int(ids[0]), wanted)


def _known(trainee: TrainableModel, token: int, wanted: str) -> int:
    """Refuse a token that the model has no embedding for, as a mask token added to the tokenizer alone."""
    if token >= trainee.config.vocab_size:
        raise AdaptError(
            f"mask_token {wanted!r} has the id {token}, the model knows {trainee.config.vocab_size} tokens; "
            "use blank or eos"
        )
    return token


def _tokenized(trainee: TrainableModel, table: Any) -> Any:
    """Token ids of each text of a table with the special tokens the tokenizer adds."""
    backend = trainee.tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    for start in range(0, len(table), 1_024):
        for encoding in backend.encode_batch(table[start : start + 1_024]["text"]):
            ids = np.asarray(encoding.ids, dtype=np.int32)
            require_known(ids, trainee.config.vocab_size)
            yield ids


def _require_positions(trainee: TrainableModel, length: int) -> None:
    """Refuse blocks that are longer than the model has positions."""
    positions = getattr(trainee.config, "max_position_embeddings", None)
    if positions is not None and length > positions:
        raise AdaptError(f"max_length is {length}, the model has {positions} positions; give at most that")
