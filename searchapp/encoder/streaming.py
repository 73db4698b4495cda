"""Inputs of any number to vectors, window by window, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

import numpy as np

from searchapp.encoder.inference import embed, prefetch
from searchapp.encoder.window import SHARD, EncodeInput, Window, windows
from searchapp.errors import ModelError
from searchapp.progress import Progress

if TYPE_CHECKING:
    from searchapp.encoder.backend import Backend
    from searchapp.encoder.cache import VectorCache
    from searchapp.encoder.head import Head
    from searchapp.encoder.tokenization import Tokens
    from searchapp.encoder.workers import EncoderPool


class StreamedEncoder(Protocol):
    """What is needed here of an encoder; see ``Encoder``."""

    backend: Backend
    cache: VectorCache | None
    head: Head

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def width(self) -> int:
        """Length of a hidden state."""
        ...

    @property
    def cache_scope(self) -> str:
        """What names the encoder in a cache of vectors."""
        ...

    def tokenize(self, inputs: Sequence[EncodeInput]) -> list[Tokens]:
        """The tokens of each text behind its instruction."""
        ...


def stream(
    encoder: StreamedEncoder,
    pool: EncoderPool | None,
    inputs: Iterable[EncodeInput],
    normalize: bool,
    most: int | None,
    progress: Progress,
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield float32 vectors (n, dim) and the number of tokens of one window of inputs after another.

    ``pool`` has the encoders of several devices; ``most`` bounds the texts of a batch. Vectors that are kept in the
    encoder's cache are taken from there, and cost no tokens. Raises ModelError for a bound below 1.
    """
    if most is not None and most < 1:
        raise ModelError(f"batch_size is {most}; expected a number of texts above 0")
    cut = windows(inputs, SHARD if pool else None)
    for window, computed, tokens in _computed(encoder, pool, cut, most, progress):
        vectors = window.fill(computed, encoder.dim, encoder.cache)
        if known := len(window.which) - len(window.missing):
            progress.advance(known, tokens=0)
        if normalize:
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            np.divide(vectors, norms, out=vectors, where=norms > 0)
        yield vectors, tokens


def _computed(
    encoder: StreamedEncoder,
    pool: EncoderPool | None,
    found: Iterable[list[EncodeInput]],
    most: int | None,
    progress: Progress,
) -> Iterator[tuple[Window, np.ndarray, int]]:
    """Yield each window with float32 vectors of what is missing in it, tokenizing the next one meanwhile."""
    scope = encoder.cache_scope if encoder.cache is not None else ""
    opened = (Window.open(inputs, encoder.cache, scope) for inputs in found)
    if pool is not None:
        yield from pool.map(opened, most, progress)
        return
    with closing(prefetch((window, encoder.tokenize(window.missing)) for window in opened)) as ready:
        for window, items in ready:
            vectors = encoder.head(embed(encoder.backend, items, encoder.width, most=most, progress=progress))
            yield window, vectors, sum(len(item.ids) for item in items)
