"""FAISS as people use it by hand: a graph, or codes whose candidates FAISS compares exactly in memory (``RFlat``)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import numpy as np

from searchapp.bench.baseline import IndexBaseline, RowFilter, Search, Searcher, SearchParameters
from searchapp.bench.libraries import BREADTHS
from searchapp.index import VectorIndex
from searchapp.index.ann.calibration import DEPTH
from searchapp.index.ann.faiss_lib import import_faiss, set_parameters
from searchapp.index.ann.rules import SHARES, default_config, lists_in
from searchapp.index.ann.train import add, train

REFINED = ",RFlat"
GRAPH = re.compile(r"HNSW\d+(,Flat)?")
TRAINING_ROWS = 20_000
COMPARED = (10, 20, 30, 40, 50, 60, 70, 85, 100, 125, 150, 200, 250, 300, 400, 600, 800, 1_600)  # candidates


def is_by_hand(factory: str) -> bool:
    """Whether a FAISS type is measured as here: a graph of whole vectors, or codes with FAISS's own refinement."""
    return factory.endswith(REFINED) or GRAPH.fullmatch(factory) is not None


def peers(dim: int) -> list[str]:
    """The factory strings of the codes and the graph that people make by hand for vectors of ``dim`` numbers."""
    half, quarter, most = max(1, dim // 2), max(1, dim // 4), max(1, dim * 5 // 16)
    reduced = [f"PCAR{2 * codes},PQ{codes}x4fs{REFINED}" for codes in (quarter, most)]
    return [*reduced, f"PQ{quarter}x4fs{REFINED}", f"PQ{half}x4fs{REFINED}", "HNSW32"]


def build_by_hand(factory: str, index: VectorIndex) -> IndexBaseline:
    """Build a FAISS type and time it; a graph has a search among rows that pass a filter, codes cannot be masked."""
    faiss = import_faiss()
    began = time.process_time()
    sample = np.concatenate(list(index.vectors.sampled_blocks(TRAINING_ROWS)))
    config = default_config(factory, reduced=False)
    made = train(config, sample)
    del sample
    add(config, made, index.vectors.blocks())
    seconds = time.process_time() - began
    refined, graph = factory.endswith(REFINED), GRAPH.fullmatch(factory) is not None

    def at(parameters: SearchParameters) -> Search:
        inner = made.base_index if refined else made
        set_parameters(inner, {name: value for name, value in parameters.items() if name != "candidates"})
        if refined:
            made.k_factor = parameters["candidates"] / DEPTH
        return lambda queries: made.search(queries, DEPTH)[1]

    def passing(filter: RowFilter) -> Searcher:
        chosen = faiss.IDSelectorBitmap(np.packbits(filter.mask, bitorder="little"))

        def masked(parameters: SearchParameters) -> Search:
            asked = faiss.SearchParametersHNSW(efSearch=parameters["efSearch"], sel=chosen)
            return lambda queries: made.search(queries, DEPTH, params=asked)[1]

        return masked

    takes: Callable[[np.ndarray], None] = made.add
    size = len(faiss.serialize_index(made)) / index.manifest.rows
    grid = _grid(factory) if refined else tuple({"efSearch": breadth} for breadth in BREADTHS)
    return IndexBaseline(factory, at, grid, size, seconds, passing=passing if graph else None, add=takes)


def _grid(factory: str) -> tuple[SearchParameters, ...]:
    """The settings of refined codes, the fastest first: lists visited, where there are some, and candidates."""
    lists = lists_in(factory)
    visited = sorted({max(1, round(share * lists)) for share in SHARES[1:]}) if lists else []
    return tuple(
        {**step, "candidates": deep} for step in ([{"nprobe": one} for one in visited] or [{}]) for deep in COMPARED
    )
