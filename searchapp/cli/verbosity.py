"""How much the program says beside its results, and how: the options that every command has.

They stand before or after the name of a command. Nothing of this reaches standard output, which has the results.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from searchapp.cli.console import NOTICES, write_line
from searchapp.logs import ROOT, JsonFormatter, LineHandler, PlainFormatter, handled_by

JSON_LOG = "SEARCHAPP_LOG"  # the environment variable; `json` is as --log-json
VERBOSE = (logging.INFO, logging.DEBUG)  # what the library says at -v and at -vv; without, its warnings


class Verbosity:
    """What the options ask for, at work from the moment an option is read."""

    def __init__(self, handler: LineHandler) -> None:
        self._handler = handler
        self._stderr: Any = None
        self.quiet, self.json, self.verbose = False, os.environ.get(JSON_LOG) == "json", 0
        self.apply()

    def apply(self) -> None:
        """Set the levels and the format. Raises BadParameter for both of --quiet and --verbose."""
        if self.quiet and self.verbose:
            import typer  # only an option that typer has read leads here

            raise typer.BadParameter("it cannot go with --verbose; leave one of them out", param_hint="--quiet")
        library = VERBOSE[min(self.verbose, len(VERBOSE)) - 1] if self.verbose else logging.WARNING
        logging.getLogger(ROOT).setLevel(logging.ERROR if self.quiet else library)
        logging.getLogger(NOTICES).setLevel(logging.ERROR if self.quiet else logging.INFO)
        self._handler.setFormatter(JsonFormatter() if self.json else PlainFormatter(NOTICES if self.verbose else None))
        if (self.quiet or self.json) and self._stderr is None:
            self._stderr, sys.stderr = sys.stderr, _NoTerminal(sys.stderr)

    def restore(self) -> None:
        """Give standard error back."""
        if self._stderr is not None:
            sys.stderr, self._stderr = self._stderr, None


class _NoTerminal:
    """Standard error on which nobody draws: every progress bar asks whether it is a terminal."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_current: Verbosity | None = None


@contextmanager
def verbosity() -> Iterator[None]:
    """Write what the loggers say to standard error, as the options ask, while the program runs."""
    global _current
    handler, before = LineHandler(write_line), _current
    notices = logging.getLogger(NOTICES).level
    with handled_by(handler, logging.WARNING):
        _current = Verbosity(handler)
        try:
            yield
        finally:
            _current.restore()
            _current = before
            logging.getLogger(NOTICES).setLevel(notices)


def ask(**wanted: Any) -> None:
    """Change what is asked for, and let it hold at once. Raises BadParameter."""
    if _current is not None and any(wanted.values()):
        for name, value in wanted.items():
            setattr(_current, name, value)
        _current.apply()
