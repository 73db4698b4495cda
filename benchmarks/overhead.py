"""What a call of ``VectorIndex.search_vectors`` costs beside the raw FAISS call on the same file, and opening an index.

    python benchmarks/overhead.py INDEX QUERIES.npy

CPU time of one thread, median of interleaved rounds. For an index with rescoring the raw call is FAISS's first stage
alone; the rescoring itself (reading, widening, products) is timed beside it, so that what is left is the wrapper.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.index import VectorIndex
from searchapp.index.ann.faiss_lib import import_faiss, set_parameters
from searchapp.index.ann.rescore import exact_scores

ROUNDS = 180


def measured(
    index: VectorIndex, raw: Any, queries: np.ndarray, size: int, rounds: int, depth: int
) -> tuple[list[float], list[float], list[float]]:
    """Seconds of a search, of FAISS alone behind the reduction, and of rescoring what it found, in each round.

    Each has queries of its own in a round, which the others have not brought into the caches.
    """

    def reduced(part: np.ndarray) -> np.ndarray:
        return index.reduction.apply(part) if index.reduction else part

    asked = [
        np.ascontiguousarray(np.resize(np.roll(queries, 7 * i, 0), (size, queries.shape[1]))) for i in range(rounds)
    ]
    rows = [raw.search(reduced(part), depth)[1] for part in asked]
    rescored = bool(index.manifest.ann and index.manifest.ann.candidates)

    def ours(i: int) -> object:
        return index.search_vectors(asked[i], 10)

    def theirs(i: int) -> object:
        return raw.search(reduced(asked[i]), depth)

    def rescoring(i: int) -> object:
        return exact_scores(index.vectors, asked[i], rows[i]) if rescored else None

    times: tuple[list[float], list[float], list[float]] = ([], [], [])
    for i in range(rounds):
        for number, call in enumerate((ours, theirs, rescoring)):
            began = time.process_time()
            call((i + number * rounds // 3) % rounds)
            times[number].append(time.process_time() - began)
    return times


def main() -> None:
    """Measure and print."""
    path, queries = Path(sys.argv[1]), np.load(sys.argv[2]).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    faiss = import_faiss()
    faiss.omp_set_num_threads(1)
    opening = []
    for _ in range(9):
        began = time.perf_counter()
        VectorIndex.open(path)
        opening.append(time.perf_counter() - began)
    index = VectorIndex.open(path)
    ann = index.manifest.ann or sys.exit("no search index")
    raw = faiss.read_index(str(index.snapshot.path(ann.file)), faiss.IO_FLAG_MMAP_IFC)
    set_parameters(raw, ann.parameters)
    depth = max(ann.candidates, 40) if ann.candidates else 10
    print(f"{ann.factory}, {index.manifest.rows:,} x {index.manifest.dim}: opened in {1e3 * np.median(opening):.1f} ms")  # noqa: T201
    for size, rounds in ((1, ROUNDS), (256, 9)):
        ours, theirs, rescoring = measured(index, raw, queries, size, rounds, depth)
        call, first, second = (1e6 * float(np.median(part)) for part in (ours, theirs, rescoring))
        print(  # noqa: T201
            f"batch {size}: search_vectors {call:.0f} us, raw FAISS {first:.0f} us, rescoring {second:.0f} us, "
            f"the rest {call - first - second:+.0f} us ({(call - first - second) / (first + second):+.1%})"
        )


if __name__ == "__main__":
    main()
