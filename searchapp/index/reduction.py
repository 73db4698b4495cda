"""PCA of the stored vectors: a projection fitted on the corpus itself, kept with the index, applied to queries too.

The axes are the leading eigenvectors of the uncentred second moment, and projected vectors get length 1 again: for
cosine search both beat centring (`PCAMatrix`), because an offset common to all vectors moves every inner product.
The moment is streamed in blocks, so memory is two matrices of dim x dim whatever the number of rows.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.durable import Draft
from searchapp.index.vectors import Vectors

FIT_ROWS = 100_000  # random rows beyond which the subspace no longer changes


@dataclass(frozen=True)
class Pca:
    """``components`` float32 (dim, k), orthonormal columns; ``explained_variance`` the kept share of the variance."""

    components: np.ndarray
    explained_variance: float

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Project (n, dim) to unit rows (n, k), float32; zero rows stay zero."""
        projected = vectors.astype(np.float32, copy=False) @ self.components
        norms = np.linalg.norm(projected, axis=1, keepdims=True)
        return np.divide(projected, norms, out=projected, where=norms > 0)

    def write(self, draft: Draft) -> None:
        """Store as an .npy file."""
        buffer = io.BytesIO()
        np.save(buffer, self.components, allow_pickle=False)
        draft.write(buffer.getvalue())


def read_pca(path: Path, shape: tuple[int, int], explained_variance: float) -> Pca:
    """Load what ``Pca.write`` stored. Raises IndexStoreError for a file that is not such a projection."""
    try:
        with path.open("rb") as file:
            components = np.load(file, allow_pickle=False)
        if components.shape != shape or components.dtype != np.float32:
            raise ValueError(f"shape {components.shape}, expected {shape}")
    except Exception as error:  # numpy's header parser raises anything on damaged bytes
        raise IndexStoreError(
            f"data/{path.name} is no readable projection ({type(error).__name__}); "
            "run the same `searchapp build` again: it is made anew from the stored vectors"
        ) from error
    return Pca(components, explained_variance)


def check_dimension(dim: int, original: int, rows: int | None = None) -> None:
    """Raise IndexStoreError unless 1 ≤ dim ≤ original, and dim ≤ rows where the number of rows is known."""
    if dim < 1 or dim > original:
        raise IndexStoreError(f"--pca {dim} does not fit vectors of {original} dimensions; give 1 to {original}")
    if rows is not None and dim > rows:
        raise IndexStoreError(
            f"--pca {dim} needs at least {dim} documents to be fitted, there are {rows}; "
            f"give 1 to {min(original, rows)}"
        )


def fit_pca(vectors: Vectors, dim: int, seed: int = 0) -> Pca:
    """Fit on all rows, or on ``FIT_ROWS`` random ones. Raises IndexStoreError when ``dim`` does not fit."""
    import torch

    check_dimension(dim, vectors.dim, vectors.rows)
    share = min(1.0, FIT_ROWS / max(1, vectors.rows))
    rng = np.random.default_rng(seed)
    moment = torch.zeros(vectors.dim, vectors.dim, dtype=torch.float64)
    mean = torch.zeros(vectors.dim, dtype=torch.float64)
    count = 0
    for block in vectors.blocks():
        if share < 1.0:
            block = block[rng.random(len(block)) < share]
        rows = torch.from_numpy(block)
        moment += (rows.T @ rows).double()
        mean += rows.double().sum(0)
        count += len(block)
    moment /= count
    mean /= count
    _, axes = torch.linalg.eigh(moment)  # ascending eigenvalues
    chosen = axes[:, -dim:].flip(1)
    covariance = moment - torch.outer(mean, mean)
    kept = torch.trace(chosen.T @ covariance @ chosen) / torch.trace(covariance).clamp(min=1e-12)
    return Pca(np.ascontiguousarray(chosen.float().numpy()), float(kept.clamp(0, 1)))
