"""The one loop: tokenized texts through a backend, longest first, one batch always in flight, in their own order."""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from searchapp.encoder.backend import Backend, Result
from searchapp.encoder.batching import next_batch
from searchapp.encoder.tokenization import Tokens
from searchapp.errors import ModelError, is_out_of_memory
from searchapp.progress import Progress, Silent

LEAST_BUDGET = 16  # positions: when not even that fits, no smaller batch will
T = TypeVar("T")
Submit = Callable[[Sequence[Tokens], np.ndarray], Result]  # of a batch, and which of the texts it has
log = logging.getLogger("searchapp")


def embed(
    backend: Backend, items: Sequence[Tokens], dim: int, *, most: int | None = None, progress: Progress | None = None
) -> np.ndarray:
    """Float32 (n, dim) of tokenized texts, not normalised; a text without a token has the zero vector.

    Longest first, so that what does not fit shows at once: when memory runs out, the backend's budget is halved and
    stays so. ``most`` bounds the texts in a batch. ``progress`` advances by the texts of a batch, with the figure
    ``tokens``. Raises ModelError when one text alone does not fit, and for values that are not finite.
    """
    vectors = np.zeros((len(items), dim), dtype=np.float32)

    def submit(batch: Sequence[Tokens], _: np.ndarray) -> Result:
        return backend.submit(batch)

    for chosen, part in _batches(backend, items, submit, most, progress or Silent()):
        vectors[chosen] = part
    return vectors


def embed_tokens(
    backend: Backend,
    items: Sequence[Tokens],
    places: Sequence[np.ndarray],
    *,
    most: int | None = None,
    progress: Progress | None = None,
) -> list[np.ndarray]:
    """Last hidden states float32 (n, width) at the ``places`` (n,) of each tokenized text; otherwise as ``embed``.

    A text without a token has None in place of an array.
    """
    found: list[Any] = [None] * len(items)

    def submit(batch: Sequence[Tokens], chosen: np.ndarray) -> Result:
        return backend.submit_tokens(batch, [places[number] for number in chosen])

    for chosen, part in _batches(backend, items, submit, most, progress or Silent()):
        ends = np.cumsum([len(places[number]) for number in chosen])
        for number, rows in zip(chosen, np.split(part, ends[:-1]), strict=True):
            found[number] = rows.copy()  # not a view, which would hold a whole batch for one text
    return found


def _batches(
    backend: Backend,
    items: Sequence[Tokens],
    submit: Submit,
    most: int | None,
    progress: Progress,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield which texts a batch had, and its result; texts without a token are in none."""
    lengths = np.array([len(item.ids) for item in items], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    if len(order) < len(items):
        progress.advance(len(items) - len(order), tokens=0)
    submitted: list[tuple[np.ndarray, Result]] = []
    while len(order) or submitted:
        if len(order):
            chosen = order[: next_batch(lengths[order], backend.budget, most, padded=backend.padded)]
            if (result := _submit(backend, [items[i] for i in chosen], chosen, submit)) is None:
                continue  # did not fit: the same texts again, in smaller batches
            submitted.append((chosen, result))
            order = order[len(chosen) :]
        if len(submitted) > 1 or not len(order):
            chosen, result = submitted.pop(0)
            part = result()
            if not np.isfinite(part).all():
                raise ModelError(f"the model gives values that are not finite in {backend.dtype}; use float32")
            yield chosen, part
            progress.advance(len(chosen), tokens=int(lengths[chosen].sum()))


def _submit(backend: Backend, batch: Sequence[Tokens], chosen: np.ndarray, submit: Submit) -> Result | None:
    """Submit a batch; None when memory ran out, with the budget halved."""
    try:
        result = submit(batch, chosen)
        backend.positions += _positions(backend, batch)
        return result
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1 or backend.budget <= LEAST_BUDGET:
            raise ModelError(
                f"{backend.device} has no memory for one text of {len(batch[0].ids)} tokens beside the model; "
                "use a smaller --max-length, --dtype bfloat16, or a device with more memory"
            ) from error
    backend.budget = max(LEAST_BUDGET, min(backend.budget, _positions(backend, batch)) // 2)
    first, backend.shrunk = not backend.shrunk, True
    if first:
        log.warning("out of memory on %s: going on with smaller batches, of %d tokens", backend.device, backend.budget)
    if "torch" in sys.modules:
        import torch

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


def prefetch(source: Iterable[T], depth: int = 1) -> Generator[T]:
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
        except BaseException as error:  # raised again where the items are awaited
            put(_Raised(error))

    thread = threading.Thread(target=run, name="searchapp-prefetch", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, _Raised):
                raise item.error
            yield item
    finally:
        over.set()
        thread.join(timeout=5)  # no longer: its source may never answer
