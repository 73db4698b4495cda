"""The one bar of the command line: it draws any ``Progress`` on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from searchapp.cli.console import notice

if TYPE_CHECKING:
    from tqdm import tqdm

RATES = {"tokens"}  # figures of what was done, shown as a rate; all others are shown as they stand


class Bar:
    """Draws a ``searchapp.progress.Progress``; where standard error is no terminal, a line at each stage is all.

    A stage without a unit is one step: it gets a line. With ``keep=False`` nothing is left on the screen, and nothing
    is said where there is no terminal: for what is over in a moment. ``lines=False`` says nothing there either, and
    keeps the bar on the screen. Rates are of this run: what an earlier run did is in the bar and in no rate.
    """

    def __init__(self, *, keep: bool = True, lines: bool = True) -> None:
        self._keep = keep
        self._lines = keep and lines
        self._bar: tqdm | None = None
        self._began = time.perf_counter()
        self._sums: dict[str, float] = {}
        self._shown: dict[str, float] = {}

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stage(self, name: str, total: int | None = None, unit: str = "", done: int = 0) -> None:
        """A stage begins."""
        self.close()
        self._began, self._sums, self._shown = time.perf_counter(), {}, {}
        if not unit or not sys.stderr.isatty():
            if self._lines:
                notice(f"{name} …")
            return
        from tqdm import tqdm

        self._bar = tqdm(
            desc=name,
            total=total,
            initial=done,
            unit=unit,
            unit_scale=True,
            dynamic_ncols=True,
            smoothing=0.1,
            leave=self._keep,
        )

    def advance(self, count: int = 1, **figures: float) -> None:
        """So many more units are done."""
        for name, value in figures.items():
            if name in RATES:
                self._sums[name] = self._sums.get(name, 0.0) + value
            else:
                self._shown[name] = value
        if self._bar is not None:
            self._bar.update(count)
            self._draw_figures()

    def expect(self, total: int, **figures: float) -> None:
        """A better estimate of the total."""
        self._shown.update(figures)
        if self._bar is not None:
            self._bar.total = total
            self._draw_figures()

    def close(self) -> None:
        """The last stage is over."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _draw_figures(self) -> None:
        if self._bar is None:
            return
        seconds = max(1e-6, time.perf_counter() - self._began)
        rates = [f"{value / seconds:,.0f} {name}/s" for name, value in self._sums.items()]
        shown = [f"{name} {value:,.4g}" for name, value in self._shown.items()]
        self._bar.set_postfix_str(", ".join([*shown, *rates]))
