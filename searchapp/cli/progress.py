"""Progress bars: of a build (documents, tokens a second, rejected) and of training (steps, loss)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from tqdm import tqdm

from searchapp.cli.console import notice


class Bar:
    """Draws on standard error; where that is no terminal, a line at each stage is all."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._began = time.perf_counter()
        self._tokens = 0
        self._rejected = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def stage(self, name: str) -> None:
        """A stage begins."""
        self._close()
        if name != "encoding" or not sys.stderr.isatty():
            notice(f"{name} …")
            return
        self._began = time.perf_counter()
        self._bar = tqdm(desc=name, unit="doc", unit_scale=True, dynamic_ncols=True, smoothing=0.1)

    def advance(self, documents: int, tokens: int) -> None:
        """So many more documents were encoded."""
        self._tokens += tokens
        if self._bar is not None:
            if tokens or self._bar.n:
                self._bar.update(documents)
            else:  # already there when the build went on
                self._bar.initial = documents
                self._bar.n = documents
            self._show()

    def position(self, documents: int, fraction: float, rejected: int) -> None:
        """The sources have been read so far: this gives the total, and with it the time to go."""
        self._rejected = rejected
        if self._bar is not None and fraction > 0:
            self._bar.total = max(documents, round(documents / fraction))
            self._show()

    def _show(self) -> None:
        if self._bar is not None:
            rate = self._tokens / max(1e-6, time.perf_counter() - self._began)
            self._bar.set_postfix_str(f"{rate:,.0f} tokens/s, {self._rejected} rejected")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def counted(name: str, total: int, unit: str) -> Iterator[Callable[[int], object] | None]:
    """Yield what is to be told of so many more units; a bar on standard error, and None where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with tqdm(desc=name, total=total, unit=unit, unit_scale=True, dynamic_ncols=True, leave=False) as bar:
        yield bar.update


class Steps:
    """Shows the steps and the loss of training on standard error, where that is a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._began = time.perf_counter()
        self._tokens = 0.0

    def __enter__(self) -> Steps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, step: int, steps: int, values: dict[str, float]) -> None:
        """A step was made."""
        if not sys.stderr.isatty():
            return
        if self._bar is None:  # the first step of a run that goes on is not the first of the stage
            self._bar = tqdm(total=steps, initial=step - 1, unit="step", dynamic_ncols=True)
            self._began, self._tokens = time.perf_counter(), 0.0
        self._tokens += values["tokens"]
        rate = self._tokens / max(1e-6, time.perf_counter() - self._began)
        self._bar.update(step - self._bar.n)
        self._bar.set_postfix_str(f"loss {values['loss']:.4f}, {rate:,.0f} tokens/s")

    def close(self) -> None:
        """The stage is over."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
