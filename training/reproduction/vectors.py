"""Vectors by several poolings out of one pass over the texts, which goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from searchapp import Encoder
from searchapp.atomic import atomic_write
from searchapp.encoder.inference import embed_tokens
from searchapp.encoder.pooling import token_weights

WINDOW = 512  # texts whose states are held together


@dataclass(frozen=True)
class Pass:
    """An encoder whose vectors of each window are kept in the directory ``kept`` (None: nowhere)."""

    encoder: Encoder
    kept: Path | None = None

    def pooled(
        self, texts: Sequence[str], poolings: Sequence[str], instruction: str | None = None
    ) -> dict[str, np.ndarray]:
        """Unit vectors float32 (n, dim) of each pooling, equal to those of an encoder that is loaded with it.

        Each distinct text is encoded once, the shortest first, so that texts of a window are of one length.
        """
        distinct = sorted(dict.fromkeys(texts), key=len)
        windows = [distinct[begin : begin + WINDOW] for begin in range(0, len(distinct), WINDOW)]
        found = [self._window(window, poolings, instruction) for window in windows]
        where = {text: place for place, text in enumerate(distinct)}
        order = [where[text] for text in texts]
        return {
            pooling: _unit(np.concatenate([window[number] for window in found]))[order]
            for number, pooling in enumerate(poolings)
        }

    def _window(self, texts: Sequence[str], poolings: Sequence[str], instruction: str | None) -> np.ndarray:
        """Vectors as they are pooled, (poolings, texts, dim)."""
        if self.kept is None:
            return self._encoded(texts, poolings, instruction)
        asked = json.dumps([self.encoder.fingerprint["sha256"], list(poolings), instruction, list(texts)])
        path = self.kept / f"{hashlib.sha256(asked.encode()).hexdigest()}.npy"
        if path.exists():
            return np.load(path)  # type: ignore[no-any-return]
        vectors = self._encoded(texts, poolings, instruction)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            np.save(file, vectors)
        return vectors

    def _encoded(self, texts: Sequence[str], poolings: Sequence[str], instruction: str | None) -> np.ndarray:
        vectors = np.zeros((len(poolings), len(texts), self.encoder.width), dtype=np.float32)
        items = self.encoder.tokenize(self.encoder.inputs(list(texts), instruction))
        states = embed_tokens(self.encoder.backend, items, [np.arange(len(item.ids)) for item in items])
        for place, (item, rows) in enumerate(zip(items, states, strict=True)):
            if rows is not None:  # a text of one token at least
                for number, pooling in enumerate(poolings):
                    vectors[number, place] = token_weights(item.start, item.end, len(item.ids), pooling) @ rows
        return vectors


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
