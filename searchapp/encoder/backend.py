"""What runs the model on a batch: the interface that the loop sees, and torch behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from searchapp.encoder.attention import NAME, packed_lengths
from searchapp.encoder.batching import BUDGET, PACKED_BUDGET, pad, require_known
from searchapp.encoder.pooling import highest, token_weights, weigh
from searchapp.encoder.tokenization import Tokens
from searchapp.heap import keep_freed_memory

if TYPE_CHECKING:
    import torch

Result = Callable[[], np.ndarray]  # waits for the vectors of a batch that was submitted


class Backend(Protocol):
    """One model on one device."""

    name: str  # as in --backend
    dtype: str  # what it multiplies in
    device: str  # cpu or cuda
    padded: bool  # whether a batch costs its longest text times its texts
    budget: int  # positions in a batch; halved when memory runs out
    shrunk: bool  # whether it was
    positions: int  # computed so far, padding among them

    def submit(self, batch: Sequence[Tokens]) -> Result:
        """Begin to embed texts that all have tokens, longest first. The result, when called, is float32 (n, dim)."""

    def submit_tokens(self, batch: Sequence[Tokens], places: Sequence[np.ndarray]) -> Result:
        """As ``submit``, for the last hidden states at each text's ``places``: float32 (all of them, width)."""


class TorchBackend:
    """A transformers decoder, packed where its attention allows it, else padded."""

    name = "torch"

    def __init__(self, model: Any, tokenizer: Any, pooling: str) -> None:
        self.model = model
        self._tokenizer = tokenizer
        self._pooling = pooling
        self._place: torch.device = next(model.parameters()).device
        self.device = str(self._place.type)
        self.dtype = str(model.dtype).removeprefix("torch.")
        self.padded = model.config._attn_implementation != NAME
        self.budget = (BUDGET if self.padded else PACKED_BUDGET)[self.device]
        if self.device == "cpu":
            keep_freed_memory()
        self.shrunk, self.positions = False, 0

    def submit(self, batch: Sequence[Tokens]) -> Result:
        """As ``Backend.submit``. Raises ModelError for a token that the model does not know."""
        import torch

        with torch.inference_mode():
            hidden, width = self._padded(batch) if self.padded else self._packed(batch)
            begins, weights = layout(batch, self._pooling, width)
            combine = highest if self._pooling == "max" else weigh
            return self._result(combine(hidden, self._send(weights), self._send(begins)))

    def submit_tokens(self, batch: Sequence[Tokens], places: Sequence[np.ndarray]) -> Result:
        """As ``Backend.submit_tokens``. Raises ModelError for a token that the model does not know."""
        import torch

        with torch.inference_mode():
            hidden, width = self._padded(batch) if self.padded else self._packed(batch)
            return self._result(hidden[self._send(flat_places(batch, places, width))].float())

    def _packed(self, batch: Sequence[Tokens]) -> tuple[torch.Tensor, None]:
        lengths = [len(item.ids) for item in batch]
        ids = np.concatenate([item.ids for item in batch]).astype(np.int64)
        require_known(ids, self.model.config.vocab_size)
        if filler := self.computed(len(ids)) - len(ids):  # a text behind the others, whose states are dropped
            ids, lengths = np.concatenate([ids, np.full(filler, ids[-1])]), [*lengths, filler]
        places = np.concatenate([*(np.arange(len(item.ids)) for item in batch), np.zeros(filler, dtype=np.int64)])
        packing = packed_lengths(lengths)
        if self.device != "cpu":
            packing = replace(packing, cu_seqlens=self._send(packing.cu_seqlens.numpy()))
        states = self.model(
            input_ids=self._send(ids)[None],
            position_ids=self._send(places)[None],
            packed_lengths=packing,
            use_cache=False,
        ).last_hidden_state
        return states[0, : len(ids) - filler], None

    def computed(self, tokens: int) -> int:
        """Positions that a packed batch of so many tokens is computed in.

        On a CPU oneDNN keeps the kernels that it makes for each number of rows in bfloat16, about half a megabyte a
        batch, without end; so rows are rounded up by at most a thirty-second, and there are few numbers of them.
        """
        if self.device != "cpu" or self.dtype == "float32":
            return tokens
        step = max(8, 1 << max(0, tokens.bit_length() - 6))
        return -(-tokens // step) * step

    def _padded(self, batch: Sequence[Tokens]) -> tuple[torch.Tensor, int]:
        ids, mask = pad([item.ids for item in batch], self._tokenizer, self.model.config.vocab_size)
        states = self.model(
            input_ids=self._send(ids),
            attention_mask=None if mask.all() else self._send(mask.astype(np.int64)),
            use_cache=False,
        ).last_hidden_state
        return states.flatten(0, 1), ids.shape[1]

    def _send(self, array: np.ndarray) -> torch.Tensor:
        """Copy an array to the model's device; to CUDA from pinned memory, without waiting for it."""
        import torch

        tensor = torch.from_numpy(array)
        return tensor if self.device == "cpu" else tensor.pin_memory().to(self._place, non_blocking=True)

    def _result(self, vectors: torch.Tensor) -> Result:
        import torch

        if self.device == "cpu":
            return vectors.numpy
        host = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
        host.copy_(vectors, non_blocking=True)
        make_event: Any = torch.cuda.Event  # torch does not type its constructor
        copied = make_event()
        copied.record(torch.cuda.current_stream(self._place))

        def result() -> np.ndarray:
            copied.synchronize()
            return host.numpy()

        return result


def flat_places(batch: Sequence[Tokens], places: Sequence[np.ndarray], width: int | None) -> np.ndarray:
    """Places in each sequence as places in the states laid end to end, int64; ``width`` as in ``layout``."""
    sizes = [len(item.ids) if width is None else width for item in batch]
    begins = np.cumsum([0, *sizes[:-1]])
    return np.concatenate([begin + own for begin, own in zip(begins, places, strict=True)]).astype(np.int64)


def layout(batch: Sequence[Tokens], pooling: str, width: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Where each sequence begins in the states laid end to end, and what each position weighs in its vector.

    ``width`` is the length that every sequence was padded to, None when they were packed.
    """
    weights = [token_weights(item.start, item.end, len(item.ids), pooling) for item in batch]
    if width is not None:
        weights = [np.pad(row, (0, width - len(row))) for row in weights]
    sizes = [len(row) for row in weights]
    return np.cumsum([0, *sizes[:-1]]), np.concatenate(weights)
