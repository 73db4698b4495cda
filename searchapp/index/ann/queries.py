"""The probe queries of an index: what every choice is measured with, kept with it.

A real query is shorter than a document, goes through the query side of the encoder, and lies off the documents'
vectors. So the probes are a few words in a row from the middle of random documents, encoded as queries. The stored
vectors themselves would flatter: each is its own certain hit. Without an encoder, or without text, they are made up
from the stored vectors (``imagined``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.storage.directory import Draft
from searchapp.index.storage.documents import Rows
from searchapp.index.storage.vectors import Vectors, unit, widen

PROBES = 300  # queries; the standard error of a recall of 0.99 is then about 0.003
LEAST_WORDS, MOST_WORDS = 4, 16
SHARE = 4  # a query has this part of its document's words, within these bounds
SPREAD = 0.75  # cosine of a made-up query to the vector it is made from
Ask = Callable[[list[str]], np.ndarray]  # texts of queries -> unit vectors


def asked(rows: Rows, chosen: np.ndarray, ask: Ask, seed: int = 0) -> np.ndarray:
    """Encode fragments of the chosen documents, by row, as queries: unit float32 (n, dim)."""
    rng = np.random.default_rng(seed)
    texts = [fragment(rows.read(int(row)).text, rng) for row in chosen]
    return unit(np.array(ask(texts), dtype=np.float32))


def fragment(text: str, rng: np.random.Generator) -> str:
    """A few words of a text in a row; characters where it has hardly any words."""
    words = text.split()
    joint, parts = (" ", words) if len(words) >= LEAST_WORDS else ("", list(text))
    size = min(len(parts), MOST_WORDS, max(LEAST_WORDS, len(parts) // SHARE))
    begin = int(rng.integers(0, len(parts) - size + 1))
    return joint.join(parts[begin : begin + size])


def imagined(vectors: Vectors, seed: int = 1) -> np.ndarray:
    """Queries made up from the stored vectors that are there: unit float32 (n, dim)."""
    return imagined_of(lambda places: vectors.gather(vectors.nth(places)), vectors.count, seed)


def imagined_of(gather: Callable[[np.ndarray], np.ndarray], rows: int, seed: int = 1) -> np.ndarray:
    """Queries made up from ``rows`` vectors, of which ``gather`` gives some as unit rows, by number.

    To each of some vectors the difference of two others is added, which spreads as the collection itself does, until
    the cosine to where it came from is ``SPREAD``.
    """
    rng = np.random.default_rng(seed)
    base, plus, minus = (gather(numbers) for numbers in rng.integers(0, rows, size=(3, min(PROBES, rows))))
    away = plus - minus
    away -= np.vecdot(away, base)[:, None] * base
    return unit(base + np.sqrt(1 / SPREAD**2 - 1).astype(np.float32) * unit(away))


def write_probes(draft: Draft, queries: np.ndarray) -> None:
    """Store query vectors as fp16, one after the other."""
    draft.write(np.ascontiguousarray(queries, dtype="<f2").tobytes())


def read_probes(path: Path, dim: int) -> np.ndarray:
    """What ``write_probes`` stored, as unit float32 (n, dim). Raises IndexStoreError for a file that is not that."""
    try:
        flat = np.fromfile(path, dtype="<f2")
        return unit(widen(flat.reshape(-1, dim)))
    except (OSError, ValueError) as error:
        raise IndexStoreError(f"data/{path.name} holds no query vectors of {dim} dimensions ({error})") from error
