"""Vectors to measure indexes with, and an index directory over them without an encoder.

``synthetic`` draws vectors that behave like those of a large decoder: a power-law spectrum, topics of very different
size, an offset common to all, near-duplicates, and queries near documents. ``index_of`` stores any array as an index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from searchapp.corpus import Document
from searchapp.index.ann.queries import write_queries
from searchapp.index.storage.manifest import Build, Manifest
from searchapp.index.storage.segment import write_segment
from searchapp.index.storage.writer import Writer

BLOCK = 8_192


class Synthetic:
    """``rows`` unit vectors of ``dim`` numbers in ``topics`` topics, drawn block by block; the same for a seed."""

    def __init__(self, rows: int, dim: int, topics: int = 2_000, seed: int = 0) -> None:
        self.rows, self.dim, self.seed = rows, dim, seed
        rng = np.random.default_rng(seed)
        self._scale = (np.arange(1, dim + 1) ** -0.6).astype(np.float32)  # of the standard deviations
        self._scale /= np.linalg.norm(self._scale)
        self._offset = self._scale * rng.normal(size=dim).astype(np.float32)
        self._offset *= np.float32(0.7 / np.linalg.norm(self._offset))
        self._centres = rng.normal(size=(topics, dim)).astype(np.float32) * self._scale
        weights = np.arange(1, topics + 1) ** -0.8
        self._weights = weights / weights.sum()

    def blocks(self) -> Iterator[np.ndarray]:
        """All vectors, unit float32, ``BLOCK`` at a time."""
        for number, begin in enumerate(range(0, self.rows, BLOCK)):
            rng = np.random.default_rng((self.seed, 1, number))
            yield self._drawn(rng, min(BLOCK, self.rows - begin))

    def queries(self, count: int) -> np.ndarray:
        """Unit float32 queries from the same topics, each with noise of its own."""
        rng = np.random.default_rng((self.seed, 2))
        return self._unit(self._drawn(rng, count) + 0.5 * self._noise(rng, count))

    def _noise(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.standard_normal(size=(count, self.dim), dtype=np.float32) * self._scale

    def _drawn(self, rng: np.random.Generator, count: int) -> np.ndarray:
        topics = rng.choice(len(self._weights), size=count, p=self._weights)
        rows = self._offset + 0.8 * self._centres[topics] + 0.7 * self._noise(rng, count)
        twins = rng.random(count) < 0.02  # near-duplicates of the row before
        twins[0] = False
        rows[twins] = rows[np.flatnonzero(twins) - 1] + 0.05 * self._noise(rng, int(twins.sum()))
        return self._unit(rows)

    @staticmethod
    def _unit(rows: np.ndarray) -> np.ndarray:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows


def array_blocks(vectors: np.ndarray) -> Iterator[np.ndarray]:
    """Copies of the rows of an array, ``BLOCK`` at a time."""
    for begin in range(0, len(vectors), BLOCK):
        yield np.array(vectors[begin : begin + BLOCK], dtype=np.float32)


def index_of(
    path: Path,
    blocks: Iterator[np.ndarray],
    dim: int,
    probes: np.ndarray | None = None,
    metadata: Callable[[int, int], Sequence[Mapping[str, Any]]] | None = None,
) -> None:
    """Store vectors as an index whose documents are their numbers; ``probes`` (n, dim) become its probe queries.

    ``metadata`` gives that of so many documents from a number on. The state is ``encoded``: ``searchapp reindex`` makes
    the search index.
    """
    described = {"reference": {"model": "none", "adapters": []}, "fingerprint": {"sha256": "none"}, "dtype": "float32"}
    described["settings"] = {"pooling": "none", "document_max_length": 0, "max_length": 0, "bidirectional": True}
    with Writer.open(path) as writer:
        manifest = Manifest(described, dim, Build(()))
        for block in blocks:
            base = manifest.rows
            facts = metadata(base, len(block)) if metadata else [{}] * len(block)
            documents = [Document(str(base + number), "-", metadata=one) for number, one in enumerate(facts)]
            segment, files = write_segment(writer, documents, block, base)
            manifest = manifest.with_files(
                segments=(*manifest.segments, segment), rows=base + len(block), files={**manifest.files, **files}
            )
        if probes is not None:
            with writer.draft("probes") as (name, draft, entries):
                write_queries(draft, probes)
            manifest = manifest.with_files(probes=name, files=entries)
        writer.commit(manifest.with_files(state="encoded"))
