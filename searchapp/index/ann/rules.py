"""Which FAISS index: the rule behind ``--factory auto``, written down as one table.

A row of the table is a type that is worth trying and the bounds it is worth trying in. Bounds and order come from
measurements (docs/log.md); whether a type really is good enough for the vectors at hand is never taken from here but
measured (``searchapp.index.ann.calibration``): lists and reduction that shine on one collection lose badly on another.
"""

from __future__ import annotations

import math
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

    ``factory`` may hold ``{lists}``, ``{rotation}``, and the numbers of product codes ``{pairs}`` and ``{fours}``. A
    vector takes ``per_dim`` bytes for each dimension that is left when the share ``kept`` of them is, and ``fixed``
    more. There are ``lists`` times the root of the number of rows of inverted lists. Dimensions are bounded before
    the reduction.
    """

    name: str
    factory: str
    per_dim: float
    fixed: int
    kept: float = 1.0
    lists: float = 0.0
    least_rows: int = 1
    least_dim: int = 1
    most_dim: int = UNLIMITED

    @property
    def exact(self) -> bool:
        """Whether it compares a query with every vector as it is."""
        return self.factory == "Flat"

    @property
    def growth(self) -> float:
        """The power of the number of rows that the time of a search grows with."""
        return 0.7 if self.lists else 0.2 if "HNSW" in self.factory else 1.0


# Codes of 4 bits for 2 dimensions are FAISS's fast-scan product quantiser over renormalised PCA axes, turned at random:
# with axes of very different variance they would need up to 4 times the candidates; with others it costs little.
# Plain RaBitQ above 1,024 dimensions: its fast-scan variant sums bytes in 16 bits, and recall falls to 0.04 at 4,096.
# The reduction is our own, uncentred and renormalised: FAISS's PCA centres both sides, which moves inner products.
PAIRS, LISTED = "{rotation},PQ{pairs}x4fs", "{rotation},IVF{lists},PQ{pairs}x4fs"
SOME, MANY = 1_000, 100_000  # rows that codebooks want, and from which on lists of codes pay
TABLE = (
    Rule("exact", "Flat", 4, 0),
    Rule("1-bit codes", "{rotation},RaBitQfs", 1 / 8, 8, most_dim=1_024),
    Rule("1-bit codes", "{rotation},RaBitQ", 1 / 8, 8, least_dim=1_025),
    Rule("codes of 4 dimensions", "{rotation},PQ{fours}x4fs", 1 / 8, 1, least_rows=SOME),
    Rule("codes of 2", PAIRS, 1 / 4, 1, least_rows=SOME, most_dim=1_024),
    Rule("codes of 2, reduced to 5/8", PAIRS, 1 / 4, 1, 5 / 8, 0, SOME, 128, 1_024),
    Rule("codes of 2, reduced to 1/2", PAIRS, 1 / 4, 1, 1 / 2, 0, SOME, 128, 2_048),
    Rule("codes of 2, reduced to 1/4", PAIRS, 1 / 4, 1, 1 / 4, 0, SOME, 512),
    Rule("codes of 2, reduced to 1/8", PAIRS, 1 / 4, 1, 1 / 8, 0, SOME, 2_048),
    Rule("lists of codes of 2", LISTED, 1 / 4, 8, 1, 1, MANY, most_dim=1_024),
    Rule("lists of codes of 2, reduced to 1/2", LISTED, 1 / 4, 8, 1 / 2, 1, MANY, least_dim=128, most_dim=2_048),
    Rule("lists of codes of 2, reduced to 1/8", LISTED, 1 / 4, 8, 1 / 8, 4, MANY, least_dim=2_048),
    Rule("lists of 8-bit codes", "IVF{lists},SQ8", 1, 8, lists=4, least_rows=20_000),
    Rule("lists of 8-bit codes, reduced to 1/8", "IVF{lists},SQ8", 1, 8, 1 / 8, 4, 20_000, 2_048),
    Rule("graph over 8-bit codes", "HNSW32,SQ8", 1, 276, least_rows=20_000),
)  # fmt: skip
CANDIDATES = (50, 100, 150, 200, 300, 400, 600, 800, 1_600)  # rows rescored, the fewest that suffice are taken
STANDARD = 100  # rescored before anything is measured
SHARES = (1 / 128, 1 / 64, 1 / 32, 1 / 16, 3 / 32, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 1)  # of the lists visited
STEP = 8  # dimensions are kept in multiples of it
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
    given = reduced or dim
    for rule in TABLE:
        if rule.kept < 1 and reduced is not None:
            continue
        choice = made(rule, rows, dim, reduced)
        bounded = max(rule.least_rows, choice.pca or 0) <= rows and rule.least_dim <= given <= rule.most_dim
        size = choice.pca or dim
        taken = bytes_of(rule, size, rows) * rows
        if targets.memory is not None:  # which is for all of it; the usual budget is for what grows with the rows
            taken += matrix(choice.factory, size)
        if bounded and taken <= budget(rule, rows, dim, targets):
            found.append((rule, choice))
    exact = [(rule, choice) for rule, choice in found if rule.exact]
    if exact and rows * given <= EXACT_LIMIT and targets.latency is None:
        return exact
    return [*(pair for pair in found if not pair[0].exact), *exact]


def made(rule: Rule, rows: int, dim: int, reduced: int | None) -> Choice:
    """The choice a rule comes to for vectors of ``dim``; ``reduced`` is as in ``applicable``."""
    size = max(STEP, round(rule.kept * dim / STEP) * STEP) if rule.kept < 1 else reduced or dim
    pairs, fours = -(-size // 2), -(-size // 4)
    filled = 2 * pairs if "{pairs}" in rule.factory else 4 * fours if "{fours}" in rule.factory else size
    factory = rule.factory.format(
        rotation=rotation(size) if filled == size else f"RR{filled}",
        lists=lists_for(rule, rows),
        pairs=pairs,
        fours=fours,
    )
    return replace(start(factory, reduced=size < dim), pca=size if size < dim else None)


def budget(rule: Rule, rows: int, dim: int, targets: Targets) -> float:
    """The bytes an index by this rule may take. Exact search is the last resort and may take more than the others."""
    if targets.memory is not None:
        return targets.memory
    if rule.exact:
        return EXACT_BYTES
    return UNLIMITED if targets.latency is not None else rows * max(4 * dim / FRUGAL, dim / 8 + LEAST)


def bytes_of(rule: Rule, size: int, rows: int) -> float:
    """Bytes a vector takes in an index of this type over ``rows`` of ``size`` dimensions, estimated."""
    return rule.per_dim * size + rule.fixed + 4 * size * lists_for(rule, rows) / rows


def matrix(factory: str, size: int) -> int:
    """Bytes of the matrix that turns vectors of ``size`` dimensions, which is there once; Hadamard's needs none."""
    return 4 * size * size if factory.startswith("RR") else 0


def start(factory: str, reduced: bool) -> Choice:
    """A factory string with the parameters that calibration starts from. What is not exact is rescored."""
    parameters: dict[str, int] = {}
    if lists_in(factory):
        parameters["nprobe"] = max(1, min(64, lists_in(factory)))
    if "HNSW" in factory:
        parameters["efSearch"] = 128
    return Choice(factory, 0 if factory == "Flat" and not reduced else STANDARD, parameters)


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


def lists_for(rule: Rule, rows: int) -> int:
    """How many inverted lists a rule has for so many rows, a power of two; 0 for one without."""
    return power_of_two(rule.lists * math.sqrt(max(1, rows))) if rule.lists else 0


def power_of_two(number: float) -> int:
    """The power of two nearest to a number, on a logarithmic scale."""
    return int(2 ** max(0, round(math.log2(number))))


def lists_in(factory: str) -> int:
    """The number of inverted lists a factory string asks for; 0 without any."""
    for part in factory.split(","):
        digits = part.removeprefix("IVF").split("_")[0].split("(")[0]
        if part.startswith("IVF") and digits.isdigit():
            return int(digits)
    return 0
