"""Said against measured: what a query takes while the vectors' files are not in memory, over vectors that are drawn.

    python -m benchmarks.cold --rows 300000 --dim 1024 [--factory auto] [--work DIR] [--index DIR]

The files of an index are dropped from memory (their pages counted before and after), then queries that nothing has seen
are asked one by one, each by the clock, less what other programs took. With ``--index`` an index made before by this
program is measured again. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import json
import mmap
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from searchapp.bench.vectors import Synthetic, index_of
from searchapp.index import VectorIndex, reindex
from searchapp.index.ann.cold import absent_pages
from searchapp.index.ann.faiss_lib import import_faiss

PROBES, ASKED = 300, 100


def main() -> None:
    """Run and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--dim", type=int, default=1_024)
    parser.add_argument("--factory", default="auto")
    parser.add_argument("--work", type=Path, default=Path())
    parser.add_argument("--index", type=Path)
    options = parser.parse_args()
    import_faiss().omp_set_num_threads(1)
    made = Synthetic(options.rows, options.dim)
    with tempfile.TemporaryDirectory(dir=options.work) if options.index is None else nullcontext() as folder:
        path = options.index or Path(folder) / "index"
        if not path.exists():
            index_of(path, made.blocks(), options.dim, made.queries(PROBES))
            reindex(path, factory=options.factory)
        print(json.dumps(measure(path, made.queries(PROBES + 2 * ASKED)[PROBES:])))


def measure(path: Path, queries: np.ndarray) -> dict[str, object]:
    """What the manifest says and what queries (n, dim) took, half of them warm, the others cold, in milliseconds."""
    index = VectorIndex.open(path)
    ann = index.manifest.ann
    if ann is None:
        raise SystemExit(f"{path} has no search index; run `searchapp reindex {path}`")
    said, files, codes = ann.measured, index.vectors.files(), index.snapshot.path(ann.file)
    index.search_vectors(queries[:1], 10)
    warm = asked(index, np.concatenate([queries[: len(queries) // 2]] * 2))[len(queries) // 2 :]
    del index
    gc.collect()
    absent = dropped(files)
    index = VectorIndex.open(path)
    index.search_vectors(queries[:1], 10)
    cold = asked(index, queries[len(queries) // 2 :])
    del index
    gc.collect()
    dropped([codes])
    index = VectorIndex.open(path)
    first = asked(index, queries[:1])[0]
    return {
        "rows": ann.rows, "factory": ann.factory, "candidates": ann.candidates, "said": said,
        "pages_absent": absent, "warm_ms": float(np.median(warm)), "cold_ms": float(np.median(cold)),
        "cold_ms_mean": float(np.mean(cold)), "measured_over_said": float(np.median(cold)) / said["cold_milliseconds"],
        "first_ms_with_codes_dropped": first,
    }  # fmt: skip


def asked(index: VectorIndex, queries: np.ndarray) -> list[float]:
    """Milliseconds of each query, asked alone: the clock, less the time that other programs had the processor."""
    spent = []
    for query in queries:
        before, began = queued(), time.perf_counter()
        index.search_vectors(query[None], 10)
        spent.append(1_000 * (time.perf_counter() - began - (queued() - before)))
    return spent


def queued() -> float:
    """Seconds that this thread has been ready to run and did not."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def dropped(files: Sequence[Path]) -> float:
    """Ask the system to forget files; the share of their pages that it then does not hold."""
    absent = pages = 0
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                absent += len(absent_pages(mapped))
                pages += -(-len(mapped) // mmap.PAGESIZE)
    return absent / pages


if __name__ == "__main__":
    main()
