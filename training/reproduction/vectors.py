"""Vectors by several poolings out of one pass over the texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searchapp import Encoder
from searchapp.encoder.inference import embed_tokens
from searchapp.encoder.pooling import token_weights

WINDOW = 512  # texts whose states are held together


def pooled(
    encoder: Encoder, texts: Sequence[str], poolings: Sequence[str], instruction: str | None = None
) -> dict[str, np.ndarray]:
    """Unit vectors float32 (n, dim) of each pooling, equal to those of an encoder that is loaded with it.

    Each distinct text is encoded once, the shortest first, so that texts of a window are of one length.
    """
    distinct = sorted(dict.fromkeys(texts), key=len)
    found = {pooling: np.zeros((len(distinct), encoder.width), dtype=np.float32) for pooling in poolings}
    for begin in range(0, len(distinct), WINDOW):
        items = encoder.tokenize(encoder.inputs(distinct[begin : begin + WINDOW], instruction))
        states = embed_tokens(encoder.backend, items, [np.arange(len(item.ids)) for item in items])
        for place, (item, rows) in enumerate(zip(items, states, strict=True), begin):
            if rows is not None:  # a text of one token at least
                for pooling in poolings:
                    found[pooling][place] = token_weights(item.start, item.end, len(item.ids), pooling) @ rows
    where = {text: place for place, text in enumerate(distinct)}
    order = [where[text] for text in texts]
    return {pooling: _unit(vectors)[order] for pooling, vectors in found.items()}


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
