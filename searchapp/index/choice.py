"""Which FAISS index: the rule behind ``--factory auto``, written down as one table.

A row of the table is a type that is worth trying and the bounds it is worth trying in. Bounds and order come from
measurements (docs/log.md); whether a type really is good enough for the vectors at hand is never taken from here but
measured (``searchapp.index.calibrate``): lists and reduction that shine on one collection lose badly on another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from searchapp.errors import IndexStoreError

RECALL = 0.99  # what is asked of recall@10 when the user asks for nothing
FRUGAL = 25  # without --memory or --latency, an index takes at most this part of float32 vectors' bytes
EXACT_LIMIT = 1 << 24  # numbers (rows x dim) up to which exact search takes a few milliseconds, and is kept
EXACT_BYTES = 1 << 32  # up to which exact search is fallen back on where everything else misses the target
LEAST = 8  # bytes of a 1-bit code beside its bits; where dimensions are few, the default budget has room for it
UNLIMITED = 1 << 62


@dataclass(frozen=True)
class Rule:
    """A type of index, with what it takes and where it is tried.

    ``factory`` may hold ``{lists}`` and ``{rotation}``. A vector takes ``per_dim`` bytes for each dimension that is
    left after ``pca`` (0: no reduction) and ``fixed`` more. The time of a search grows with this power, ``growth``, of
    the number of rows. Of what reaches the target the fastest is taken; where nothing does,
    the ``safety`` decides: 0 is exact.
    """

    name: str
    factory: str
    per_dim: float
    fixed: int
    safety: int
    pca: int = 0
    growth: float = 1.0
    least_rows: int = 1
    least_dim: int = 1
    most_dim: int = UNLIMITED


# Plain RaBitQ above 1,024 dimensions: its fast-scan variant sums bytes in 16 bits, and recall falls to 0.04 at 4,096.
# The reduction is our own, uncentred and renormalised: FAISS's PCA centres both sides, which moves inner products.
TABLE = (
    Rule("exact", "Flat", 4, 0, safety=0),
    Rule("1-bit codes", "{rotation},RaBitQfs", 1 / 8, 8, safety=1, most_dim=1_024),
    Rule("1-bit codes", "{rotation},RaBitQ", 1 / 8, 8, safety=1, least_dim=1_025),
    Rule("lists of 1-bit codes", "{rotation},IVF{lists},RaBitQfs", 1 / 8, 24, safety=3, growth=0.7, least_rows=100_000),
    Rule("reduced, lists of 8-bit codes", "IVF{lists},SQ8", 1, 24, 4, 512, 0.7, least_rows=20_000, least_dim=1_024),
    Rule("reduced, lists of 1-bit codes", "{rotation},IVF{lists},RaBitQfs", 1 / 8, 24, 5, 512, 0.7, 20_000, 1_024),
    Rule("lists of 8-bit codes", "IVF{lists},SQ8", 1, 24, safety=3, growth=0.7, least_rows=20_000),
    Rule("graph over 8-bit codes", "HNSW32,SQ8", 1, 276, safety=2, growth=0.2, least_rows=20_000),
)  # fmt: skip
CANDIDATES = (100, 200, 400, 800, 1_600)  # rows rescored, the fewest that reach the target are taken
SHARES = (1 / 128, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of the lists that are visited
BREADTHS = (32, 64, 128, 256, 512)  # efSearch of a graph


@dataclass(frozen=True)
class Targets:
    """What is asked of an index: recall@10 against exact search, bytes of memory for all of it, milliseconds a query.

    Memory and latency are None where the user leaves them to the rule.
    """

    recall: float = RECALL
    memory: float | None = None
    latency: float | None = None

    def asked(self) -> dict[str, float]:
        """What is stored in a manifest; empty where nothing but the usual is asked."""
        named = {"recall": self.recall, "memory": self.memory, "latency": self.latency}
        return {
            name: value for name, value in named.items() if value is not None and (name, value) != ("recall", RECALL)
        }

    @classmethod
    def of(cls, asked: Mapping[str, float]) -> Targets:
        """The targets of a manifest."""
        return cls(asked.get("recall", RECALL), asked.get("memory"), asked.get("latency"))


@dataclass(frozen=True)
class Choice:
    """A FAISS factory string with its search parameters, and how many candidates are rescored exactly (0: none).

    ``pca`` is the reduction that goes with it, None for none.
    """

    factory: str
    candidates: int
    parameters: dict[str, int]
    pca: int | None = None

    def __str__(self) -> str:
        return f"PCA{self.pca},{self.factory}" if self.pca else self.factory


def check_targets(targets: Targets) -> None:
    """Raise IndexStoreError for a target that nothing can be."""
    if not 0 < targets.recall <= 1:
        raise IndexStoreError(f"--recall {targets.recall:g} is no share; give a number above 0 and up to 1, e.g. 0.95")
    if targets.memory is not None and targets.memory <= 0:
        raise IndexStoreError(f"--memory {targets.memory:g} is no size; give bytes, or e.g. 500MB or 2GB")
    if targets.latency is not None and targets.latency <= 0:
        raise IndexStoreError(f"--latency {targets.latency:g} is no time; give milliseconds above 0")


def applicable(rows: int, dim: int, reduced: int | None, targets: Targets) -> list[tuple[Rule, Choice]]:
    """The rules worth trying and what they come to; only exact search where that is fast enough anyway.

    ``reduced`` is the dimension that the user reduces to, 0 for no reduction, None to leave it to the rules.
    """
    found = []
    for rule in TABLE:
        if rule.pca and reduced is not None:
            continue
        size = rule.pca or reduced or dim
        bounded = rule.least_rows <= rows and rule.least_dim <= (dim if rule.pca else size) <= rule.most_dim
        if bounded and bytes_of(rule, size) * rows <= budget(rule, rows, dim, targets):
            found.append((rule, made(rule, rows, dim, size)))
    exact = [(rule, choice) for rule, choice in found if rule.safety == 0]
    if exact and rows * (reduced or dim) <= EXACT_LIMIT and targets.latency is None:
        return exact
    return [*(pair for pair in found if pair[0].safety > 0), *exact]


def made(rule: Rule, rows: int, dim: int, size: int) -> Choice:
    """The choice a rule comes to for vectors of ``dim``, reduced to ``size``."""
    choice = start(rule.factory.format(lists=lists_for(rows), rotation=rotation(size)), reduced=size < dim)
    return replace(choice, pca=size if size < dim else None)


def budget(rule: Rule, rows: int, dim: int, targets: Targets) -> float:
    """The bytes an index by this rule may take. Exact search is the last resort and may take more than the others."""
    if targets.memory is not None:
        return targets.memory
    if rule.safety == 0:
        return EXACT_BYTES
    return UNLIMITED if targets.latency is not None else rows * max(4 * dim / FRUGAL, dim / 8 + LEAST)


def bytes_of(rule: Rule, dim: int) -> float:
    """Bytes a vector of ``dim`` takes in an index of this type, estimated."""
    return rule.per_dim * dim + rule.fixed


def start(factory: str, reduced: bool) -> Choice:
    """A factory string with the parameters that calibration starts from. What is not exact is rescored."""
    parameters: dict[str, int] = {}
    if lists_in(factory):
        parameters["nprobe"] = max(1, min(64, lists_in(factory)))
    if "HNSW" in factory:
        parameters["efSearch"] = 128
    return Choice(factory, 0 if factory == "Flat" and not reduced else CANDIDATES[0], parameters)


def ladder(factory: str) -> list[dict[str, int]]:
    """The search parameters worth trying for a type, the fastest first."""
    if lists := lists_in(factory):
        return [{"nprobe": count} for count in sorted({max(1, round(share * lists)) for share in SHARES})]
    if "HNSW" in factory:
        return [{"efSearch": breadth} for breadth in BREADTHS]
    return [{}]


def rotation(dim: int) -> str:
    """Random rotation: Hadamard's is fast, but fills up to a power of two, and each dimension filled takes memory."""
    return "HR" if dim & (dim - 1) == 0 else "RR"


def lists_for(rows: int) -> int:
    """How many inverted lists suit so many rows: 4 times the root, as a power of two."""
    return int(2 ** round(math.log2(4 * math.sqrt(max(1, rows)))))


def lists_in(factory: str) -> int:
    """The number of inverted lists a factory string asks for; 0 without any."""
    for part in factory.split(","):
        digits = part.removeprefix("IVF").split("_")[0].split("(")[0]
        if part.startswith("IVF") and digits.isdigit():
            return int(digits)
    return 0


def with_lists(factory: str, lists: int) -> str:
    """The same type with another number of inverted lists."""
    return re.sub(r"IVF\d+", f"IVF{lists}", factory)
