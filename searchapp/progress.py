"""How long work says how far it is. The library calls a ``Progress``; the command line draws one as a bar."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Progress(Protocol):
    """Work done in stages, each a count of units. Figures are what a reader wants to see beside the count."""

    def stage(self, name: str, total: int | None = None, unit: str = "", done: int = 0) -> None:
        """A stage begins, and the one before it has ended.

        ``total``: its units, where that is known; ``done``: those that an earlier run did.
        """
        ...

    def advance(self, count: int = 1, **figures: float) -> None:
        """So many more units are done. ``figures``: of these units (``tokens``) or as they stand now (``loss``)."""
        ...

    def expect(self, total: int, **figures: float) -> None:
        """A better estimate of the stage's total. ``figures``: as they stand now (``rejected``)."""
        ...


class Silent:
    """A ``Progress`` that says nothing."""

    def stage(self, name: str, total: int | None = None, unit: str = "", done: int = 0) -> None:
        """Say nothing."""

    def advance(self, count: int = 1, **figures: float) -> None:
        """Say nothing."""

    def expect(self, total: int, **figures: float) -> None:
        """Say nothing."""


class Bars:
    """A ``Progress`` that draws each stage as a bar: in a notebook as a widget, in a terminal as a line."""

    def __init__(self) -> None:
        self._bar: Any = None

    def stage(self, name: str, total: int | None = None, unit: str = "", done: int = 0) -> None:
        """A stage begins."""
        from tqdm.auto import tqdm

        self.close()
        if unit:
            self._bar = tqdm(desc=name, total=total, initial=done, unit=unit, unit_scale=True, leave=False)

    def advance(self, count: int = 1, **figures: float) -> None:
        """So many more units are done."""
        if self._bar is not None:
            self._bar.update(count)

    def expect(self, total: int, **figures: float) -> None:
        """A better estimate of the total."""
        if self._bar is not None:
            self._bar.total = total
            self._bar.refresh()

    def close(self) -> None:
        """The last stage is over."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def shown(progress: Progress | bool | None) -> Iterator[Progress]:
    """The ``Progress`` that a function of the library tells: the given one; True: bars; False: none.

    None: bars in a notebook and where standard error is a terminal.
    """
    if progress is None:
        progress = "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())
    if not isinstance(progress, bool):
        yield progress
        return
    bars = Bars() if progress else None
    try:
        yield bars or Silent()
    finally:
        if bars is not None:
            bars.close()
