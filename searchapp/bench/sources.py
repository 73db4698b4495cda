"""Where the vectors of ``searchapp bench index`` come from: texts, an index, a file of numbers, or a drawing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from searchapp.bench.texts import read_prose
from searchapp.bench.vectors import Synthetic, array_blocks
from searchapp.encoder import Encoder
from searchapp.errors import SearchAppError
from searchapp.index import VectorIndex
from searchapp.index.ann.queries import fragment, read_queries, synthetic_queries, synthetic_queries_from
from searchapp.index.storage.vectors import unit

WORDS = 60  # of a passage
QUERIES = 400


@dataclass(frozen=True)
class VectorSource:
    """Vectors to measure with, blocks of unit float32 rows, and queries, unit float32 (n, dim), with their origin."""

    name: str
    dim: int
    blocks: Callable[[], Iterator[np.ndarray]]
    queries: np.ndarray
    origin: str


def drawn(text: str) -> VectorSource:
    """``N,DIM``: vectors with the spectrum and topics of a large decoder's. Raises SearchAppError for no such pair."""
    try:
        rows, dim = (int(part) for part in text.split(","))
    except ValueError:
        rows = dim = 0
    if rows < 1 or dim < 2:
        raise SearchAppError(f"--synthetic {text!r} is no size; give vectors,dimensions, e.g. 100000,1024")
    made = Synthetic(rows, dim)
    return VectorSource(f"{rows:,} x {dim} drawn", dim, made.blocks, made.queries(QUERIES), "drawn like the vectors")


def stored(path: Path) -> VectorSource:
    """The vectors of an index, deleted documents left out, and its own probe queries."""
    index = VectorIndex.open(path)
    manifest, vectors = index.manifest, index.vectors.among(index.alive)
    if manifest.probes is None:
        queries, origin = synthetic_queries(vectors), "made up from stored vectors"
    else:
        queries, origin = read_queries(index.snapshot.path(manifest.probes), manifest.dim), "fragments of the documents"
    return VectorSource(path.name, manifest.dim, vectors.living, queries, origin)


def saved(path: Path, queries: Path | None) -> VectorSource:
    """An .npy file of vectors (n, dim), and one of queries. Raises SearchAppError for what is no such array."""
    vectors = _array(path, "--vectors")
    if queries is None:
        asked = synthetic_queries_from(lambda rows: unit(vectors[rows].astype(np.float32)), len(vectors))
        origin = "made up from the vectors"
    else:
        asked, origin = unit(_array(queries, "--queries").astype(np.float32)), queries.name
        if asked.shape[1] != vectors.shape[1]:
            raise SearchAppError(
                f"--queries {queries} holds vectors of {asked.shape[1]} dimensions, --vectors of {vectors.shape[1]}; "
                "give two files of the same encoder"
            )
    return VectorSource(path.name, vectors.shape[1], lambda: _units(vectors, path), asked, origin)


def _units(vectors: np.ndarray, path: Path) -> Iterator[np.ndarray]:
    """Blocks of an array's rows, made unit. Raises SearchAppError for a number that is none."""
    for block in array_blocks(vectors):
        if not np.isfinite(block).all():
            raise SearchAppError(f"--vectors {path} holds numbers that are not finite; leave those vectors out")
        yield unit(block)


def _array(path: Path, option: str) -> np.ndarray:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SearchAppError(f"{option} {path} cannot be read ({error}); give an .npy file of numbers") from error
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind != "f" or not found.size:
        shape = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else "several arrays"
        raise SearchAppError(f"{option} {path} holds {shape}; give one array of floats (vectors, dimensions)")
    return found


def encoded(texts: Sequence[str], encoder: Encoder, documents: int) -> VectorSource:
    """Passages of 60 words of texts, encoded as documents, at most ``documents``; queries are words of some of them.

    Raises SearchAppError where there is no passage.
    """
    words = (word for line in read_prose(texts) for word in line.split())
    passages = [" ".join(piece) for piece in itertools.islice(_pieces(words), documents)]
    if not passages:
        raise SearchAppError(f"the texts hold no passage of {WORDS} words; give longer ones with --texts")
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(passages), size=min(QUERIES, len(passages)), replace=False)
    queries = encoder.encode_queries([fragment(passages[number], rng) for number in chosen])
    vectors = encoder.encode_documents(passages)
    name = ", ".join(Path(text).name for text in texts)
    return VectorSource(name, encoder.dim, lambda: array_blocks(vectors), queries, "fragments of the passages")


def _pieces(words: Iterator[str]) -> Iterator[list[str]]:
    while len(piece := list(itertools.islice(words, WORDS))) == WORDS:
        yield piece
