"""What the program says beside its results: one logger, as lines for people or as JSON for machines.

Every module logs to ``logging.getLogger(__name__)``, below the logger ``searchapp``, which has no handler: a program
that uses the library has its own. The command line puts a ``LineHandler`` there. Levels: ``debug`` for what only a
developer asks for, ``info`` for what was done, with which figures, ``warning`` for what a user should know, ``error``
for what ended the work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ROOT = "searchapp"


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time (ISO 8601, UTC), level, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of ASCII."""
        import json

        content = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content)


class PlainFormatter(logging.Formatter):
    """The message as it is. With ``origin``, what comes from another logger begins with the time and its name."""

    def __init__(self, origin: str | None = None) -> None:
        super().__init__()
        self._origin = origin

    def format(self, record: logging.LogRecord) -> str:
        """The record, after the traceback where there is one."""
        text = record.getMessage()
        if self._origin is not None and record.name != self._origin:
            text = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {record.name}: {text}"
        return f"{self.formatException(record.exc_info)}\n{text}" if record.exc_info else text


class LineHandler(logging.Handler):
    """Hands every line to a function."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._write(self.format(record))
        except Exception:  # as every handler of logging: a line that cannot be made ends no work
            self.handleError(record)


@contextmanager
def handled_by(handler: logging.Handler, level: int) -> Iterator[logging.Logger]:
    """Let this handler alone have what the loggers of searchapp say, from a level on; afterwards all is as before."""
    logger = logging.getLogger(ROOT)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False  # a library that sets up the root logger would have every line twice
    try:
        yield logger
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
