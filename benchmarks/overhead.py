"""What a call of ``VectorIndex.search_vectors`` costs beside the raw FAISS call on the same file, and opening an index.

    python benchmarks/overhead.py INDEX QUERIES.npy

CPU time of one thread, median of interleaved rounds. For an index with rescoring the raw call is FAISS's first stage
alone; the rescoring itself (reading, widening, products) is timed beside it, so that what is left is the wrapper.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from searchapp.index import VectorIndex
from searchapp.index.ann import import_faiss
from searchapp.index.rescore import exact_scores

ROUNDS = 60


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
    raw = faiss.read_index(str(index.store.path(ann.file)), faiss.IO_FLAG_MMAP_IFC)
    depth = max(ann.candidates, 40) if ann.candidates else 10
    print(f"{ann.factory}, {index.manifest.rows:,} x {index.manifest.dim}: opened in {1e3 * np.median(opening):.1f} ms")  # noqa: T201
    for size, rounds in ((1, ROUNDS), (256, 5)):
        ours, theirs, rescoring = [], [], []
        for number in range(rounds):
            asked = np.ascontiguousarray(np.resize(np.roll(queries, number, 0), (size, queries.shape[1])))
            reduced = index.reduction.apply(asked) if index.reduction else asked
            raw.search(reduced, depth)  # what comes first would pay for the caches of both
            began = time.process_time()
            index.search_vectors(asked, 10)
            middle = time.process_time()
            _, rows = raw.search(reduced, depth)
            end = time.process_time()
            if ann.candidates:
                exact_scores(index.vectors, asked, rows)
            rescoring.append(time.process_time() - end)
            ours.append(middle - began)
            theirs.append(end - middle)
        call, first, second = (1e6 * float(np.median(part)) for part in (ours, theirs, rescoring))
        print(  # noqa: T201
            f"batch {size}: search_vectors {call:.0f} us, raw FAISS {first:.0f} us, rescoring {second:.0f} us, "
            f"the rest {call - first - second:+.0f} us ({(call - first - second) / (first + second):+.1%})"
        )


if __name__ == "__main__":
    main()
