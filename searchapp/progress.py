"""How long work says how far it is. The library calls a ``Progress``; the command line draws one as a bar."""

from __future__ import annotations

from typing import Protocol


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
