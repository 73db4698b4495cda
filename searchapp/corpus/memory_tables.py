"""Tables in memory (Arrow, datasets, pandas, polars) as Arrow tables and record batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from searchapp.corpus.validate import require_single
from searchapp.errors import CorpusError, reason_of

BATCH_ROWS = 1_024
FRAME = "the DataFrame"


def columns_of(documents: Any) -> list[str] | None:
    """The names of the columns of a table; None for what is none."""
    if (names := getattr(documents, "column_names", None)) is not None and not isinstance(names, Mapping):
        return list(names)
    schema = getattr(documents, "schema", None)
    return list(schema.names) if schema is not None and hasattr(schema, "names") else None


def arrow_batches(documents: Any) -> Iterator[Any] | None:
    """The rows of a table of Arrow or datasets as record batches; None for what is no table."""
    found: Iterator[Any] | None = None
    kind = type(documents).__module__.partition(".")[0]
    if kind == "datasets" and hasattr(documents, "with_format") and hasattr(documents, "iter"):
        tables: Iterator[Any] = documents.with_format("arrow").iter(BATCH_ROWS)
        return (batch for table in tables for batch in table.to_batches())
    if kind == "pyarrow":
        if hasattr(documents, "to_batches"):
            found = iter(documents.to_batches())
        elif hasattr(documents, "read_next_batch"):
            found = iter(documents)
        elif is_batch(documents):
            found = iter([documents])
    elif isinstance(documents, list) and documents and is_batch(documents[0]):
        found = iter(documents)
    return found


def is_batch(item: Any) -> bool:
    """Whether an item is a record batch of Arrow."""
    return type(item).__name__ == "RecordBatch" and hasattr(item, "num_rows")


def sliced(batch: Any) -> Iterator[Any]:
    """A record batch in parts of at most ``BATCH_ROWS`` rows."""
    for begin in range(0, batch.num_rows, BATCH_ROWS):
        yield batch.slice(begin, BATCH_ROWS)


def as_table(documents: Any) -> Any:
    """A DataFrame of pandas or polars as an Arrow table; all else as it is.

    A frame of pandas keeps its index as columns where that has a name or several levels. Raises CorpusError for one
    that cannot be read, or whose columns have one name.
    """
    kind = type(documents).__module__.partition(".")[0]
    if kind == "polars" and hasattr(documents, "to_arrow"):
        return documents.to_arrow()
    if kind != "pandas" or not hasattr(documents, "reset_index") or not hasattr(documents, "columns"):
        return documents
    import pyarrow as pa

    require_single([str(name) for name in documents.columns], FRAME)
    frame = _with_index(documents)
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:  # a column of objects of several kinds
        raise CorpusError(
            f"a column of the DataFrame cannot be read ({reason_of(error)}); give it values of one kind"
        ) from error


def _with_index(frame: Any) -> Any:
    """A frame of pandas with the levels of its index as columns; without them where it has one, which has no name."""
    names = list(frame.index.names)
    if names == [None]:
        return frame
    for place in range(len(names) - 1, -1, -1):
        name = names[place]
        if name in frame.columns and frame.index.get_level_values(place).equals(frame.set_index(name).index):
            frame = frame.reset_index(level=place, drop=True)  # a column that was made the index, and kept
            del names[place]
    if not names:
        return frame
    shown = [f"level_{place}" if name is None else str(name) for place, name in enumerate(names)]
    require_single([*shown, *map(str, frame.columns)], FRAME)
    return frame.reset_index(names=shown)
