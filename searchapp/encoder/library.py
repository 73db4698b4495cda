"""What transformers, peft and torch say while they load: silenced, and their errors as one line."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

LONGEST = 300  # characters of a library's message that are passed on


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what transformers and peft print while they load; what matters in it is checked and raised here.

    Their warnings are at level ``debug`` of our own logger.
    """
    from transformers.utils import logging as reports

    level = reports.get_verbosity()
    reports.set_verbosity(reports.CRITICAL)
    reports.disable_progress_bar()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always" if log.isEnabledFor(logging.DEBUG) else "ignore")
            yield
        for warning in said:
            log.debug("%s: %s", warning.category.__name__, warning.message)
    finally:
        reports.set_verbosity(level)


def explain(error: BaseException) -> str:
    """The first useful line of a library's error, with its type where the words alone say little."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    if "above report" in text:  # transformers' log, which is silenced
        text = "its tensors cannot be converted to the layout of this model"
    if not text or isinstance(error, TypeError | LookupError | ArithmeticError | AttributeError):
        text = f"{type(error).__name__}: {text}".rstrip(": ")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
