"""A digest of Arrow tables by what documents are made of: names, types and values, however the rows are cut."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from searchapp.corpus.digest import Sums
from searchapp.corpus.vector_column import vector_column
from searchapp.errors import CorpusError

SIZE = 32  # bytes of a digest


class TableDigest:
    """Tells record batches from others: by names of columns, types, nulls, and values, those of dictionaries too.

    Equal rows have one digest, in whatever batches they come and wherever these begin in their buffers. Types that
    make the same documents are one: text of 32 and 64 bits, views and dictionaries of text, and the kinds of lists. Of
    the column ``vectors`` the float32 numbers count, by their sums. The metadata of a schema do not count.
    """

    def __init__(self, vectors: str | None = None) -> None:
        self._vectors = vectors
        self._hash = hashlib.blake2b(digest_size=SIZE)
        self._said: str | None = None  # what the columns are called, and their types
        self._columns: list[_Column] = []
        self._sums = Sums()

    def update(self, batch: Any) -> None:
        """Take the rows of a record batch."""
        if not batch.num_rows:
            return
        numbers = self._numbers(batch)
        if numbers is not None:
            batch = batch.drop_columns([self._vectors])
        said = repr([(field.name, _described(field.type)) for field in batch.schema])
        said += "" if numbers is None else f" beside vectors of {numbers.shape[1]}"
        if said != self._said:
            self._end()
            self._said, self._columns = said, [_Column() for _ in batch.schema]
        for column, array in zip(self._columns, batch.columns, strict=True):
            column.update(array)
        if numbers is not None:
            self._sums.update(numbers)

    def digest(self) -> bytes:
        """The digest of all rows; nothing can be taken after that."""
        self._end()
        return self._hash.digest()

    def _numbers(self, batch: Any) -> np.ndarray | None:
        """The vectors; None where there are none, or none that can be used, which is said where they are read."""
        if self._vectors is None or self._vectors not in batch.schema.names:
            return None
        try:
            return vector_column(batch, self._vectors)
        except CorpusError:
            return None

    def _end(self) -> None:
        """Take up the columns of the schema so far, before one of another begins."""
        if self._said is None:
            return
        self._hash.update(hashlib.blake2b(self._said.encode("utf-8", "surrogatepass"), digest_size=SIZE).digest())
        for column in self._columns:
            self._hash.update(column.digest())
        self._hash.update(self._sums.digest())
        self._sums = Sums()


class _Column:
    """A column, or one level of a nested one: each of its parts is a stream of bytes, which no cut changes."""

    def __init__(self) -> None:
        self._rows = 0
        self._nulls = hashlib.blake2b(digest_size=SIZE)  # the places of nulls, int64
        self._sizes = hashlib.blake2b(digest_size=SIZE)  # the lengths of texts and lists, int64
        self._values = hashlib.blake2b(digest_size=SIZE)
        self._inner: dict[int, _Column] = {}

    def update(self, array: Any) -> None:
        """Take values behind those so far."""
        array = _decoded(array)
        if array.null_count:
            places = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)) + self._rows
            self._nulls.update(places.astype("<i8").tobytes())
        self._rows += len(array)
        if len(array):
            self._take(array)

    def digest(self) -> bytes:
        """The digest of all values so far."""
        made = hashlib.blake2b(b"%d" % self._rows, digest_size=SIZE)
        for part in (self._nulls, self._sizes, self._values):
            made.update(part.digest())
        for number in sorted(self._inner):
            made.update(self._inner[number].digest())
        return made.digest()

    def _take(self, array: Any) -> None:
        """Values; what may lie in the buffers below a null is passed over."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = array.type
        if pa.types.is_map(kind):
            array = array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        if pa.types.is_struct(kind):
            for number, part in enumerate(array.flatten()):
                self._below(number).update(part)
        elif _is_list(array.type):
            lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
            self._sizes.update(lengths.astype("<i8").tobytes())
            self._below(0).update(array.flatten())
        elif _is_text(kind) or _is_bytes(kind):
            self._take_text(array.drop_null())
        elif pa.types.is_primitive(kind) or pa.types.is_decimal(kind):
            array = array.cast(pa.uint8()) if pa.types.is_boolean(kind) else array
            array = array.drop_null() if array.null_count else array
            width, begin = array.type.bit_width // 8, array.offset
            if len(array):
                self._values.update(memoryview(array.buffers()[1])[begin * width : (begin + len(array)) * width])
        elif not pa.types.is_null(kind):  # a union
            for value in array:
                self._values.update(repr(value).encode("utf-8", "surrogatepass") + b"\n")

    def _take_text(self, array: Any) -> None:
        import pyarrow as pa

        if not len(array):
            return
        is_large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
        _, offsets, content = array.buffers()
        ends = np.frombuffer(offsets, dtype="<i8" if is_large else "<i4")[array.offset :][: len(array) + 1]
        self._sizes.update(np.diff(ends).astype("<i8").tobytes())
        if content is not None:
            self._values.update(memoryview(content)[int(ends[0]) : int(ends[-1])])

    def _below(self, number: int) -> _Column:
        return self._inner.setdefault(number, _Column())


def _decoded(array: Any) -> Any:
    """An array without what stands around its values: extension types, dictionaries, runs, views."""
    import pyarrow as pa
    import pyarrow.compute as pc

    while True:
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        elif pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        elif pa.types.is_run_end_encoded(array.type):
            array = pc.run_end_decode(array)
        elif pa.types.is_string_view(array.type):
            array = array.cast(pa.large_string())
        elif _is_bytes(array.type) and not pa.types.is_large_binary(array.type):
            array = array.cast(pa.large_binary())
        else:
            return array


def _described(kind: Any) -> Any:
    """A type, as far as documents depend on it."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        return kind.extension_name, _described(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _described(kind.value_type)
    if pa.types.is_struct(kind):
        return "struct", [(field.name, _described(field.type)) for field in kind]
    if pa.types.is_map(kind):
        return "map", _described(kind.key_type), _described(kind.item_type)
    if _is_list(kind):
        return "list", _described(kind.value_type)
    return "text" if _is_text(kind) else "bytes" if _is_bytes(kind) else str(kind)


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    views = types.is_list_view(kind) or types.is_large_list_view(kind)
    return bool(views or types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_bytes(kind: Any) -> bool:
    from pyarrow import types

    fixed = types.is_fixed_size_binary(kind) and not types.is_decimal(kind)
    return bool(fixed or types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))
