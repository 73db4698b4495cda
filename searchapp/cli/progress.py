"""The one bar of the command line: it draws any ``Progress`` on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from searchapp.cli.console import notice, seconds_text

if TYPE_CHECKING:
    from tqdm import tqdm

FORECAST = 3  # units by which the time of the rest is told
WORTH_SAYING = 30.0  # seconds
RATES = {"tokens"}  # figures of what was done, shown as a rate; all others are shown as they stand


class Bar:
    """Draws a ``searchapp.progress.Progress``; where standard error is no terminal, a line at each stage is all.

    A stage without a unit is one step: it gets a line. With ``keep=False`` nothing is left on the screen, and nothing
    is said where there is no terminal: for what is over in a moment. ``lines=False`` says nothing there either, and
    keeps the bar on the screen. Rates are of this run: what an earlier run did is in the bar and in no rate.

    ``every`` is for work of hours: without a terminal a line comes after so many seconds, and in any case one that
    says after the first units how long the rest will take.
    """

    def __init__(self, *, keep: bool = True, lines: bool = True, every: float | None = None) -> None:
        self._keep = keep
        self._every = every
        self._lines = keep and lines
        self._bar: tqdm | None = None
        self._began = time.perf_counter()
        self._sums: dict[str, float] = {}
        self._shown: dict[str, float] = {}
        self._name, self._unit = "", ""
        self._total: int | None = None
        self._done, self._made = 0, 0  # units of an earlier run, and of this one
        self._said = self._began

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
        self._name, self._unit, self._total, self._done, self._made = name, unit, total, done, 0
        self._said = self._began
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
        self._made += count
        if self._bar is not None:
            self._bar.update(count)
            self._draw_figures()
        if self._every is not None and self._total is not None:
            self._say(self._every, first=self._made - count < FORECAST <= self._made)

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
        self._bar.set_postfix_str(self._figures())

    def _figures(self) -> str:
        seconds = max(1e-6, time.perf_counter() - self._began)
        rates = [f"{value / seconds:,.0f} {name}/s" for name, value in self._sums.items()]
        shown = [f"{name} {value:,.4g}" for name, value in self._shown.items()]
        return ", ".join([*shown, *rates])

    def _say(self, every: float, *, first: bool) -> None:
        """How long the rest takes, by the first units; later, without a terminal, where the work stands."""
        now = time.perf_counter()
        left = (self._total or 0) - self._done - self._made
        rest = left * (now - self._began) / self._made
        if first and rest >= WORTH_SAYING:
            self._said = now
            if self._bar is not None:
                self._bar.clear()
            notice(f"{self._name}: {left:,} {self._unit}s to go, about {seconds_text(rest)} ({self._figures()})")
            if self._bar is not None:
                self._bar.refresh()
        elif self._bar is None and left and now - self._said >= every:
            self._said = now
            done = f"{self._unit} {self._done + self._made:,} of {self._total:,}"
            notice(f"{self._name}: {done}, {self._figures()}, about {seconds_text(rest)} left")
