"""The keys of an index's metadata, with what values there are, for the page's filters."""

from __future__ import annotations

import numpy as np

from searchapp.index.columns import Columns
from searchapp.serve.bodies import FieldBody
from searchapp.serve.served import State

VALUES = 12  # of the texts of a key


def fields_of(state: State) -> list[FieldBody]:
    """The keys of the metadata, with what values there are. Counted once a state."""
    kept = state.__dict__.get("_fields")
    if kept is None and state.index.is_remote:  # they are not counted over machines
        return []
    if kept is None:
        columns = state.index.columns
        names: dict[str, list[str]] = {}
        for column in sorted(columns.names):
            kind, _, name = column.partition(":")
            names.setdefault(name, []).append(kind)
        kept = [_field(state, columns, name, kinds) for name, kinds in names.items()]
        state.__dict__["_fields"] = kept
    return list(kept)


def _field(state: State, columns: Columns, name: str, kinds: list[str]) -> FieldBody:
    alive = state.index.alive
    field = FieldBody(name, kinds, 0)
    present = np.zeros(columns.rows, dtype=bool)
    texts = columns.texts(name) if "text" in kinds else None
    if texts is not None:
        import pyarrow as pa
        import pyarrow.compute as pc

        if texts.codes is None:
            whole = texts.values
        else:
            valid = pa.array(texts.codes < len(texts.values))
            whole = pc.if_else(valid, texts.values.take(pa.array(np.minimum(texts.codes, len(texts.values) - 1))), None)
        present |= np.asarray(pc.is_valid(whole))
        if alive is not None:
            whole = whole.filter(pa.array(alive))
        counted = sorted(
            ((one["values"], one["counts"]) for one in pc.value_counts(whole).to_pylist() if one["values"] is not None),
            key=lambda pair: (-pair[1], pair[0]),
        )
        field.distinct = len(counted)
        field.values = [(str(value), int(count)) for value, count in counted[:VALUES]]
    for column in (columns.integers(name), columns.floats(name)) if "number" in kinds else ():
        if column is None:
            continue
        import pyarrow.compute as pc

        present |= np.asarray(pc.is_valid(column))
        ends = pc.min_max(column).as_py()
        if ends["min"] is not None:
            field.low = min(float(ends["min"]), field.low if field.low is not None else float("inf"))
            field.high = max(float(ends["max"]), field.high if field.high is not None else float("-inf"))
    flags = columns.flags(name) if "flag" in kinds else None
    if flags is not None:
        import pyarrow.compute as pc

        present |= np.asarray(pc.is_valid(flags))
    field.documents = int((present if alive is None else present & alive).sum())
    return field
