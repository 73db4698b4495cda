"""What can always be made again from the stored vectors: the reduction and the FAISS index over it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.ann import add, choose, prove, train, training_rows, write_flat, write_index
from searchapp.index.manifest import Ann, Manifest, Reduction
from searchapp.index.reduction import Pca, fit_pca
from searchapp.index.store import Store
from searchapp.index.vectors import Vectors

Stage = Callable[[str], None]


def derive(store: Store, pca: int | None, factory: str, stage: Stage | None = None) -> Manifest:
    """Fit the reduction, build the FAISS index over all stored vectors, commit both at once, return the new state.

    No document is encoded. Raises IndexStoreError when ``pca`` or ``factory`` do not fit the vectors.
    """
    if store.manifest is None or store.manifest.rows == 0:
        raise IndexStoreError(f"{store.root} holds no vectors to index; run `searchapp build`")
    return store.commit(derived(store, store.manifest, pca, factory, stage))


def derived(store: Store, manifest: Manifest, pca: int | None, factory: str, stage: Stage | None = None) -> Manifest:
    """What ``derive`` would commit after a manifest with at least one row, whose files need not be committed yet."""
    tell = stage or (lambda _: None)
    vectors = Vectors(store.data, manifest.segments, manifest.dim)
    seconds = {name: spent for name, spent in manifest.build.seconds.items() if name != "reduce"}
    files = {}
    projection, reduction = None, None
    if pca is not None:
        tell(f"fitting PCA {manifest.dim} → {pca}")
        began = time.perf_counter()
        projection = fit_pca(vectors, pca)
        with store.draft("pca") as (name, draft, entries):
            projection.write(draft)
        files.update(entries)
        reduction = Reduction(name, pca, projection.explained_variance)
        seconds["reduce"] = time.perf_counter() - began
    began = time.perf_counter()
    dim = pca or manifest.dim
    choice = choose(factory, manifest.rows, dim, reduced=pca is not None)
    tell(f"building {choice.factory} over {manifest.rows} x {dim}")
    with store.draft("faiss") as (name, draft, entries):
        if choice.factory == "Flat":
            write_flat(draft, _blocks(vectors, projection), manifest.rows, dim)
        else:
            sample = vectors.sample(training_rows(choice.factory))
            index = train(choice, projection.apply(sample) if projection else sample)
            add(choice, index, _blocks(vectors, projection))
            write_index(draft, index)
    first = next(_blocks(vectors, projection))[:1]
    prove(store.path(name), choice, manifest.rows, first)
    files.update(entries)
    seconds["index"] = time.perf_counter() - began
    return manifest.with_files(
        state="ready",
        reduction=reduction,
        ann=Ann(name, choice.factory, manifest.rows, choice.candidates, choice.parameters),
        drift=None,
        build=replace(manifest.build, pca=pca, factory=factory, seconds=seconds),
        files=files,
    )


def _blocks(vectors: Vectors, projection: Pca | None) -> Iterator[np.ndarray]:
    for block in vectors.blocks():
        yield projection.apply(block) if projection is not None else block
