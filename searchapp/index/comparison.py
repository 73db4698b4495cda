"""One comparison of a filter: the values of a metadata key with a literal, over all rows of an index."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.index.columns import Columns, Texts, as_mask, decimal_of
from searchapp.index.storage.documents import as_float, kind_of

if TYPE_CHECKING:
    import pyarrow as pa

Metadata = Callable[[int], "pa.Array"]  # a segment's metadata as JSON text, by its number
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


def compare(columns: Columns, key: str, operation: str, literal: Literal, metadata: Metadata | None) -> np.ndarray:
    """Where a key's value stands in a relation (a key of ``TESTS``) to a literal: bool (rows,).

    False where the key is missing or the types do not go together. ``metadata`` gives a segment's metadata as JSON
    text, for numbers that the typed column holds rounded.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, value = kind_of(literal.value), literal.value
    if isinstance(value, bool):
        flags = columns.flags(key)
        return _none(columns) if flags is None else as_mask(getattr(pc, operation)(flags, pa.scalar(value)))
    texts = columns.texts(key)
    if kind == "text":
        if texts is None:
            return _none(columns)
        return texts.spread(as_mask(getattr(pc, operation)(texts.values, pa.scalar(value, texts.values.type))))
    found = []
    if not isinstance(value, str):
        if (integers := columns.integers(key)) is not None:
            found.append(_integers(integers, operation, value))
        if (floats := columns.floats(key)) is not None:
            found.append(_floats(floats, columns, key, operation, value, metadata))
    if texts is not None:
        found.append(_numeric(texts, operation, literal))
    return np.logical_or.reduce(found) if found else _none(columns)


def among(columns: Columns, key: str, literals: Sequence[Literal], metadata: Metadata | None) -> np.ndarray:
    """Where a key's value equals one of some literals: bool (rows,); texts are looked up together."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = [literal.value for literal in literals if isinstance(literal.value, str)]
    others = [literal for literal in literals if not isinstance(literal.value, str)]
    found = [compare(columns, key, "equal", literal, metadata) for literal in others]
    if wanted and (texts := columns.texts(key)) is not None:
        found.append(texts.spread(as_mask(pc.is_in(texts.values, pa.array(wanted, texts.values.type)))))
    return np.logical_or.reduce(found) if found else _none(columns)


def holding(columns: Columns, key: str, literal: Literal, metadata: Metadata | None) -> np.ndarray:
    """Where a key's value is a list that holds a literal, or equals it: bool (rows,). Lists are read from the metadata.

    A list holds what is equal in value and kind: ``true`` is no 1. Without ``metadata`` no list is known.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    passed = compare(columns, key, "equal", literal, metadata)
    lists = columns.lists(key)
    if lists is None or metadata is None:
        return passed
    wanted, sign = literal.value, _sign(literal.value)
    rows = np.flatnonzero(as_mask(lists))
    numbers = np.searchsorted(columns.starts, rows, side="right") - 1
    for number in np.unique(numbers).tolist():
        some = rows[numbers == number]
        texts = metadata(number).take(pa.array(some - columns.starts[number]))
        if sign is not None:  # parsing takes a hundred times as long
            near = as_mask(pc.match_substring(texts, sign))
            some, texts = some[near], texts.filter(pa.array(near))
        for row, text in zip(some.tolist(), texts.to_pylist(), strict=True):
            value = json.loads(text)[key]
            same = (one == wanted and isinstance(one, bool) == isinstance(wanted, bool) for one in value)
            passed[row] = isinstance(value, list) and any(same)
    return passed


def _sign(value: object) -> str | None:
    """What stands in the JSON of every list that holds a value; None where JSON may write it in several ways."""
    return (
        value
        if isinstance(value, str) and value.isascii() and value.isprintable() and not set(value) & {'"', "\\"}
        else None
    )


def _none(columns: Columns) -> np.ndarray:
    return np.zeros(columns.rows, dtype=bool)


def _integers(column: pa.ChunkedArray, operation: str, value: int | float) -> np.ndarray:
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
        return as_mask(getattr(pc, operation)(column, pa.scalar(bound, column.type)))
    every = operation != "equal" and operation.startswith("less") == (bound > 0)
    return as_mask(pc.is_valid(column)) if every else none


def _floats(
    column: pa.ChunkedArray, columns: Columns, key: str, operation: str, value: int | float, metadata: Metadata | None
) -> np.ndarray:
    """Numbers that the column holds as the nearest float64, with any number.

    Rounding keeps the order, so only where both round to the same float is it not known yet; there the number itself
    is read from the metadata.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    nearest = as_float(value)
    scalar = pa.scalar(nearest, pa.float64())
    passed = as_mask(getattr(pc, operation)(column, scalar))
    if metadata is None or abs(nearest) < EXACT:
        return passed
    unknown = np.flatnonzero(as_mask(pc.equal(column, scalar)))
    numbers = np.searchsorted(columns.starts, unknown, side="right") - 1
    for number in np.unique(numbers).tolist():
        rows = unknown[numbers == number]
        texts = metadata(number).take(pa.array(rows - columns.starts[number])).to_pylist()
        for row, text in zip(rows.tolist(), texts, strict=True):
            passed[row] = TESTS[operation](json.loads(text)[key], value)
    return passed


def _numeric(texts: Texts, operation: str, literal: Literal) -> np.ndarray:
    """Text that is a number, with a number: by value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    value = literal.value
    right: list[str] = []
    if texts.numbers and not (isinstance(value, float) and math.isnan(value)):
        wanted, test = literal.decimal, TESTS[operation]
        right = [text for text, number in texts.numbers if test(number, wanted)]
    if not right:
        return texts.spread(np.zeros(len(texts.values), dtype=bool))
    return texts.spread(as_mask(pc.is_in(texts.values, pa.array(right, texts.values.type))))
