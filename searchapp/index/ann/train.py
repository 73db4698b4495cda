"""Training a FAISS index on a random sample of the vectors, and adding vectors to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.ann.faiss_lib import import_faiss, last_line
from searchapp.index.ann.gpu import train_on
from searchapp.index.ann.kmeans import shorten_codebooks, silence_kmeans_warnings
from searchapp.index.ann.rules import AnnConfig, lists_in

TRAINING_ROWS_A_LIST = 40  # FAISS warns below 39
TRAINING_ROWS = 50_000  # for codebooks and quantizer ranges
TRAINING_ROWS_FEW = 8_192  # for 1-bit codes, which need no more than a mean, and codebooks of 16 entries
TRAINING_BYTES = 2 << 30


def train(config: AnnConfig, sample: np.ndarray, device: str = "cpu") -> Any:
    """Make and train an index on a random sample, float32 (n, dim). Raises IndexStoreError with too few rows."""
    faiss = import_faiss()
    index = faiss.index_factory(sample.shape[1], config.factory, faiss.METRIC_INNER_PRODUCT)
    silence_kmeans_warnings(index)
    shorten_codebooks(index)
    try:
        train_on(index, sample, device)
    except RuntimeError as error:
        raise IndexStoreError(
            f"FAISS type {config.factory} (--factory) cannot be trained on {len(sample)} vectors ({last_line(error)}); "
            "give fewer lists, or Flat"
        ) from error
    return index


def training_rows(factory: str, dim: int) -> int:
    """How many random rows a type over ``dim`` dimensions is trained on: few enough to be held in memory."""
    least = TRAINING_ROWS_FEW if "RaBitQ" in factory or factory.endswith("x4fs") else TRAINING_ROWS
    wanted = max(least, TRAINING_ROWS_A_LIST * lists_in(factory))
    return min(wanted, TRAINING_BYTES // (4 * dim))


def add(config: AnnConfig, index: Any, blocks: Iterator[np.ndarray]) -> None:
    """Add all vectors, block by block. Raises IndexStoreError for a type that cannot number its vectors by row."""
    try:
        for block in blocks:
            index.add(block)
    except RuntimeError as error:
        raise IndexStoreError(
            f"FAISS type {config.factory} (--factory) cannot take the vectors ({last_line(error)}); "
            "give another type, or Flat"
        ) from error
