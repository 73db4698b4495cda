"""The one family of errors a user can cause. Each message says what was found, what was expected and what to do."""

from __future__ import annotations

import errno
import re


class SearchAppError(Exception):
    """The user's input, options or surroundings are wrong; the command line prints the message and exits with 2."""


class CorpusError(SearchAppError):
    """A source cannot be read as documents."""


class ModelError(SearchAppError):
    """A model cannot be loaded, or cannot be trusted to embed."""


class IndexStoreError(SearchAppError):
    """An index directory is missing, damaged, busy, or does not fit the request."""


class EvaluationError(SearchAppError):
    """A test collection, run or metric cannot be used."""


class AdaptError(SearchAppError):
    """Training data or a setting of the recipe cannot be used."""


def reason_of(error: BaseException) -> str:
    """The first line of another library's error, for a message of one line; its type where it says nothing."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def shown_address(text: str) -> str:
    """What was given as a server's address, for a message: without user, password and query, which may be secret.

    It need not be a URL: what stands before the last ``@`` is left out.
    """
    kept = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", r"\1…@", text, flags=re.DOTALL)
    return re.sub(r"([?#]).+", r"\1…", kept, flags=re.DOTALL)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error of the system says that the disk, or the user's part of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def why_unwritten(error: BaseException) -> str:
    """Why a file could not be written, with what helps: room where the disk is full, else another look at the path."""
    return f"{reason_of(error)}; {'make room' if is_disk_full(error) else 'check the path and its permissions'}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, in Python, numpy or torch, on a CPU or a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        part in words for part in ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")
    )
