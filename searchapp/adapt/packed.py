"""What goes through the model in a step, laid end to end: no padding, and only the states that are read come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from searchapp.encoder.attention import PackedLengths, packed_lengths
from searchapp.encoder.batching import require_known
from searchapp.encoder.pooling import token_weights

if TYPE_CHECKING:
    from searchapp.encoder.tokenization import Tokens


@dataclass(frozen=True)
class PackedBatch:
    """Texts end to end: ``ids`` and ``positions`` int64 (1, tokens), their ``lengths``.

    ``rows`` int64 (k,), ascending, are the tokens whose last states are read; None for all of them.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    lengths: PackedLengths
    rows: torch.Tensor | None


@dataclass(frozen=True)
class Pooled:
    """How the states that are read become vectors: the text of each, int64 (k,), and its weight there (k,).

    ``highest`` takes the highest value of each dimension instead of the weighted sum.
    """

    owners: torch.Tensor
    weights: torch.Tensor
    count: int
    highest: bool = False

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """States (k, dim) → float32 (count, dim)."""
        wide = states.float()
        if not self.highest:
            made = wide.new_zeros(self.count, wide.shape[1])
            return made.index_add(0, self.owners, wide * self.weights[:, None])
        made = wide.new_full((self.count, wide.shape[1]), float("-inf"))
        made = made.scatter_reduce(0, self.owners[:, None].expand_as(wide), wide, "amax")
        return torch.where(made.isneginf(), 0.0, made)


@dataclass(frozen=True)
class Blocks:
    """Blocks of text as a packed batch, and the tokens to predict: a ``target`` int64 (k,) for each row that is read.

    Rows stand in the order of ``batch.rows``.
    """

    batch: PackedBatch
    targets: torch.Tensor


def pack_texts(texts: Sequence[Tokens], pooling: str, vocabulary: int, *, rounded: bool) -> tuple[PackedBatch, Pooled]:
    """Lay tokenized texts end to end, and say how their vectors are pooled.

    ``rounded`` puts a filler behind them, so that there are few numbers of tokens (see ``filler``). Raises ModelError
    for a token that the model does not know.
    """
    sizes = [len(item.ids) for item in texts]
    ids = np.concatenate([item.ids for item in texts]).astype(np.int64)
    require_known(ids, vocabulary)
    weights = np.concatenate([token_weights(item.start, item.end, len(item.ids), pooling) for item in texts])
    rows = np.flatnonzero(weights)
    owners = np.repeat(np.arange(len(texts)), sizes)[rows]
    batch = _batch(ids, sizes, rows, rounded)
    return batch, Pooled(
        torch.from_numpy(owners), torch.from_numpy(weights[rows]), len(texts), highest=pooling == "max"
    )


def pack_blocks(
    ids: torch.Tensor, labels: torch.Tensor, documents: torch.Tensor | None, ignored: int, *, rounded: bool
) -> Blocks:
    """Lay the documents in blocks (n, length) end to end, those of equal length beside each other.

    ``labels`` (n, length) are tokens to predict from the state before them, ``ignored`` elsewhere; ``documents``
    (n, length) numbers the documents, None where a block is one.
    """
    count, length = ids.shape
    border = np.zeros((count, length), dtype=bool)
    border[:, 0] = True
    if documents is not None:
        numbers = documents.numpy()
        border[:, 1:] |= numbers[:, 1:] != numbers[:, :-1]
    starts = np.flatnonzero(border)
    sizes = np.diff(starts, append=count * length)
    order = np.argsort(-sizes, kind="stable")
    places = np.concatenate([np.arange(starts[i], starts[i] + sizes[i]) for i in order])
    now = np.empty_like(places)  # of each token of the blocks: where it is in the batch
    now[places] = np.arange(len(places))
    wanted = labels.numpy().copy()
    wanted[:, 0] = ignored
    flat = wanted.reshape(-1)
    scored = np.flatnonzero(flat != ignored)
    rows = now[scored - 1]
    by_row = np.argsort(rows)
    batch = _batch(ids.numpy().reshape(-1)[places], sizes[order].tolist(), rows[by_row], rounded)
    return Blocks(batch, torch.from_numpy(flat[scored][by_row]))


def _batch(ids: np.ndarray, sizes: Sequence[int], rows: np.ndarray, rounded: bool) -> PackedBatch:
    sizes, spare = list(sizes), filler(len(ids)) if rounded else 0
    if spare:
        ids, sizes = np.concatenate([ids, np.full(spare, ids[-1])]), [*sizes, spare]
    positions = np.concatenate([np.arange(size) for size in sizes])
    return PackedBatch(
        torch.from_numpy(ids)[None],
        torch.from_numpy(positions)[None],
        packed_lengths(sizes),
        None if len(rows) == len(ids) else torch.from_numpy(rows),
    )


def filler(tokens: int) -> int:
    """Tokens to put behind so many, at most a thirty-second of them.

    In bfloat16 on a CPU oneDNN keeps the kernels that it makes for each number of rows, without end.
    """
    step = max(8, 1 << max(0, tokens.bit_length() - 6))
    return -tokens % step
