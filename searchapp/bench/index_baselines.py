"""The indexes that ``searchapp bench index`` compares: FAISS's types, other libraries, and searchapp's own.

Each is an ``IndexBaseline``: built once, searched with the parameters of its grid. FAISS types that compress are
measured twice, with their own scores and with the rescoring that searchapp does, from vectors held in memory; those
that people put together by hand are measured as FAISS has them (``searchapp.bench.by_hand``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import numpy as np

from searchapp.bench.baseline import IndexBaseline, RowFilter, Search, Searcher, SearchParameters
from searchapp.bench.by_hand import build_by_hand, is_by_hand, peers
from searchapp.bench.libraries import LIBRARIES, build_library
from searchapp.errors import SearchAppError
from searchapp.index import VectorIndex
from searchapp.index.ann.calibration import DEPTH, MeasuredIndex
from searchapp.index.ann.faiss_lib import check_factory, import_faiss
from searchapp.index.ann.pca import reduced_sample
from searchapp.index.ann.rules import BREADTHS, SHARES, default_config, lists_in, power_of_two, rotation
from searchapp.index.ann.searcher import AnnIndex
from searchapp.index.ann.train import add, train, training_rows
from searchapp.index.storage.vectors import Held

FLAT = "Flat"
PEERS = "peers"  # stands for what people would pick instead
RESCORED = (0, 50, 100, 200, 400, 800)  # candidates, for a FAISS type that compresses


def standard(rows: int, dim: int) -> list[str]:
    """The baselines measured where none is named: exact, lists, graphs, codes, a reduction, other libraries."""
    lists, few = power_of_two(4 * math.sqrt(rows)), power_of_two(math.sqrt(rows))
    turned, half, codes = rotation(dim), max(1, dim // 2), max(1, dim // 4)
    bits = "RaBitQfs" if dim <= 1_024 else "RaBitQ"
    return [
        FLAT, "SQ8", f"IVF{lists},Flat", f"IVF{lists},SQ8", f"PCA{half},SQ8", "HNSW16,SQ8",
        f"{turned},{bits}", f"{turned},IVF{few},RaBitQfs",
        f"PQ{codes}x4fs", f"{turned},PQ{codes}x4fs", f"{turned},IVF{few},PQ{codes}x4fs",
        f"PCAR{2 * codes},PQ{codes}x4fs", f"PCAR{2 * codes},IVF{few},PQ{codes}x4fs", *LIBRARIES,
    ]  # fmt: skip


def expanded(names: Sequence[str], dim: int) -> list[str]:
    """The names with ``peers`` replaced by the baselines it stands for, each once."""
    found = [one for name in names for one in ([*peers(dim), *LIBRARIES] if name == PEERS else [name])]
    return list(dict.fromkeys(found))


def check(names: Sequence[str], dim: int) -> None:
    """Raise SearchAppError for a name that is neither a library nor a FAISS factory string for vectors of ``dim``."""
    for name in names:
        if name == "auto":
            raise SearchAppError("--rival auto is searchapp's own, which is always measured; leave it out")
        if name not in LIBRARIES:
            check_factory(name, dim)


def build(name: str, index: VectorIndex, held: Held) -> IndexBaseline:
    """Build a baseline over the vectors of an index; ``held`` are the same in memory, to rescore with."""
    if name in LIBRARIES:
        return build_library(name, index)
    if is_by_hand(name):
        return build_by_hand(name, index)
    return _faiss(name, index, held)


def _faiss(factory: str, index: VectorIndex, held: Held) -> IndexBaseline:
    began = time.process_time()
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

    def passing(filter: RowFilter) -> Searcher:
        faiss = import_faiss()
        asked = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(filter.mask, bitorder="little")))
        return lambda parameters: lambda queries: raw.search(queries, DEPTH, params=asked)[1]

    depths = (0,) if factory.endswith("Flat") else RESCORED
    grid = tuple({**step, **({"candidates": depth} if depth else {})} for step in _steps(factory) for depth in depths)
    size = len(import_faiss().serialize_index(raw)) / index.manifest.rows
    return IndexBaseline(factory, at, grid, size, seconds, passing=passing if factory == FLAT else None)


def _steps(factory: str) -> Iterator[SearchParameters]:
    """Search parameters of a FAISS type, the fastest first."""
    if lists := lists_in(factory):
        yield from ({"nprobe": count} for count in sorted({max(1, round(share * lists)) for share in SHARES[1:]}))
    elif "HNSW" in factory:
        yield from ({"efSearch": breadth} for breadth in BREADTHS)
    else:
        yield {}
