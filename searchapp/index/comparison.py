"""One comparison of a filter: the values of a metadata key with a literal, over all rows of a segment."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.index.storage.documents import as_float, kind_of

if TYPE_CHECKING:
    import pyarrow as pa

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")  # as JSON writes numbers
EXACT = 2.0**53  # below it a float64 holds every integer
TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "equal": operator.eq, "less": operator.lt, "less_equal": operator.le, "greater": operator.gt,
    "greater_equal": operator.ge,
}  # fmt: skip


@dataclass(frozen=True)
class Literal:
    """A value as a filter has it, and a number's text, which says more than the float nearest to it."""

    value: bool | int | float | str
    text: str = ""

    @property
    def decimal(self) -> Decimal:
        """The number as it is written."""
        if isinstance(self.value, float):
            return decimal_of(self.text.replace("_", "")) or Decimal(repr(self.value))
        return Decimal(self.value)


def decimal_of(text: str) -> Decimal | None:
    """The number that a text is, exactly; None where it is none as JSON writes numbers, such as 007 or +1."""
    if not NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of more than 18 digits
        return None


def compare(
    segment: pa.StructArray, key: str, operation: str, literal: Literal, metadata: Callable[[], pa.Array] | None
) -> np.ndarray:
    """Where a key's value stands in a relation (a key of ``TESTS``) to a literal: bool (rows,).

    False where the key is missing or the types do not go together. ``metadata`` gives the segment's metadata as JSON
    text, for numbers that the typed column holds rounded.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, value = kind_of(literal.value), literal.value
    passed = np.zeros(len(segment), dtype=bool)
    column = _column(segment, f"{kind}:{key}")
    if column is not None and kind != "number":
        passed |= _array(getattr(pc, operation)(column, pa.scalar(value, column.type)))
    if isinstance(value, bool | str):
        return passed
    if column is not None and pa.types.is_integer(column.type):
        passed |= _integers(column, operation, value)
    elif column is not None:
        passed |= _floats(column, key, operation, value, metadata)
    texts = _column(segment, f"text:{key}")
    if texts is not None:
        passed |= _texts(texts, operation, literal)
    return passed


def _column(segment: pa.StructArray, name: str) -> pa.Array | None:
    place = segment.type.get_field_index(name)
    return None if place < 0 else segment.field(place)


def _array(passed: pa.Array) -> np.ndarray:
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(passed, False))


def _integers(column: pa.Array, operation: str, value: int | float) -> np.ndarray:
    """64-bit integers with any number: x < 2.5 is x < 3, x <= 2.5 is x <= 2."""
    import pyarrow as pa
    import pyarrow.compute as pc

    none = np.zeros(len(column), dtype=bool)
    if isinstance(value, int):
        bound = value  # of any size, also beyond every float
    elif math.isnan(value):
        return none
    elif math.isinf(value):
        bound = 2**64 if value > 0 else -(2**64)
    else:
        bound = math.ceil(value) if operation in ("less", "greater_equal") else math.floor(value)
    if operation == "equal" and bound != value:
        return none
    if -(2**63) <= bound < 2**63:
        return _array(getattr(pc, operation)(column, pa.scalar(bound, column.type)))
    every = operation != "equal" and operation.startswith("less") == (bound > 0)
    return np.asarray(pc.is_valid(column)) if every else none


def _floats(
    column: pa.Array, key: str, operation: str, value: int | float, metadata: Callable[[], pa.Array] | None
) -> np.ndarray:
    """Numbers that the column holds as the nearest float64, with any number.

    Rounding keeps the order, so only where both round to the same float is it not known yet; there the number itself
    is read from the metadata.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    nearest = as_float(value)
    scalar = pa.scalar(nearest, pa.float64())
    passed = np.array(_array(getattr(pc, operation)(column, scalar)))
    if metadata is None or abs(nearest) < EXACT:
        return passed
    unknown = np.flatnonzero(_array(pc.equal(column, scalar)))
    if len(unknown):
        for row, text in zip(unknown, metadata().take(pa.array(unknown)).to_pylist(), strict=True):
            passed[row] = TESTS[operation](json.loads(text)[key], value)
    return passed


def _texts(column: pa.Array, operation: str, literal: Literal) -> np.ndarray:
    """Text that is a number, with a number: by value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    none = np.zeros(len(column), dtype=bool)
    value = literal.value
    if isinstance(value, float) and math.isnan(value):
        return none
    numeric = _array(pc.match_substring_regex(column, f"^(?:{NUMBER.pattern})$"))
    if not numeric.any():
        return none
    wanted, test = literal.decimal, TESTS[operation]
    distinct = pc.unique(column.filter(pa.array(numeric)))
    right = [text for text in distinct.to_pylist() if (number := decimal_of(text)) is not None and test(number, wanted)]
    return none if not right else _array(pc.is_in(column, pa.array(right, column.type)))
