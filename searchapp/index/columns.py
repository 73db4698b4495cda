"""The metadata of all segments of one state as columns, for filters: read, proved sound and encoded key by key."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")  # as JSON writes numbers
SAMPLED_SEGMENTS, SAMPLED_ROWS = 8, 512  # looked at to tell whether the texts of a key repeat
REPEATED = 4  # times that a text stands in the sample on average, from which on texts are encoded
Check = Callable[[int, "pa.Array"], None]
Made = TypeVar("Made")


def decimal_of(text: str) -> Decimal | None:
    """The number that a text is, exactly; None where it is none as JSON writes numbers, such as 007 or +1."""
    if not NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of more than 18 digits
        return None


def as_mask(passed: pa.BooleanArray | pa.ChunkedArray) -> np.ndarray:
    """An Arrow array of truth values as bool (rows,), false where it is null.

    By NumPy, from the bits: Arrow's ``fill_null`` takes 20 ms for a million rows, this 1 ms.
    """
    whole = np.empty(len(passed), dtype=bool)
    begin = 0
    for chunk in getattr(passed, "chunks", [passed]):
        valid, bits = chunk.buffers()
        part = whole[begin : begin + len(chunk)]
        if bits is not None:
            part[:] = _unpacked(bits, chunk.offset, len(chunk))
        if valid is not None:
            part &= _unpacked(valid, chunk.offset, len(chunk))
        begin += len(chunk)
    return whole


def _unpacked(bits: pa.Buffer, offset: int, count: int) -> np.ndarray:
    packed = np.frombuffer(bits, dtype=np.uint8)
    return np.unpackbits(packed, count=offset + count, bitorder="little")[offset:].view(bool)


@dataclass(frozen=True)
class Texts:
    """The texts of a key: one a row, or, where they repeat, the distinct ones in ``values`` and a code for each row.

    A code is the place of the row's text in ``values``, and their number where the row has none.
    """

    values: pa.Array | pa.ChunkedArray
    codes: np.ndarray | None = None

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Texts:
        """Encode a column, unless its texts hardly repeat: then that takes longer than comparing them."""
        step = max(1, column.num_chunks // SAMPLED_SEGMENTS)
        parts = [column.chunk(number).slice(0, SAMPLED_ROWS) for number in range(0, column.num_chunks, step)]
        distinct = sum(len(part.unique().drop_null()) for part in parts)
        if REPEATED * distinct > sum(len(part) - part.null_count for part in parts):
            return cls(column)
        encoded = column.dictionary_encode()
        values = encoded.chunk(encoded.num_chunks - 1).dictionary
        narrow = np.min_scalar_type(len(values))
        codes = [np.asarray(chunk.indices.fill_null(len(values))).astype(narrow) for chunk in encoded.chunks]
        return cls(values, np.concatenate(codes))

    def spread(self, passed: np.ndarray) -> np.ndarray:
        """What holds of ``values``, for every row; false where the row has no text."""
        if self.codes is None:
            return passed
        return np.take(np.append(passed, False), self.codes)

    @cached_property
    def numbers(self) -> list[tuple[str, Decimal]]:
        """The distinct texts that are numbers as JSON writes them, with their values."""
        import pyarrow.compute as pc

        numeric = self.values.filter(pc.match_substring_regex(self.values, f"^(?:{NUMBER.pattern})$"))
        found = ((text, decimal_of(text)) for text in numeric.unique().to_pylist())
        return [(text, number) for text, number in found if number is not None]


class Columns:
    """The typed metadata of ``segments``, struct arrays with a column ``kind:key`` for each key and kind of value.

    A key's columns are put together when it is first asked for, and kept. ``check`` proves one part of a segment (by
    its number) to be sound before a value of it is read; it may raise. Safe to share between threads.
    """

    def __init__(self, segments: Sequence[pa.StructArray], check: Check | None = None) -> None:
        self._segments = segments
        self._check = check
        self._kept: dict[str, object] = {}
        self.starts = np.cumsum([0, *(len(segment) for segment in segments)])

    @property
    def rows(self) -> int:
        """Rows of all segments."""
        return int(self.starts[-1])

    @cached_property
    def names(self) -> frozenset[str]:
        """The names ``kind:key`` of all columns."""
        return frozenset().union(*self._places)

    @cached_property
    def _places(self) -> list[dict[str, int]]:
        """For each segment, the places of its columns by name. Looked up in Arrow's types they would take longer."""
        kinds = [segment.type for segment in self._segments]
        return [{kind.field(place).name: place for place in range(kind.num_fields)} for kind in kinds]

    def texts(self, key: str) -> Texts | None:
        """The texts of a key; None where no row has one. Encoded from the second time on: that takes a while."""
        column = self._once(f"text:{key}", lambda: self._column(f"text:{key}"))
        if column is None:
            return None
        name = f"asked:{key}" if f"asked:{key}" not in self._kept else f"encoded:{key}"
        return self._once(name, lambda: Texts(column) if name.startswith("asked") else Texts.of(column))

    def flags(self, key: str) -> pa.ChunkedArray | None:
        """The truth values of a key by row."""
        return self._once(f"flag:{key}", lambda: self._column(f"flag:{key}"))

    def lists(self, key: str) -> pa.ChunkedArray | None:
        """Where the value of a key is a list or an object: true there, else null."""
        return self._once(f"list:{key}", lambda: self._column(f"other:{key}"))

    def integers(self, key: str) -> pa.ChunkedArray | None:
        """The numbers of a key in segments that hold them as 64-bit integers."""
        return self._once(f"integer:{key}", lambda: self._column(f"number:{key}", integer=True))

    def floats(self, key: str) -> pa.ChunkedArray | None:
        """The numbers of a key, rounded to float64, in segments that have others than 64-bit integers."""
        return self._once(f"float:{key}", lambda: self._column(f"number:{key}", integer=False))

    def _once(self, name: str, make: Callable[[], Made]) -> Made:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]  # type: ignore[return-value]

    def _column(self, name: str, integer: bool | None = None) -> pa.ChunkedArray | None:
        """One column over all rows, null where a segment has none, or none of the kind of number that is asked for."""
        import pyarrow as pa

        if name not in self.names:
            return None
        parts: list[pa.Array | None] = []
        for number, segment in enumerate(self._segments):
            place = self._places[number].get(name)
            part = None if place is None else segment.field(place)
            if part is not None and integer is not None and pa.types.is_integer(part.type) != integer:
                part = None
            if part is not None and self._check is not None:
                self._check(number, part)
            parts.append(part)
        first = next((part for part in parts if part is not None), None)
        if first is None:
            return None
        kind = first.type
        whole = [
            pa.nulls(len(segment), kind) if part is None else part if part.type == kind else part.cast(kind)
            for part, segment in zip(parts, self._segments, strict=True)
        ]
        return pa.chunked_array(whole, kind)
