"""Makes the reduction and the FAISS index of a state from its stored vectors, and commits them."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.heap import freed_memory_returned
from searchapp.index.ann.builder import AnnBuilder, Stage
from searchapp.index.ann.calibration import CalibrationQueries, MeasuredIndex
from searchapp.index.ann.cold import cold_costs, measure_reads, row_milliseconds
from searchapp.index.ann.files import open_ann
from searchapp.index.ann.queries import (
    PROBES,
    EncodeQueries,
    encode_fragments,
    read_queries,
    synthetic_queries,
    write_queries,
)
from searchapp.index.ann.request import AnnRequest
from searchapp.index.ann.select import Selection, select, will_be_exact
from searchapp.index.ann.trained import Trained
from searchapp.index.storage.manifest import Ann, Manifest
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from searchapp.stopwatch import Stopwatch

log = logging.getLogger(__name__)
MAPPED_NUMBERS = 1 << 25  # stored numbers up to which they are mapped: 64 MB of memory, and rows are read at once


def build_ann(
    writer: Writer,
    request: AnnRequest,
    *,
    manifest: Manifest | None = None,
    stage: Stage | None = None,
    encode: EncodeQueries | None = None,
    device: str = "cpu",
    trained: Trained | None = None,
) -> Manifest:
    """Fit the reduction and build the FAISS index over all stored vectors, commit both at once, return the new state.

    ``manifest`` is the state to go on from, by default the committed one; its files need not be committed yet. Deleted
    rows keep their numbers, but the index is neither trained nor measured on them. No document is encoded; ``encode``
    encodes calibration queries where there are none yet. ``device`` computes what can be computed on a GPU.
    ``trained`` are a reduction and an empty index, fitted to the vectors of which these are a part.

    Raises IndexStoreError where there are no vectors, or the request does not fit them.
    """
    manifest = manifest or writer.manifest
    if manifest is None or manifest.rows == 0:
        raise IndexStoreError(f"{writer.root} holds no vectors to index; run `searchapp build`")
    if manifest.documents == 0:
        raise IndexStoreError(f"{writer.root} is empty; add documents first: searchapp add {writer.root} SOURCE...")
    request.check(manifest.dim, manifest.documents if trained is None else None)
    with freed_memory_returned():
        return writer.commit(_built(writer, manifest, request, stage or (lambda _: None), encode, device, trained))


def _built(
    writer: Writer,
    manifest: Manifest,
    request: AnnRequest,
    stage: Stage,
    encode: EncodeQueries | None,
    device: str,
    trained: Trained | None,
) -> Manifest:
    """The manifest with a new reduction and FAISS index."""
    watch = Stopwatch()
    snapshot = Snapshot.of(writer, manifest)
    few = manifest.rows * manifest.dim <= MAPPED_NUMBERS
    vectors = snapshot.open_vectors(mapped=few, alive=snapshot.alive)
    reads = measure_reads(vectors.files())  # before they are mapped: what is mapped cannot be dropped
    builder = AnnBuilder(writer, vectors, stage, device, row_milliseconds(reads, vectors), trained)
    queries, probes = _queries(writer, manifest, request, builder, encode)
    builder.stage("finding the exact hits of the probe queries")
    truth = CalibrationQueries.over(queries, vectors.living(), device)
    selection = select(request, builder, truth)
    seconds = {**manifest.build.seconds, "reduce": builder.seconds}
    spent = watch.read()
    seconds["index"] = spent.clock - builder.seconds
    seconds |= {"index_cpu": spent.cpu, "index_wait": spent.waiting}  # the reduction included
    reduction = builder.reduction(selection.index.config.pca)
    if reduction is None:
        del seconds["reduce"]
    chosen = selection.index
    opened = open_ann(writer.path(chosen.file), chosen.point.parameters)
    searched = MeasuredIndex(opened, builder.pca(chosen.config.pca), vectors, vectors.alive)
    cold = cold_costs(reads, searched, vectors, truth, chosen.point, chosen.size * vectors.rows)
    log.info("index over %d vectors: %s, recall %.3f", vectors.rows, chosen.config.factory, chosen.point.recall)
    return manifest.with_files(
        state="ready",
        reduction=reduction,
        ann=_described(selection, vectors.rows, len(queries), cold),
        probes=probes,
        drift=None,
        build=replace(
            manifest.build,
            pca=request.pca,
            factory=request.factory,
            targets=request.targets.to_json(),
            seconds=seconds,
        ),
        files=builder.files,
    )


def _described(selection: Selection, rows: int, queries: int, cold: dict[str, float]) -> Ann:
    """What the manifest says of the index that was selected; ``cold`` of files that are not in memory."""
    index, point = selection.index, selection.index.point
    return Ann(
        index.file,
        index.config.factory,
        rows,
        point.candidates,
        point.parameters,
        {"recall": point.recall, "milliseconds": point.milliseconds, "bytes": index.size, "queries": queries, **cold},
        selection.notes,
    )


def _queries(
    writer: Writer, manifest: Manifest, request: AnnRequest, builder: AnnBuilder, encode: EncodeQueries | None
) -> tuple[np.ndarray, str | None]:
    """The calibration queries and their file: those kept with the index, else encoded, else synthetic (not kept)."""
    if manifest.probes is not None and not Snapshot.of(writer, manifest).check([manifest.probes]):
        return read_queries(writer.path(manifest.probes), manifest.dim), manifest.probes
    if encode is None or will_be_exact(request, builder.vectors):
        return synthetic_queries(builder.vectors), None
    builder.stage("encoding probe queries")
    rows = Snapshot.of(writer, manifest).documents
    queries = encode_fragments(rows, builder.vectors.sampled(PROBES), encode)
    with writer.draft("probes") as (name, draft, entries):
        write_queries(draft, queries)
    builder.files.update(entries)
    return read_queries(writer.path(name), manifest.dim), name
