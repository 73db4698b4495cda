"""Large on small: store, index and search many vectors, and say how much memory the process took at its peak.

    python benchmarks/large.py --rows 2000000 --dim 1024 [--factory HR,RaBitQfs] [--work DIR] [--limit-gb 6]

Peak memory is the kernel's (ru_maxrss), pages of memory-mapped files included. Exit code 1 above the limit.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from searchapp.bench.vectors import Synthetic, index_of
from searchapp.index import VectorIndex, reindex
from searchapp.index.ann.faiss_lib import import_faiss


def peak_gigabytes() -> float:
    """The most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=1_024)
    parser.add_argument("--factory", default="auto")
    parser.add_argument("--work", type=Path, default=Path())
    parser.add_argument("--limit-gb", type=float, default=6.0)
    options = parser.parse_args()
    import_faiss().omp_set_num_threads(1)
    made = Synthetic(options.rows, options.dim)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        path = Path(folder) / "index"
        began = time.process_time()
        index_of(path, made.blocks(), options.dim, made.queries(300))
        say(f"stored {options.rows:,} x {options.dim}", began)
        began = time.process_time()
        manifest = reindex(path, factory=options.factory, stage=lambda name: say(f"  {name}", began))
        say("indexed", began)
        print(manifest.ann)  # noqa: T201
        index = VectorIndex.open(path)
        queries = made.queries(400)[300:]
        index.search_vectors(queries[:1], 10)
        spent = []
        for query in queries:
            began = time.process_time()
            index.search_vectors(query[None], 10)
            spent.append(time.process_time() - began)
        print(f"a query: {1_000 * np.median(spent):.2f} ms of CPU, one thread")  # noqa: T201
        stored = sum(entry.size for entry in manifest.files.values())
        print(f"on disk {stored / 1e9:.2f} GB, peak memory {peak_gigabytes():.2f} GB")  # noqa: T201
    if peak_gigabytes() > options.limit_gb:
        sys.exit(f"more than {options.limit_gb} GB")


def say(what: str, began: float) -> None:
    """A line with the CPU seconds since a moment and the peak so far."""
    print(f"{what}: {time.process_time() - began:.1f} s of CPU, peak {peak_gigabytes():.2f} GB", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
