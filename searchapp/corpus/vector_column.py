"""Vectors in a column of Arrow, and files of an index's documents that have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.errors import CorpusError

KEY = b"searchapp"  # in the metadata of a schema: which encoder made the vectors, as an index records it
VECTOR = "vector"  # the column of them


def exported(schema: Any) -> dict[str, Any] | None:
    """What is recorded of the encoder in a schema of Arrow; None where a file is not of `searchapp export-index`."""
    try:
        found = json.loads((schema.metadata or {}).get(KEY, b"null"))
    except ValueError:
        return None
    return found if isinstance(found, dict) and "encoder" in found and VECTOR in schema.names else None


def exported_encoder(path: Path) -> dict[str, Any] | None:
    """The same of a Parquet file, with ``dim``; None also for what cannot be read as one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return exported(pq.read_schema(path)) if path.is_file() else None
    except (pa.ArrowException, OSError):
        return None


def vector_column(batch: Any, name: str) -> np.ndarray:
    """The vectors in a column of an Arrow record batch, float32 (rows, dim). Raises CorpusError for another column."""
    import pyarrow as pa

    column = batch.column(name)
    kind = column.type
    is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list or column.null_count or len(column) == 0:
        raise CorpusError(
            f"the column {name!r} is {kind} with {column.null_count} nulls; expected a list of numbers a row"
        )
    flat = column.flatten().to_numpy(zero_copy_only=False)
    if len(flat) % len(column) or flat.dtype.kind not in "fiu":
        raise CorpusError(f"the column {name!r} has vectors of several lengths, or no numbers; expected one length")
    if not pa.types.is_fixed_size_list(kind):
        lengths = column.value_lengths().to_numpy()
        if (lengths != lengths[0]).any():
            raise CorpusError(f"the column {name!r} has vectors of several lengths; expected one length")
    return np.ascontiguousarray(flat.reshape(len(column), -1), dtype=np.float32)
