"""Fitting PCA at high dimensions: ours (streamed moment, subspace iteration) beside faiss.PCAMatrix, on the same rows.

    python benchmarks/pca.py [--rows 20000] [--dim 4096] [--to 512]

CPU seconds of one thread; variance is the share of the centred variance of other rows that each projection keeps.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from searchapp.bench.vectors import Synthetic
from searchapp.index.ann.faiss_lib import import_faiss
from searchapp.index.ann.pca import Fit, leading_axes, moments


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=4_096)
    parser.add_argument("--to", type=int, default=512)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    faiss = import_faiss()
    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    drawn = np.concatenate([*Synthetic(options.rows + 2_048, options.dim).blocks()])
    rows, others = drawn[: options.rows], drawn[options.rows :]
    others = others - others.mean(0)
    whole = float((others**2).sum())

    began = time.process_time()
    moment, mean = moments(np.array_split(rows, max(1, options.rows // 8_192)), options.dim, options.device)
    streamed = time.process_time() - began
    axes = leading_axes(moment, options.to)
    ours = time.process_time() - began
    kept = float(((others @ Fit(axes, moment, mean).pca(options.to).components) ** 2).sum()) / whole

    began = time.process_time()
    matrix = faiss.PCAMatrix(options.dim, options.to)
    matrix.train(rows)
    theirs = time.process_time() - began
    components = faiss.vector_to_array(matrix.A).reshape(-1, options.dim)[: options.to]
    faiss_kept = float(((others @ components.T) ** 2).sum()) / whole
    print(f"{options.rows:,} x {options.dim} -> {options.to}")  # noqa: T201
    print(f"ours           {ours:8.1f} s (moment {streamed:.1f} s)  variance kept {kept:.5f}")  # noqa: T201
    print(f"faiss.PCAMatrix{theirs:8.1f} s                    variance kept {faiss_kept:.5f}")  # noqa: T201
    print(f"{theirs / ours:.1f}x faster, {kept / faiss_kept:.2%} of its variance")  # noqa: T201


if __name__ == "__main__":
    main()
