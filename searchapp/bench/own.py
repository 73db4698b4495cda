"""searchapp's own index in ``searchapp bench index``: built, searched and updated as a program would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from searchapp.bench.baseline import IndexBaseline, RowFilter, Search, Searcher, SearchParameters
from searchapp.corpus import Document
from searchapp.index import VectorIndex, delete
from searchapp.index.ann.calibration import DEPTH
from searchapp.index.extend import extend_index
from searchapp.index.filter import Filter
from searchapp.index.storage.segment import write_segment
from searchapp.index.storage.writer import Writer

OURS = "searchapp auto"
OUR_DEPTHS = (None, 40, 100, 200, 400, 800)  # None: as the index is set


def ours(path: Path, seconds: float) -> IndexBaseline:
    """A finished index of searchapp, as it is set and with other rescoring depths; ``seconds`` were spent on it."""
    opened = VectorIndex.open(path)
    ann, reduction, states = opened.manifest.ann, opened.manifest.reduction, [opened]
    assert ann is not None  # noqa: S101 - for mypy
    chosen = f"PCA{reduction.dim},{ann.factory}" if reduction else ann.factory

    def searcher(filter: Filter | None) -> Searcher:
        def at(parameters: SearchParameters) -> Search:
            depth = parameters.get("candidates")
            return lambda queries: states[-1].search_vectors(queries, DEPTH, candidates=depth, filter=filter)[1]

        return at

    def add(vectors: np.ndarray) -> None:
        with Writer.open(path) as writer:
            manifest = writer.state
            documents = [Document(f"added {number}", "-", metadata={"share": 0}) for number in range(len(vectors))]
            segment, files = write_segment(writer, documents, vectors, manifest.rows)
            rows = manifest.rows + len(vectors)
            writer.commit(manifest.with_files(segments=(*manifest.segments, segment), rows=rows, files=files))
            extend_index(writer)
        states[:] = [VectorIndex.open(path)]

    def remove(rows: np.ndarray) -> None:
        delete(path, [str(row) for row in rows.tolist()])
        states[:] = [VectorIndex.open(path)]

    depths = OUR_DEPTHS[:1] if ann.is_exact else OUR_DEPTHS
    grid = tuple({} if depth is None else {"candidates": depth} for depth in depths)
    said = ", ".join(f"{key} {value}" for key, value in {**ann.parameters, "candidates": ann.candidates}.items())
    passing: Callable[[RowFilter], Searcher] = lambda filter: searcher(Filter(filter.expression))  # noqa: E731
    return IndexBaseline(
        f"{OURS}: {chosen}", searcher(None), grid, ann.measured["bytes"], seconds, (f"set to {said}", *ann.notes),
        passing, add, remove,
    )  # fmt: skip
