"""The indexes that ``searchapp bench index`` compares: raw FAISS, usearch, hnswlib, and searchapp's own.

Each is an ``IndexBaseline``: built once, searched with all the parameters of its grid. FAISS types that compress
are measured twice, with their own scores and with the rescoring that searchapp does, from vectors held in memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np

from searchapp.errors import SearchAppError
from searchapp.index import VectorIndex
from searchapp.index.ann.calibration import DEPTH, MeasuredIndex
from searchapp.index.ann.faiss_lib import check_factory, import_faiss
from searchapp.index.ann.pca import reduced_sample
from searchapp.index.ann.rules import BREADTHS, SHARES, default_config, lists_in, power_of_two, rotation
from searchapp.index.ann.searcher import AnnIndex
from searchapp.index.ann.train import add, train, training_rows
from searchapp.index.storage.vectors import Held

OTHERS = ("usearch", "hnswlib")
FLAT = "Flat"
OURS = "searchapp auto"
LINKS = 16  # of a node in the graphs of usearch and hnswlib; FAISS's HNSW16 has as many
CONSTRUCTION = 128  # breadth of the search while a graph is built
RESCORED = (0, 50, 100, 200, 400, 800)  # candidates, for a FAISS type that compresses
OUR_DEPTHS = (None, 40, 100, 200, 400, 800)  # None: as the index is set
SearchParameters = dict[str, int]
Search = Callable[[np.ndarray], np.ndarray]  # unit queries (n, dim) -> rows (n, DEPTH)


@dataclass(frozen=True)
class IndexBaseline:
    """An index that is built: its parameter grid, its bytes a vector, the processor seconds that building took.

    ``at`` sets search parameters and returns the search with them, valid until ``at`` is called again.
    """

    name: str
    at: Callable[[SearchParameters], Search]
    grid: tuple[SearchParameters, ...]
    size: float
    seconds: float
    notes: tuple[str, ...] = field(default=())


def standard(rows: int, dim: int) -> list[str]:
    """The baselines measured where none is named: exact, lists, graphs, codes, a reduction, other libraries."""
    lists, few = power_of_two(4 * math.sqrt(rows)), power_of_two(math.sqrt(rows))
    turned, half, codes = rotation(dim), max(1, dim // 2), max(1, dim // 4)
    bits = "RaBitQfs" if dim <= 1_024 else "RaBitQ"
    return [
        FLAT, "SQ8", f"IVF{lists},Flat", f"IVF{lists},SQ8", f"PCA{half},SQ8", "HNSW16,SQ8",
        f"{turned},{bits}", f"{turned},IVF{few},RaBitQfs",
        f"PQ{codes}x4fs", f"{turned},PQ{codes}x4fs", f"{turned},IVF{few},PQ{codes}x4fs",
        f"PCAR{2 * codes},PQ{codes}x4fs", f"PCAR{2 * codes},IVF{few},PQ{codes}x4fs", *OTHERS,
    ]  # fmt: skip


def check(names: Sequence[str], dim: int) -> None:
    """Raise SearchAppError for a name that is neither a library nor a FAISS factory string for vectors of ``dim``."""
    for name in names:
        if name == "auto":
            raise SearchAppError("--rival auto is searchapp's own, which is always measured; leave it out")
        if name not in OTHERS:
            check_factory(name, dim)


def missing(name: str) -> bool:
    """Whether a baseline is a library that is not installed."""
    return name in OTHERS and find_spec(name) is None


def build(name: str, index: VectorIndex, held: Held) -> IndexBaseline:
    """Build a baseline over the vectors of an index; ``held`` are the same in memory, to rescore with."""
    began = time.process_time()
    if name == "usearch":
        return _usearch(index, began)
    if name == "hnswlib":
        return _hnswlib(index, began)
    return _faiss(name, index, held, began)


def ours(index: VectorIndex, seconds: float) -> IndexBaseline:
    """A finished index of searchapp, searched as a program would, as it is set and with other rescoring depths."""
    ann, reduction = index.manifest.ann, index.manifest.reduction
    assert ann is not None  # noqa: S101 - for mypy
    chosen = f"PCA{reduction.dim},{ann.factory}" if reduction else ann.factory

    def at(parameters: SearchParameters) -> Search:
        return lambda queries: index.search_vectors(queries, DEPTH, candidates=parameters.get("candidates"))[1]

    depths = OUR_DEPTHS[:1] if ann.is_exact else OUR_DEPTHS
    grid = tuple({} if depth is None else {"candidates": depth} for depth in depths)
    said = ", ".join(f"{key} {value}" for key, value in {**ann.parameters, "candidates": ann.candidates}.items())
    return IndexBaseline(f"{OURS}: {chosen}", at, grid, ann.measured["bytes"], seconds, (f"set to {said}", *ann.notes))


def _faiss(factory: str, index: VectorIndex, held: Held, began: float) -> IndexBaseline:
    choice = default_config(factory, reduced=False)
    dim = index.manifest.dim
    raw = train(choice, reduced_sample(index.vectors, training_rows(factory, dim)))
    add(choice, raw, index.vectors.blocks())
    seconds = time.process_time() - began
    ann = AnnIndex(raw, {})
    subject = MeasuredIndex(ann, None, held)

    def at(parameters: SearchParameters) -> Search:
        ann.set({key: value for key, value in parameters.items() if key != "candidates"})
        if depth := parameters.get("candidates"):
            return lambda queries: subject.search(queries, DEPTH, depth)[1]
        return lambda queries: raw.search(queries, DEPTH)[1]

    depths = (0,) if factory.endswith("Flat") else RESCORED
    grid = tuple({**step, **({"candidates": depth} if depth else {})} for step in _steps(factory) for depth in depths)
    size = len(import_faiss().serialize_index(raw)) / index.manifest.rows
    return IndexBaseline(factory, at, grid, size, seconds)


def _steps(factory: str) -> Iterator[SearchParameters]:
    """Search parameters of a FAISS type, the fastest first."""
    if lists := lists_in(factory):
        yield from ({"nprobe": count} for count in sorted({max(1, round(share * lists)) for share in SHARES[1:]}))
    elif "HNSW" in factory:
        yield from ({"efSearch": breadth} for breadth in BREADTHS)
    else:
        yield {}


def _usearch(index: VectorIndex, began: float) -> IndexBaseline:
    from usearch.index import Index

    made = Index(ndim=index.manifest.dim, metric="ip", dtype="f16", connectivity=LINKS, expansion_add=CONSTRUCTION)
    for first, block in _numbered(index):
        made.add(np.arange(first, first + len(block), dtype=np.uint64), block, threads=1)
    seconds = time.process_time() - began

    def search(queries: np.ndarray) -> np.ndarray:
        found: Any = made.search(queries, DEPTH, threads=1)
        return np.asarray(found.keys).astype(np.int64).reshape(len(queries), -1)

    def at(parameters: SearchParameters) -> Search:
        made.expansion_search = parameters["ef"]
        return search

    size = made.serialized_length / index.manifest.rows
    return IndexBaseline("usearch f16", at, _breadths(), size, seconds)


def _hnswlib(index: VectorIndex, began: float) -> IndexBaseline:
    import hnswlib

    made = hnswlib.Index(space="ip", dim=index.manifest.dim)
    made.init_index(max_elements=index.manifest.rows, ef_construction=CONSTRUCTION, M=LINKS)
    for first, block in _numbered(index):
        made.add_items(block, np.arange(first, first + len(block)), num_threads=1)
    seconds = time.process_time() - began

    def search(queries: np.ndarray) -> np.ndarray:
        labels, _ = made.knn_query(queries, k=min(DEPTH, index.manifest.rows), num_threads=1)
        rows: np.ndarray = labels.astype(np.int64)
        return rows

    def at(parameters: SearchParameters) -> Search:
        made.set_ef(parameters["ef"])
        return search

    return IndexBaseline("hnswlib", at, _breadths(), made.index_file_size() / index.manifest.rows, seconds)


def _breadths() -> tuple[SearchParameters, ...]:
    return tuple({"ef": breadth} for breadth in BREADTHS)


def _numbered(index: VectorIndex) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of an index's vectors with the number of their first row."""
    first = 0
    for block in index.vectors.blocks():
        yield first, block
        first += len(block)
