"""PCA of the stored vectors: a projection fitted on the corpus itself, kept with the index, applied to queries too.

The axes are the leading eigenvectors of the uncentred second moment, and projected vectors get length 1 again. For
cosine search this beats centring (FAISS's `PCAMatrix`): an offset common to all vectors moves every inner product
(docs/log.md has the measurement). The moment is summed block by block, so memory is a few matrices of dim x dim for
any number of rows. A few leading axes of many are found by subspace iteration, without a full decomposition.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from searchapp.errors import IndexStoreError
from searchapp.index.storage.directory import ChecksumWriter
from searchapp.index.storage.vectors import Held, Vectors

if TYPE_CHECKING:
    import torch

FIT_ROWS = 20_000  # random rows beyond which the subspace hardly changes (and at least FIT_ROWS_A_DIM a dimension)
FIT_ROWS_A_DIM = 8
WHOLE = 1_024  # dimensions up to which all axes are computed at once
OVERSAMPLED = 1.1  # axes followed for each that is wanted,
FOLLOWED = 32  # and some more
ROUNDS = 6  # of subspace iteration


@dataclass(frozen=True)
class Pca:
    """A projection: ``components`` float32 (dim, k), orthonormal columns; ``explained_variance`` is a share, 0 to 1."""

    components: np.ndarray
    explained_variance: float

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Project (n, dim) to unit rows (n, k), float32; zero rows stay zero."""
        projected: np.ndarray = vectors.astype(np.float32, copy=False) @ self.components
        norms = np.linalg.norm(projected, axis=1, keepdims=True)
        np.divide(projected, norms, out=projected, where=norms > 0)
        return projected

    def write(self, draft: ChecksumWriter) -> None:
        """Store as an .npy file."""
        buffer = io.BytesIO()
        np.save(buffer, self.components, allow_pickle=False)
        draft.write(buffer.getvalue())


def reduced_blocks(blocks: Iterable[np.ndarray], pca: Pca | None) -> Iterator[np.ndarray]:
    """Blocks of vectors as they go into an index."""
    for block in blocks:
        yield pca.apply(block) if pca is not None else block


def reduced_sample(vectors: Vectors | Held, size: int, pca: Pca | None = None) -> np.ndarray:
    """At most ``size`` of the vectors as they go into an index: float32 (n, dim), to train it with."""
    dim = vectors.dim if pca is None else pca.components.shape[1]
    sample = np.empty((min(size, vectors.count), dim), dtype=np.float32)
    begin = 0
    for block in reduced_blocks(vectors.sampled_blocks(len(sample)), pca):
        sample[begin : begin + len(block)] = block
        begin += len(block)
    return sample


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


def check_dimension(dim: int | str | None, original: int, rows: int | None = None) -> None:
    """Raise IndexStoreError unless ``dim`` is ``auto``, no reduction (None or 0), or a dimension that fits.

    A dimension fits from 1 to ``original``, and, where the number of rows is known, up to ``rows``.
    """
    if dim in (None, 0, "auto"):
        return
    if isinstance(dim, str):
        raise IndexStoreError(
            f"pca {dim!r} (--pca) is no dimension; give a number from 1 to {original}, auto, or 0 for none"
        )
    if dim < 1 or dim > original:
        raise IndexStoreError(f"pca {dim} (--pca) does not fit vectors of {original} dimensions; give 1 to {original}")
    if rows is not None and dim > rows:
        raise IndexStoreError(
            f"pca {dim} (--pca) needs at least {dim} documents to be fitted, there are {rows}; "
            f"give 1 to {min(original, rows)}"
        )


@dataclass(frozen=True)
class Fit:
    """The leading axes of the vectors, of which the first k give the projection to k dimensions, for every k.

    ``axes`` float64 (dim, n), orthonormal columns, largest eigenvalue first; ``moment`` (dim, dim) and ``mean`` (dim,).
    """

    axes: torch.Tensor
    moment: torch.Tensor
    mean: torch.Tensor

    def pca(self, dim: int) -> Pca:
        """The projection onto the first ``dim`` axes."""
        axes = self.axes[:, :dim]
        return Pca(
            np.ascontiguousarray(axes.float().cpu().numpy()), explained_variance_of(self.moment, self.mean, axes)
        )


def fit(vectors: Vectors, most: int, seed: int = 0, device: str = "cpu") -> Fit:
    """Find the ``most`` leading axes of all rows not deleted, or, of many rows, those of a random sample."""
    check_dimension(most, vectors.dim, vectors.count)
    moment, mean = moments(vectors.sampled_blocks(fit_rows(vectors.dim), seed), vectors.dim, device)
    return Fit(leading_axes(moment, most, seed), moment, mean)


def fit_rows(dim: int) -> int:
    """How many random rows a projection is fitted on."""
    return max(FIT_ROWS, FIT_ROWS_A_DIM * dim)


def moments(blocks: Iterable[np.ndarray], dim: int, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """The uncentred second moment (dim, dim) and the mean (dim,) of all rows.

    Products are float32, one block at a time; the sums are float64, so that they lose nothing however many there are.
    """
    import torch

    moment = torch.zeros(dim, dim, dtype=torch.float64, device=device)
    mean = torch.zeros(dim, dtype=torch.float64, device=device)
    count = 0
    for block in blocks:
        rows = torch.from_numpy(block).to(device)
        moment += rows.T @ rows
        mean += rows.sum(0, dtype=torch.float64)
        count += len(block)
    return moment / count, mean / count


def leading_axes(moment: torch.Tensor, dim: int, seed: int = 0) -> torch.Tensor:
    """The ``dim`` leading eigenvectors of a symmetric matrix, as columns, the largest eigenvalue first.

    Few of many by randomised subspace iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4) with a
    Rayleigh-Ritz step at the end; else by a full decomposition.
    """
    import torch

    size = moment.shape[0]
    followed = int(OVERSAMPLED * dim) + FOLLOWED
    if size <= WHOLE or 2 * followed > size:
        whole: torch.Tensor = torch.linalg.eigh(moment).eigenvectors  # ascending eigenvalues
        return whole[:, -dim:].flip(1)
    single = moment.float()
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(size, followed, generator=generator).to(single.device)
    for _ in range(ROUNDS):
        basis, _ = torch.linalg.qr(single @ basis)
    small = basis.T @ (single @ basis)
    _, rotation = torch.linalg.eigh(small.double())
    axes: torch.Tensor = torch.linalg.qr(basis.double() @ rotation[:, -dim:].flip(1)).Q
    return axes


def explained_variance_of(moment: torch.Tensor, mean: torch.Tensor, axes: torch.Tensor) -> float:
    """The share of the (centred) variance along some orthonormal axes, 0 to 1."""
    import torch

    axes = axes.double()
    along = torch.sum(axes * (moment @ axes)) - torch.sum((mean @ axes) ** 2)
    whole = torch.trace(moment) - mean @ mean
    return float((along / whole.clamp(min=1e-12)).clamp(0, 1))
