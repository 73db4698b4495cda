"""The k-means runs within the training of a FAISS index: its lists, its codebooks, those of the layers inside it.

FAISS writes to standard error by itself where one has few vectors for its clusters. Here that is kept from it, and
said of what a user asked for in words of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from searchapp.index.ann.faiss_lib import import_faiss

ADVISED = 39  # vectors a cluster, by FAISS
INNER = ("index", "base_index", "refine_index", "storage", "quantizer", "q1")  # where FAISS's types hold another one
CODES = ("pq", "rq", "prq")  # where they hold what makes codes


@dataclass(frozen=True)
class Clustering:
    """One k-means run: what its ``count`` clusters are, and FAISS's parameters of it, which can be set."""

    what: str
    count: int
    parameters: Any


def clusterings(index: Any) -> Iterator[Clustering]:
    """The runs that training an index makes, its own before those of what is inside it."""
    faiss = import_faiss()
    if isinstance(index, faiss.Index):
        index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        for number in range(index.chain.size()):
            yield from _rotation(faiss.downcast_VectorTransform(index.chain.at(number)))
    if hasattr(index, "nlist") and not _trains_alone(index):
        yield Clustering("lists", index.nlist, index.cp)
    for name in CODES:
        yield from _codes(getattr(index, name, None))
    for name in INNER:
        if (inner := getattr(index, name, None)) is not None:
            yield from clusterings(inner)


def _trains_alone(index: Any) -> bool:
    """Whether the lists are those of a quantizer that knows itself how it is trained."""
    return bool(ord(index.quantizer_trains_alone) == 1)


def _codes(quantizer: Any) -> Iterator[Clustering]:
    if hasattr(quantizer, "cp"):
        bits = quantizer.nbits if isinstance(quantizer.nbits, int) else quantizer.nbits.at(0)
        yield Clustering("codebooks", 1 << bits, quantizer.cp)
    for number in range(getattr(quantizer, "nsplits", 0)):  # a product of others
        yield from _codes(import_faiss().downcast_AdditiveQuantizer(quantizer.subquantizer(number)))


def _rotation(transform: Any) -> Iterator[Clustering]:
    """The run of a rotation that is fitted to codebooks, which FAISS makes itself where it is given none."""
    faiss = import_faiss()
    if isinstance(transform, faiss.OPQMatrix):
        if transform.pq is None:
            transform.pq = faiss.ProductQuantizer(transform.d_out, transform.M, 8)
        yield from _codes(transform.pq)


def hush(index: Any) -> None:
    """Keep FAISS from writing to standard error, while it trains an index, that there are few vectors for clusters."""
    for run in clusterings(index):
        run.parameters.min_points_per_centroid = 1


def sparse(factory: str, index: Any, rows: int) -> list[str]:
    """A sentence for each kind of clusters that is trained on fewer of ``rows`` vectors than FAISS advises."""
    counts: dict[str, int] = {}
    for run in clusterings(index):
        counts.setdefault(run.what, run.count)
    found = []
    if 0 < rows < ADVISED * counts.get("lists", 0):
        found.append(
            f"{factory} is trained on {rows // counts['lists']} vectors a list; {ADVISED} and more are advised"
        )
    if 0 < rows < ADVISED * counts.get("codebooks", 0):
        found.append(
            f"the codebooks of {factory} are trained on {rows:,} vectors; "
            f"{ADVISED * counts['codebooks']:,} and more are advised"
        )
    return found
