"""Indexes and models that load in the background while tools are listed already: words first, the model after."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from searchapp.assistants.fault import ToolError, scrubbed
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.assistants.local import LocalLibrary

log = logging.getLogger(__name__)


class Loading:
    """A thread that opens indexes for searches by words, then loads their models."""

    def __init__(self, indexes: dict[str, Path], device: str = "auto", reranker: str | None = None) -> None:
        self._indexes, self._device, self._reranker = indexes, device, reranker
        self._library: LocalLibrary | None = None
        self._failure: str | None = None
        self._ready = threading.Event()

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._load, name="load", daemon=True).start()

    def library(self, deadline: float) -> LocalLibrary:
        """The library, once it can be asked. Raises ToolError where it cannot, or not before the deadline."""
        if not self._ready.wait(max(0.0, deadline - time.monotonic())):
            raise ToolError("the indexes are still being opened; ask again in 5 s")
        if self._library is None:
            raise ToolError(f"{self._failure}; a person has to put that right and start this server again")
        return self._library

    def _load(self) -> None:
        try:
            self._safely(self._open)
        finally:
            self._ready.set()
        if self._library is not None:
            self._safely(self._library.load_models)

    def _open(self) -> None:
        from searchapp.assistants.local import LocalLibrary  # NumPy, PyArrow: a second

        library = LocalLibrary(self._indexes, self._device, self._reranker)
        library.open()
        self._library = library

    def _safely(self, step: Callable[[], None]) -> None:
        try:
            step()
        except SearchAppError as error:
            self._failure = scrubbed(str(error), self._indexes)
            log.error("%s", error)
        except Exception as error:
            self._failure = f"the indexes cannot be opened ({type(error).__name__})"
            log.exception("loading failed")
