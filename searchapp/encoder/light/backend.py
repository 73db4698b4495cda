"""NumPy behind the loop: one decoder on the CPU, texts laid end to end; for a few short texts, such as queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searchapp.encoder.backend import Result, flat_places, layout
from searchapp.encoder.batching import require_known
from searchapp.encoder.light.llama import Llama
from searchapp.encoder.tokenization import Tokens

BUDGET = 4_096  # tokens in a batch; its size changes nothing on one thread, and large products are worth several


class NumpyBackend:
    """See ``Backend``."""

    name = "numpy"
    dtype = "float32"
    device = "cpu"
    padded = False

    def __init__(self, model: Llama, pooling: str) -> None:
        self._model, self._pooling = model, pooling
        self.budget, self.shrunk, self.positions = BUDGET, False, 0

    def submit(self, batch: Sequence[Tokens]) -> Result:
        """As ``Backend.submit``. Raises ModelError for a token that the model does not know."""
        states = self._states(batch)
        begins, weights = layout(batch, self._pooling, None)
        if self._pooling == "max":
            vectors = _highest(states, weights, begins)
        else:
            vectors = np.add.reduceat(states * weights[:, None], begins, axis=0)
        return lambda: vectors

    def submit_tokens(self, batch: Sequence[Tokens], places: Sequence[np.ndarray]) -> Result:
        """As ``Backend.submit_tokens``. Raises ModelError for a token that the model does not know."""
        found: np.ndarray = self._states(batch)[flat_places(batch, places, None)]
        return lambda: found

    def _states(self, batch: Sequence[Tokens]) -> np.ndarray:
        ids = np.concatenate([item.ids for item in batch])
        require_known(ids, self._model.config.vocab_size)
        return self._model(ids, [len(item.ids) for item in batch])


def _highest(states: np.ndarray, weights: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """The highest value of each dimension where ``weights`` are not 0, of each sequence; 0 where there is none."""
    kept = np.where(weights[:, None] == 0, np.float32("-inf"), states)
    found = np.maximum.reduceat(kept, begins, axis=0)
    return np.where(np.isneginf(found), np.float32(0), found)
