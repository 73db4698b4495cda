"""The one loop: tokenised texts through a backend, longest first, one batch always in flight, in their own order."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TypeVar

import numpy as np

from searchapp.encoder.backend import Backend, Collect
from searchapp.encoder.batching import take
from searchapp.encoder.tokenization import Tokens
from searchapp.errors import ModelError

LEAST_BUDGET = 16  # positions: when not even that fits, no smaller batch will
T = TypeVar("T")
Told = Callable[[int, int], None]  # texts and tokens of a batch that is done
log = logging.getLogger("searchapp")


def embed(
    backend: Backend, items: Sequence[Tokens], dim: int, *, most: int | None = None, told: Told | None = None
) -> np.ndarray:
    """Float32 (n, dim) of tokenised texts, not normalised; a text without a token has the zero vector.

    Longest first, so that what does not fit shows at once: when memory runs out, the backend's budget is halved and
    stays so. ``most`` bounds the texts in a batch. Raises ModelError when one text alone does not fit, and for values
    that are not finite.
    """
    lengths = np.array([len(item.ids) for item in items], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    vectors = np.zeros((len(items), dim), dtype=np.float32)
    if told is not None and len(order) < len(items):
        told(len(items) - len(order), 0)
    waiting: list[tuple[np.ndarray, Collect]] = []
    while len(order) or waiting:
        if len(order):
            chosen = order[: take(lengths[order], backend.budget, most, padded=backend.padded)]
            if (collect := _launched(backend, [items[i] for i in chosen])) is None:
                continue  # did not fit: the same texts again, in smaller batches
            waiting.append((chosen, collect))
            order = order[len(chosen) :]
        if len(waiting) > 1 or not len(order):
            chosen, collect = waiting.pop(0)
            vectors[chosen] = collect()
            if not np.isfinite(vectors[chosen]).all():
                raise ModelError(f"the model gives values that are not finite in {backend.dtype}; use float32")
            if told is not None:
                told(len(chosen), int(lengths[chosen].sum()))
    return vectors


def _launched(backend: Backend, batch: Sequence[Tokens]) -> Collect | None:
    """Launch a batch; None when memory ran out, with the budget halved."""
    import torch

    try:
        collect = backend.launch(batch)
        backend.positions += _positions(backend, batch)
        return collect
    except torch.OutOfMemoryError as error:
        if len(batch) == 1 or backend.budget <= LEAST_BUDGET:
            raise ModelError(
                f"{backend.device} has no memory for one text of {len(batch[0].ids)} tokens beside the model; "
                "use a smaller --max-length, --dtype bfloat16, or a device with more memory"
            ) from error
    backend.budget = max(LEAST_BUDGET, min(backend.budget, _positions(backend, batch)) // 2)
    first, backend.shrunk = not backend.shrunk, True
    if first:
        log.warning("out of memory on %s: going on with smaller batches, of %d tokens", backend.device, backend.budget)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _positions(backend: Backend, batch: Sequence[Tokens]) -> int:
    """Positions that the model computes for a batch, longest first, padding among them."""
    lengths = [len(item.ids) for item in batch]
    return len(lengths) * lengths[0] if backend.padded else sum(lengths)


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def ahead(source: Iterable[T], depth: int = 1) -> Generator[T]:
    """Iterate in a thread of its own, so that the next ``depth`` items are ready; what the source raises comes last.

    The thread ends with the iterator: when it is exhausted, closed, or left by an exception.
    """
    ready: queue.Queue[T | _Raised | None] = queue.Queue(depth)
    over = threading.Event()

    def put(item: T | _Raised | None) -> bool:
        while not over.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            for item in source:
                if not put(item):
                    return
            put(None)
        except BaseException as error:  # handed over, whatever it is, and raised where the items are awaited
            put(_Raised(error))

    thread = threading.Thread(target=run, name="searchapp-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, _Raised):
                raise item.error
            yield item
    finally:
        over.set()
        thread.join(timeout=5)  # it may be waiting for a source that does not answer
