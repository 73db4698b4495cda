"""The forms a vector can be kept in: with fewer dimensions, with smaller numbers, rescored by its row or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from searchapp.errors import EvaluationError
from searchapp.index.ann.faiss_lib import layers
from searchapp.index.ann.pca import Fit, check_dimension
from searchapp.index.ann.rescore import exact_scores, ordered
from searchapp.index.ann.rules import default_config, rotation
from searchapp.index.ann.train import add, train, training_rows
from searchapp.index.storage.vectors import Vectors, unit

CODES = {"float16": "SQfp16", "int8": "SQ8", "binary": "{rotation},RaBitQ"}
"""What a number is stored as, and the FAISS type that stores it.

``int8``: 256 steps between the lowest and the highest value of each dimension. ``binary``: one bit a dimension after a
random rotation, and 8 bytes for each vector, which correct its scores (RaBitQ, Gao & Long 2024).
"""
FULL, PCA, TRUNCATION = "full", "pca", "truncation"
FLOAT16 = 2  # bytes of a number in the stored rows


@dataclass(frozen=True)
class Form:
    """How a vector is kept for a search.

    ``dim`` dimensions are left ``by`` all of them staying (``full``), the leading axes of ``pca``, or ``truncation``
    to the first ones; the vector then has length 1 again. ``code`` is a key of ``CODES``. With ``rescored`` the best
    candidates are put in order by the float16 rows of all dimensions, which stay on disk beside it.
    """

    dim: int
    by: str = FULL
    code: str = "float16"
    rescored: bool = False

    @property
    def name(self) -> str:
        """A short name that can stand in a file name, such as ``pca128-int8-rescored``."""
        kept = FULL if self.by == FULL else f"{self.by}{self.dim}"
        return "-".join([kept, self.code, *(["rescored"] if self.rescored else [])])

    @property
    def kind(self) -> str:
        """What forms of other dimensions share with this one: a line of a plot."""
        parts = ["PCA" if self.by == FULL else {PCA: "PCA", TRUNCATION: "truncation"}[self.by], self.code]
        return ", ".join(parts) + (", rescored" if self.rescored else "")


def all_forms(dim: int, dims: Iterable[int]) -> list[Form]:
    """What is measured of vectors of ``dim`` dimensions reduced to each of ``dims``: all of them as float16 first."""
    codes = [("float16", False), *((code, rescored) for code in ("int8", "binary") for rescored in (False, True))]
    forms = [Form(dim, FULL, code, rescored) for code, rescored in codes]
    for size in sorted({size for size in dims if size < dim}, reverse=True):
        forms.append(Form(size, TRUNCATION))
        forms += [Form(size, PCA, code, rescored) for code, rescored in [*codes[:1], ("float16", True), *codes[1:]]]
    return forms


def check_dims(dims: Iterable[int], dim: int, rows: int | None = None) -> None:
    """Raise EvaluationError for a dimension that does not fit vectors of ``dim``, or so many documents."""
    for size in dims:
        if size < 1 or size > dim:
            raise EvaluationError(
                f"--dims {size} does not fit vectors of {dim} dimensions; give numbers from 1 to {dim}"
            )
        if rows is not None and size < dim and size > rows:
            raise EvaluationError(
                f"--dims {size} needs at least {size} documents to fit PCA on, there are {rows}; "
                f"give numbers from 1 to {min(dim, rows)}"
            )


@dataclass(frozen=True)
class CompactIndex:
    """Vectors in one form, to be searched: ``index`` is FAISS's, ``bytes`` what a vector takes in it."""

    form: Form
    index: Any
    fit: Fit
    bytes: int

    @classmethod
    def build(cls, form: Form, vectors: Vectors, fit: Fit) -> CompactIndex:
        """Put all rows that are there into a form, block by block."""
        check_dimension(form.dim if form.by == PCA else None, vectors.dim, vectors.count)
        factory = CODES[form.code].format(rotation=rotation(form.dim))
        config = default_config(factory, reduced=form.by != FULL)
        sample = np.concatenate([*_reduced(vectors.sampled_blocks(training_rows(factory, form.dim)), form, fit)])
        index = train(config, sample)
        add(config, index, _reduced(vectors.living(), form, fit))
        return cls(form, index, fit, int(layers(index)[-1].code_size))

    def search(
        self, queries: np.ndarray, depth: int, vectors: Vectors, *, rescored: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ``depth`` best rows of each unit query (n, dim): scores float32 and rows int64, (n, depth)."""
        depth = min(depth, int(self.index.ntotal))
        reduced = next(_reduced([queries.astype(np.float32)], self.form, self.fit))
        scores, places = self.index.search(np.ascontiguousarray(reduced), depth)
        rows = np.where(places < 0, -1, vectors.nth(np.maximum(places, 0)))
        return ordered(exact_scores(vectors, queries, rows) if rescored else scores, rows, depth)


def _reduced(blocks: Iterable[np.ndarray], form: Form, fit: Fit) -> Iterator[np.ndarray]:
    """Unit float32 blocks with the dimensions that a form keeps."""
    pca = fit.pca(form.dim) if form.by == PCA else None
    for block in blocks:
        if pca is not None:
            yield pca.apply(block)
        elif form.by == TRUNCATION:
            yield unit(block[:, : form.dim].copy())
        else:
            yield block


def kept_variance(form: Form, fit: Fit) -> float:
    """The share of the (centred) variance of all dimensions that a form's dimensions hold, 0 to 1."""
    if form.by == PCA:
        return fit.pca(form.dim).explained_variance
    spread = (fit.moment.diagonal() - fit.mean**2).cpu().numpy()
    return float(spread[: form.dim].sum() / max(float(spread.sum()), 1e-12))


def dimensions_for(shares: Iterable[float], fit: Fit) -> dict[float, int | None]:
    """How many leading axes hold each share of the (centred) variance; None where more than were fitted."""
    axes = fit.axes.double()
    along = ((axes * (fit.moment @ axes)).sum(0) - (fit.mean @ axes) ** 2).cpu().numpy()
    whole = float((fit.moment.diagonal().sum() - fit.mean @ fit.mean).cpu())
    held = np.cumsum(along) / max(whole, 1e-12)
    return {share: int(np.argmax(held >= share)) + 1 if held[-1] >= share else None for share in shares}
