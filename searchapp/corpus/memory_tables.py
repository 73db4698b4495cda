"""Tables in memory (Arrow, datasets, pandas, polars) as Arrow tables and record batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from searchapp.errors import CorpusError, reason_of

BATCH_ROWS = 1_024


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

    A frame of pandas keeps its index as a column where that has a name.
    """
    kind = type(documents).__module__.partition(".")[0]
    if kind == "polars" and hasattr(documents, "to_arrow"):
        return documents.to_arrow()
    if kind != "pandas" or not hasattr(documents, "reset_index") or not hasattr(documents, "columns"):
        return documents
    import pyarrow as pa

    frame = documents.reset_index() if documents.index.name is not None else documents
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError) as error:  # a column of objects of several kinds
        raise CorpusError(
            f"a column of the DataFrame cannot be read ({reason_of(error)}); give it values of one kind"
        ) from error
