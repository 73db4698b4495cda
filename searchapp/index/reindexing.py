"""Another reduction or type of index over the stored vectors, in place; readers have the old one until it is there."""

from __future__ import annotations

from pathlib import Path

from searchapp.errors import IndexStoreError
from searchapp.index.ann.build_ann import build_ann
from searchapp.index.ann.builder import Stage
from searchapp.index.ann.request import AnnRequest, Targets
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.manifest import Manifest
from searchapp.index.storage.writer import Writer


def reindex(
    path: Path,
    *,
    pca: int | str | None = None,
    factory: str | None = None,
    targets: Targets | None = None,
    device: str = "cpu",
    stage: Stage | None = None,
    disk: Disk | None = None,
) -> Manifest:
    """Make the reduction and the FAISS index anew and commit them; no document is encoded.

    What is None stays as the index was made. Raises IndexStoreError for an index that is not finished, or for what
    does not fit its vectors.
    """
    with Writer.open(path, disk) as writer:
        manifest = writer.manifest
        if manifest is not None and manifest.state == "ready" and not manifest.documents:
            raise IndexStoreError(f"{path} is empty; add documents first: searchapp add {path} SOURCE...")
        if manifest is None or not manifest.rows or manifest.state == "encoding":
            raise IndexStoreError(
                f"{path} holds no finished set of vectors; run `searchapp build` (again, if it was interrupted)"
            )
        request = AnnRequest.of(manifest.build).changed(pca, factory, targets)
        return build_ann(writer, request, stage=stage, device=device)
