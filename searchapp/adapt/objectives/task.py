"""What each stage does in a step: which texts, which loss. A step's batch is a function of its number alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from searchapp.adapt.config import Mntp, Simcse, Supervised
from searchapp.adapt.data import PairFile
from searchapp.adapt.dataset import as_pair, pair_table, text_table
from searchapp.adapt.distributed import gather, total, world
from searchapp.adapt.model import Trainee, load_head
from searchapp.adapt.objectives import losses, packing
from searchapp.adapt.objectives.gradcache import contrastive_backward, exchanging, part_seed, step_seed
from searchapp.adapt.objectives.masking import mask_tokens
from searchapp.adapt.objectives.teacher import Teacher, load_teacher
from searchapp.adapt.sampler import Batch, batches
from searchapp.encoder.batching import require_known
from searchapp.encoder.tokenization import Tokenisation
from searchapp.errors import AdaptError


class Task(Protocol):
    """A stage at work."""

    trainee: Trainee

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


class MntpTask:
    """Blocks of text with some tokens hidden."""

    def __init__(self, trainee: Trainee, stage: Mntp, texts: Sequence[Path], work: Path) -> None:
        self.trainee = trainee
        self.stage = stage
        _require_positions(trainee, stage.training.max_length)
        self._head = load_head(trainee)
        self._mask_id = mask_token_id(trainee, stage.mask_token)
        self._special = torch.tensor(sorted(trainee.tokenizer.all_special_ids))
        self._vocabulary = min(trainee.config.vocab_size, len(trainee.tokenizer))  # ids that a random token may have
        self._order = lru_cache(maxsize=2)(self._shuffle)
        table = text_table(texts, work)
        self._packed = packing.pack(_tokenised(trainee, table), stage.training.max_length, work / "packed")
        share(stage.training.batch_size)

    @property
    def rows_per_step(self) -> int:
        """See ``Task``."""
        return self.stage.training.batch_size

    def _numbers(self, step: int) -> np.ndarray:
        """The blocks of a step: every epoch goes through all of them in another order."""
        size, count = self.stage.training.batch_size, self._packed.blocks
        places = np.arange(step * size, (step + 1) * size)
        epochs, within = np.divmod(places, count)
        return np.array([self._order(int(epoch))[place] for epoch, place in zip(epochs, within, strict=True)])

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.stage.training.seed, epoch]).permutation(self._packed.blocks)

    def backward(self, model: Any, step: int) -> tuple[torch.Tensor, int]:
        """See ``Task``."""
        stage, training = self.stage, self.stage.training
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
            generator=torch.Generator().manual_seed(step_seed(training.seed, step)),
        )
        scored = (masked.labels[:, 1:] != losses.IGNORED).sum().clamp(min=1)
        own = share(len(ids))
        rank, count = world()
        rows = list(range(len(ids)))[own]
        size = training.chunk or len(rows)
        summed = torch.zeros((), device=self.trainee.device)
        for part, start in enumerate(range(0, len(rows), size)):
            chosen = rows[start : start + size]
            borders = documents[chosen].to(self.trainee.device)
            torch.manual_seed(part_seed(training.seed, step, part))
            with exchanging(model, last=start + size >= len(rows)):
                hidden = model(
                    masked.ids[chosen].to(self.trainee.device),
                    None if stage.mix_documents else packing.attention_mask(borders, self.trainee.dtype),
                    None if stage.mix_documents else packing.positions(borders),
                )
                labels = masked.labels[chosen].to(self.trainee.device)
                loss = losses.mntp_loss(hidden, self._head, labels, total=True) / scored
                (loss * count).backward()  # data parallel wrappers average over processes what has to be summed
            summed += loss.detach()
        return total(summed), ids[own].numel()

    def describe(self, step: int) -> str:
        """See ``Task``."""
        numbers = self._numbers(step)
        return f"{len(numbers)} blocks of text, numbers {', '.join(map(str, numbers[:4]))}, …"


class SimcseTask:
    """The same texts twice, under two draws of dropout."""

    def __init__(self, trainee: Trainee, stage: Simcse, texts: Sequence[Path], work: Path) -> None:
        self.trainee = trainee
        self.stage = stage
        self._order = lru_cache(maxsize=2)(self._shuffle)
        self._table = text_table(texts, work)
        if len(self._table) < 2:
            raise AdaptError("there is 1 text; expected at least 2, as texts are each other's negatives: give more")
        self._tokenise = tokenisation(trainee, stage.training.max_length)
        self._size = min(stage.training.batch_size, len(self._table))
        share(self._size)

    @property
    def rows_per_step(self) -> int:
        """See ``Task``."""
        return self._size

    def _numbers(self, step: int) -> np.ndarray:
        each = len(self._table) // self._size
        epoch, place = divmod(step, each)
        return self._order(epoch)[place * self._size : (place + 1) * self._size]

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.stage.training.seed, epoch]).permutation(len(self._table))

    def backward(self, model: Any, step: int) -> tuple[torch.Tensor, int]:
        """See ``Task``."""
        numbers = self._numbers(step)
        everything = self._table[numbers.tolist()]["text"]
        barred = _copies(everything)
        texts = everything[share(len(everything))]
        view = self._tokenise(texts, [None] * len(texts))

        def loss_of(vectors: list[torch.Tensor]) -> torch.Tensor:
            first, second = (gather(part) for part in vectors)
            return losses.info_nce(first, second, scale=self.stage.scale, barred=barred.to(first.device))

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
        """See ``Task``."""
        numbers = self._numbers(step)
        return f"{len(numbers)} texts, numbers {', '.join(map(str, numbers[:4]))}, …"


class SupervisedTask:
    """Queries, their positives and hard negatives, a batch from one data set at a time."""

    def __init__(self, trainee: Trainee, stage: Supervised, files: Sequence[PairFile], work: Path) -> None:
        if stage.matryoshka and max(stage.matryoshka) > trainee.config.hidden_size:
            raise AdaptError(
                f"matryoshka asks for {max(stage.matryoshka)} dimensions, the model has {trainee.config.hidden_size}; "
                "leave the larger ones out"
            )
        self.trainee = trainee
        self.stage = stage
        self._files = list(files)
        self._epoch = lru_cache(maxsize=2)(self._plan)
        self._tables = [pair_table(file, work) for file in files]
        self._sizes = [len(table) for table in self._tables]
        self._tokenise = tokenisation(trainee, stage.training.max_length)
        self._teacher: Teacher | None = load_teacher(stage.teacher) if stage.teacher else None
        share(self.rows_per_step)

    @property
    def rows_per_step(self) -> int:
        """See ``Task``."""
        return len(self._epoch(0)[0].rows)

    def _plan(self, epoch: int) -> list[Batch]:
        training = self.stage.training
        return batches(self._files, self._sizes, training.batch_size, training.seed, epoch)

    def _batch(self, step: int) -> Batch:
        epoch, place = divmod(step, len(self._epoch(0)))
        return self._epoch(epoch)[place]

    def backward(self, model: Any, step: int) -> tuple[torch.Tensor, int]:
        """See ``Task``."""
        stage = self.stage
        batch = self._batch(step)
        file = self._files[batch.file]
        rows = Rows.of([as_pair(row) for row in _take(self._tables[batch.file], batch.rows)], stage, step)
        own = share(len(rows.queries))
        local = rows.slice(own)
        documents = [*local.positives, *local.negatives]
        tokens = self._tokenise(
            [*local.queries, *documents],
            [file.instruction or None] * len(local.queries) + [file.candidate_instruction or None] * len(documents),
        )
        count = len(local.queries)
        groups = [tokens[:count], tokens[count : 2 * count], tokens[2 * count :]]
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
        return loss, sum(len(item.ids) for item in tokens)

    def describe(self, step: int) -> str:
        """See ``Task``."""
        batch = self._batch(step)
        return f"{len(batch.rows)} rows of {self._files[batch.file].name}, {', '.join(map(str, batch.rows[:4]))}, …"


class Rows:
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
    def of(cls, pairs: Sequence[Any], stage: Supervised, step: int) -> Rows:
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

    def slice(self, part: slice) -> Rows:
        """The rows of one process, with their negatives."""
        kept = range(*part.indices(len(self.queries)))
        mine = [i for i, owner in enumerate(self.owners) if owner in kept]
        return Rows(
            self.queries[part],
            self.positives[part],
            [self.negatives[i] for i in mine],
            [self.owners[i] - kept.start for i in mine],
            self.scores[part],
        )


def supervised_loss(
    queries: torch.Tensor, candidates: torch.Tensor, rows: Rows, stage: Supervised, taught: torch.Tensor | None
) -> torch.Tensor:
    """InfoNCE over positives and negatives, and what teachers say on top of it.

    ``queries`` (n, dim); ``candidates`` (n + m, dim) are the positives and then the negatives of ``rows``. ``taught``
    (n, n + m) are a teacher's cosines. False negatives are judged by the teacher where there is one.
    """
    count = len(queries)
    texts = torch.tensor([_number(text) for text in [*rows.positives, *rows.negatives]], device=queries.device)
    judged = losses.cosines(queries.detach(), candidates.detach()) if taught is None else taught
    barred = losses.false_negatives(judged, texts, margin=stage.margin)

    def loss(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
        asked, found = vectors
        value = losses.info_nce(asked, found[:count], found[count:], scale=stage.scale, barred=barred)
        if taught is not None and stage.teacher_weight:
            value = value + stage.teacher_weight * losses.distribution_loss(
                losses.cosines(asked, found), taught, scale=stage.scale, teacher_scale=stage.teacher_scale
            )
        if stage.row_weight and any(scores is not None for scores in rows.scores):
            value = value + stage.row_weight * _row_loss(losses.cosines(asked, found), rows, stage)
        return value

    return losses.matryoshka(loss, [queries, candidates], stage.matryoshka)


def _row_loss(scores: torch.Tensor, rows: Rows, stage: Supervised) -> torch.Tensor:
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


def mask_token_id(trainee: Trainee, wanted: str) -> int:
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


def _known(trainee: Trainee, token: int, wanted: str) -> int:
    """Refuse a token that the model has no embedding for, as a mask token added to the tokenizer alone."""
    if token >= trainee.config.vocab_size:
        raise AdaptError(
            f"mask_token {wanted!r} has the id {token}, the model knows {trainee.config.vocab_size} tokens; "
            "use blank or eos"
        )
    return token


def share(size: int) -> slice:
    """The rows of a batch that belong to this process. Raises AdaptError when the batch cannot be shared evenly."""
    rank, count = world()
    if size % count:
        raise AdaptError(f"a batch of {size} cannot be shared by {count} processes; give a multiple of {count}")
    each = size // count
    return slice(rank * each, (rank + 1) * each)


def tokenisation(trainee: Trainee, max_length: int) -> Tokenisation:
    """Tokenises for training as the encoder does for search, with the stage's own greatest length."""
    settings = trainee.settings.with_options(
        max_length=max_length, document_max_length=min(trainee.settings.document_max_length, max_length)
    )
    if settings.template is None:
        raise AdaptError("settings without a template; load the model with load_trainee")
    limit = getattr(trainee.config, "max_position_embeddings", None)
    return Tokenisation(trainee.tokenizer.backend_tokenizer, settings, settings.template, limit)


def _tokenised(trainee: Trainee, table: Any) -> Any:
    """Token ids of each text of a table with the special tokens the tokenizer adds."""
    backend = trainee.tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    for start in range(0, len(table), 1_024):
        for encoding in backend.encode_batch(table[start : start + 1_024]["text"]):
            ids = np.asarray(encoding.ids, dtype=np.int32)
            require_known(ids, trainee.config.vocab_size)
            yield ids


def _require_positions(trainee: Trainee, length: int) -> None:
    """Refuse blocks that are longer than the model has positions."""
    positions = getattr(trainee.config, "max_position_embeddings", None)
    if positions is not None and length > positions:
        raise AdaptError(f"max_length is {length}, the model has {positions} positions; give at most that")


def _take(table: Any, rows: np.ndarray) -> list[dict[str, Any]]:
    columns = table[rows.tolist()]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _copies(texts: Sequence[str]) -> torch.Tensor:
    """Which texts are copies of which others, bool (n, n) with a false diagonal."""
    numbers = torch.tensor([_number(text) for text in texts])
    same = numbers[:, None] == numbers[None, :]
    return same.fill_diagonal_(False)


def _number(text: str) -> int:
    """A number that is equal for equal texts, in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")
