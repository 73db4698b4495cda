"""The queries that an index is calibrated with, and that are kept with it as its probe queries.

A user's query is shorter than a document, goes through the query side of the encoder, and does not lie on a stored
vector. So the calibration queries are a few consecutive words of random documents, encoded as queries. Stored vectors
as queries would flatter the index: each finds itself. Without an encoder, or without text, the queries are synthetic:
made from differences of stored vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.storage.directory import ChecksumWriter
from searchapp.index.storage.documents import DocumentStore
from searchapp.index.storage.vectors import Vectors, unit, widen

PROBES = 300  # queries; the standard error of a recall of 0.99 is then about 0.003
LEAST_WORDS, MOST_WORDS = 4, 16
SHARE = 4  # a query has a quarter of its document's words, within these bounds
SPREAD = 0.75  # cosine of a synthetic query to the stored vector it is made from
EncodeQueries = Callable[[list[str]], np.ndarray]  # texts of queries -> unit vectors


def encode_fragments(rows: DocumentStore, chosen: np.ndarray, encode: EncodeQueries, seed: int = 0) -> np.ndarray:
    """Encode a fragment of each chosen document (a row number) as a query: unit float32 (n, dim)."""
    rng = np.random.default_rng(seed)
    texts = [fragment(rows.read(int(row)).text, rng) for row in chosen]
    return unit(np.array(encode(texts), dtype=np.float32))


def fragment(text: str, rng: np.random.Generator) -> str:
    """A few consecutive words of a text; consecutive characters of a text with fewer than four words."""
    words = text.split()
    joint, parts = (" ", words) if len(words) >= LEAST_WORDS else ("", list(text))
    size = min(len(parts), MOST_WORDS, max(LEAST_WORDS, len(parts) // SHARE))
    begin = int(rng.integers(0, len(parts) - size + 1))
    return joint.join(parts[begin : begin + size])


def synthetic_queries(vectors: Vectors, seed: int = 1) -> np.ndarray:
    """Synthetic queries made from the stored vectors of documents not deleted: unit float32 (n, dim)."""
    return synthetic_queries_from(lambda places: vectors.gather(vectors.nth(places)), vectors.count, seed)


def synthetic_queries_from(gather: Callable[[np.ndarray], np.ndarray], rows: int, seed: int = 1) -> np.ndarray:
    """Synthetic queries made from ``rows`` vectors: unit float32 (n, dim); ``gather`` returns unit rows by number.

    A query is a random vector moved along the difference of two other random vectors, until its cosine to where it
    came from is ``SPREAD``. Such differences point where the vectors of the collection differ.
    """
    rng = np.random.default_rng(seed)
    base, plus, minus = (gather(numbers) for numbers in rng.integers(0, rows, size=(3, min(PROBES, rows))))
    away = plus - minus
    away -= np.vecdot(away, base)[:, None] * base
    return unit(base + np.sqrt(1 / SPREAD**2 - 1).astype(np.float32) * unit(away))


def write_queries(draft: ChecksumWriter, queries: np.ndarray) -> None:
    """Store query vectors as fp16, one after the other."""
    draft.write(np.ascontiguousarray(queries, dtype="<f2").tobytes())


def read_queries(path: Path, dim: int) -> np.ndarray:
    """What ``write_queries`` stored, as unit float32 (n, dim). Raises IndexStoreError for a file that is not that."""
    try:
        flat = np.fromfile(path, dtype="<f2")
        return unit(widen(flat.reshape(-1, dim)))
    except (OSError, ValueError) as error:
        raise IndexStoreError(f"data/{path.name} holds no query vectors of {dim} dimensions ({error})") from error
