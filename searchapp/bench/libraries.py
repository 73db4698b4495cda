"""The libraries that ``searchapp bench index`` compares with, where they are installed: hnswlib, usearch and ScaNN."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.bench.baseline import IndexBaseline, RowFilter, Search, Searcher, SearchParameters
from searchapp.index import VectorIndex
from searchapp.index.ann.calibration import DEPTH
from searchapp.index.ann.rules import power_of_two

LIBRARIES = ("usearch", "hnswlib", "scann")
LINKS = 16  # of a node in the graphs of usearch and hnswlib; FAISS's HNSW16 has as many
CONSTRUCTION = 128  # breadth of the search while a graph is built
GROWTH = 1_000  # rows that an index has room for beyond those it is built with
BREADTHS = (10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 768)  # of a graph's search
REORDERED = (20, 30, 40, 60, 80, 100, 150, 200, 300, 400, 800)  # candidates that ScaNN compares exactly
LEAVES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)  # of ScaNN's partitions that a search visits
TRAINED = 100_000  # rows that ScaNN trains on, at most
QUANTIZED = 0.2  # ScaNN's threshold of anisotropic quantisation, as its own examples have it for inner products


def missing(name: str) -> bool:
    """Whether a baseline is a library that is not installed."""
    return name in LIBRARIES and find_spec(name) is None


def build_library(name: str, index: VectorIndex) -> IndexBaseline:
    """Build a library's index over the vectors of an index, on one thread."""
    made = {"usearch": _usearch, "hnswlib": _hnswlib, "scann": _scann}[name](index)
    return made


def breadths() -> tuple[SearchParameters, ...]:
    """The grid of a graph, the fastest first."""
    return tuple({"ef": breadth} for breadth in BREADTHS)


def numbered(index: VectorIndex) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of an index's vectors with the number of their first row."""
    first = 0
    for block in index.vectors.blocks():
        yield first, block
        first += len(block)


def _usearch(index: VectorIndex) -> IndexBaseline:
    from usearch.index import Index

    began = time.process_time()
    rows = index.manifest.rows
    made = Index(ndim=index.manifest.dim, metric="ip", dtype="f16", connectivity=LINKS, expansion_add=CONSTRUCTION)
    for first, block in numbered(index):
        made.add(np.arange(first, first + len(block), dtype=np.uint64), block, threads=1)
    seconds = time.process_time() - began

    def search(queries: np.ndarray) -> np.ndarray:
        found: Any = made.search(queries, min(DEPTH, rows), threads=1)
        return np.asarray(found.keys).astype(np.int64).reshape(len(queries), -1)

    def at(parameters: SearchParameters) -> Search:
        made.expansion_search = parameters["ef"]
        return search

    def add(vectors: np.ndarray) -> None:
        made.add(np.arange(rows, rows + len(vectors), dtype=np.uint64), vectors, threads=1)

    def delete(gone: np.ndarray) -> None:
        made.remove(gone.astype(np.uint64), threads=1)

    size = made.serialized_length / rows
    return IndexBaseline("usearch f16", at, breadths(), size, seconds, add=add, delete=delete)


def _hnswlib(index: VectorIndex) -> IndexBaseline:
    import hnswlib

    began = time.process_time()
    rows = index.manifest.rows
    made = hnswlib.Index(space="ip", dim=index.manifest.dim)
    made.init_index(max_elements=rows, ef_construction=CONSTRUCTION, M=LINKS)
    for first, block in numbered(index):
        made.add_items(block, np.arange(first, first + len(block)), num_threads=1)
    seconds = time.process_time() - began

    def searching(parameters: SearchParameters, passes: Any = None) -> Search:
        made.set_ef(parameters["ef"])

        def search(queries: np.ndarray) -> np.ndarray:
            try:
                labels, _ = made.knn_query(queries, k=min(DEPTH, rows), num_threads=1, filter=passes)
            except RuntimeError:  # fewer than k rows that pass were met
                return np.full((len(queries), 1), -1)
            found: np.ndarray = labels.astype(np.int64)
            return found

        return search

    def passing(filter: RowFilter) -> Searcher:
        passes = filter.mask.tolist().__getitem__
        return lambda parameters: searching(parameters, passes)

    def add(vectors: np.ndarray) -> None:
        made.resize_index(rows + len(vectors))
        made.add_items(vectors, np.arange(rows, rows + len(vectors)), num_threads=1)

    def delete(gone: np.ndarray) -> None:
        for row in gone.tolist():
            made.mark_deleted(row)

    size = made.index_file_size() / rows
    return IndexBaseline("hnswlib", searching, breadths(), size, seconds, passing=passing, add=add, delete=delete)


def _scann(index: VectorIndex) -> IndexBaseline:
    with _without_log():
        from scann import scann_ops_pybind

        began = time.process_time()
        rows = index.manifest.rows
        vectors = np.concatenate([block for _, block in numbered(index)])
        leaves = power_of_two(math.sqrt(rows))
        plan = scann_ops_pybind.builder(vectors, DEPTH, "dot_product")
        if rows >= leaves * DEPTH:
            plan = plan.tree(leaves, max(1, leaves // 8), training_sample_size=min(rows, TRAINED))
        plan = plan.score_ah(2, anisotropic_quantization_threshold=QUANTIZED).reorder(REORDERED[0])
        made = plan.set_n_training_threads(1).build(docids=list(range(rows)))
        seconds = time.process_time() - began

    def at(parameters: SearchParameters) -> Search:
        asked = {
            "final_num_neighbors": DEPTH,
            "pre_reorder_num_neighbors": parameters["candidates"],
            "leaves_to_search": parameters["leaves"],
        }

        def search(queries: np.ndarray) -> np.ndarray:
            if len(queries) == 1:
                return np.array([made.search(queries[0], **asked)[0]], dtype=np.int64)
            found, _ = made.search_batched(queries, **asked)
            width = max(len(one) for one in found)
            return np.array([[*one, *[-1] * (width - len(one))] for one in found], dtype=np.int64)

        return search

    def add(more: np.ndarray) -> None:
        made.upsert(list(range(rows, rows + len(more))), more, batch_size=len(more))

    def delete(gone: np.ndarray) -> None:
        made.delete(gone.tolist())

    visited = sorted({max(1, round(share * leaves)) for share in LEAVES})
    grid = tuple({"leaves": count, "candidates": deep} for count in visited for deep in REORDERED)
    return IndexBaseline("scann", at, grid, _saved(made, rows), seconds, add=add, delete=delete)


def _saved(made: Any, rows: int) -> float:
    """The bytes a vector takes in the files that ScaNN saves, without our row numbers."""
    with tempfile.TemporaryDirectory(prefix="searchapp-bench-") as folder, _without_log():
        made.searcher.serialize(folder, False)
        return sum(file.stat().st_size for file in Path(folder).iterdir()) / rows


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep what ScaNN's own code writes to standard error off the screen; its errors come as exceptions."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
