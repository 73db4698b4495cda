"""Vectors as a caller gives them in Python: one with its record, or an array of them beside documents."""

from __future__ import annotations

from typing import Any

import numpy as np

from searchapp.errors import CorpusError, reason_of

BESIDE = "expected numbers (documents, dim), or the name of the column that holds them"


def vector_of(given: Any) -> np.ndarray | str:
    """The vector of a record as float32 (dim,), or what is wrong with it. Raises nothing."""
    try:
        with np.errstate(over="ignore"):  # what is beyond float32 is said to be not finite
            vector = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        return "a vector that is no list of numbers"
    if vector.ndim != 1 or not len(vector):
        return f"a vector of shape {vector.shape}, expected (dim,)"
    return vector if np.isfinite(vector).all() else "a vector with a value that is no finite number"


def vectors_beside(given: Any) -> np.ndarray | None:
    """Vectors beside documents as an array (n, dim), not copied where it is one already; None stays None.

    Raises CorpusError for what is no array of numbers.
    """
    if given is None:
        return None
    try:
        found: np.ndarray = given.detach().cpu().numpy() if hasattr(given, "detach") else np.asanyarray(given)
    except (TypeError, ValueError) as error:  # lists of several lengths; numbers that NumPy does not have
        raise CorpusError(f"the vectors cannot be read as an array ({reason_of(error)}); {BESIDE}") from error
    if found.ndim != 2 or found.dtype.kind not in "fiu" or not found.shape[1]:
        raise CorpusError(f"the vectors are an array {found.shape} of {found.dtype}; {BESIDE}")
    return found
