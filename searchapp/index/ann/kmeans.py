"""The k-means runs that training a FAISS index makes: for its lists, its codebooks, and those of the layers inside it.

FAISS itself writes to standard error where a run has few vectors for its clusters. ``silence_kmeans_warnings`` stops
that, and ``undertrained_notes`` returns the same as sentences, for the types that a user asked for by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from searchapp.index.ann.faiss_lib import import_faiss

ADVISED = 39  # vectors a cluster, by FAISS
FEW, ROUNDS = 16, 10  # clusters of 4-bit codes, and the rounds of k-means that they are trained in
INNER = ("index", "base_index", "refine_index", "storage", "quantizer", "q1")  # where FAISS's types hold another one
CODES = ("pq", "rq", "prq")  # where they hold what makes codes


@dataclass(frozen=True)
class Clustering:
    """One k-means run: what it makes (lists or codebooks), how many clusters, and FAISS's parameters, to be set."""

    what: str
    count: int
    parameters: Any


def clusterings(index: Any) -> Iterator[Clustering]:
    """The k-means runs of an index: those of the outer layer before those of the layers inside it."""
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
    """Whether the coarse quantizer trains itself, so that no k-means is run for the lists."""
    return bool(ord(index.quantizer_trains_alone) == 1)


def _codes(quantizer: Any) -> Iterator[Clustering]:
    if hasattr(quantizer, "cp"):
        bits = quantizer.nbits if isinstance(quantizer.nbits, int) else quantizer.nbits.at(0)
        yield Clustering("codebooks", 1 << bits, quantizer.cp)
    for number in range(getattr(quantizer, "nsplits", 0)):  # a product of others
        yield from _codes(import_faiss().downcast_AdditiveQuantizer(quantizer.subquantizer(number)))


def _rotation(transform: Any) -> Iterator[Clustering]:
    """The runs of an OPQ rotation, which is fitted to codebooks; they are made here where FAISS would make them."""
    faiss = import_faiss()
    if isinstance(transform, faiss.OPQMatrix):
        if transform.pq is None:
            transform.pq = faiss.ProductQuantizer(transform.d_out, transform.M, 8)
        yield from _codes(transform.pq)


def silence_kmeans_warnings(index: Any) -> None:
    """Stop FAISS from writing to standard error that a run has few vectors for its clusters."""
    for run in clusterings(index):
        run.parameters.min_points_per_centroid = 1


def shorten_codebooks(index: Any) -> None:
    """Let codebooks of 4-bit codes be trained in ``ROUNDS`` rounds of k-means, in half the time FAISS takes.

    The candidates needed for a recall are the same as after its 25 rounds, within the error of 400 queries.
    """
    for run in clusterings(index):
        if run.what == "codebooks" and run.count <= FEW:
            run.parameters.niter = ROUNDS


def undertrained_notes(factory: str, index: Any, rows: int) -> list[str]:
    """A sentence each for lists and codebooks that ``rows`` training vectors are fewer for than FAISS advises."""
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
