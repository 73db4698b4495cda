"""GPU against GPU: FAISS's own indexes and ours through PyTorch, for each job; run it where there is a GPU.

    python benchmarks/gpu.py [--rows 1000000] [--dim 1024]

Wall-clock seconds, after a first call that is not counted. Without faiss-gpu only PyTorch is measured.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from searchapp.bench.vectors import Synthetic
from searchapp.index.ann.faiss_lib import import_faiss
from searchapp.index.ann.gpu import ExactSearch, devices, faiss_gpus, kmeans, sharded
from searchapp.index.ann.pca import leading_axes, moments


def timed(job: Callable[[], object]) -> float:
    """Seconds of the second of two calls."""
    job()
    torch.cuda.synchronize()
    began = time.perf_counter()
    job()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=1_024)
    options = parser.parse_args()
    faiss = import_faiss()
    made = Synthetic(options.rows, options.dim)
    vectors = np.concatenate([*made.blocks()])
    queries = made.queries(1_024)
    ours = ExactSearch(iter([vectors]), len(vectors), devices("cuda"))
    jobs: dict[str, Callable[[], object]] = {
        "exact search, PyTorch, batch 1024": lambda: ours.search(queries, 100),
        "exact search, PyTorch, batch 1": lambda: ours.search(queries[:1], 100),
        "k-means, 4096 lists, PyTorch": lambda: kmeans(vectors[:200_000], 4_096, "cuda"),
        "PCA to 512, PyTorch": lambda: leading_axes(moments([vectors[:32_768]], options.dim, "cuda")[0], 512),
    }
    if faiss_gpus():
        flat = faiss.IndexFlatIP(options.dim)
        flat.add(vectors)
        theirs = sharded(flat)
        lists = faiss.Kmeans(options.dim, 4_096, niter=10, gpu=True, spherical=True)
        jobs["exact search, FAISS, batch 1024"] = lambda: theirs.search(queries, 100)
        jobs["exact search, FAISS, batch 1"] = lambda: theirs.search(queries[:1], 100)
        jobs["k-means, 4096 lists, FAISS"] = lambda: lists.train(vectors[:200_000])
    for name, job in jobs.items():
        print(f"{name:36} {1e3 * timed(job):10.1f} ms", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
