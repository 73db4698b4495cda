"""Which FAISS types to try: the rules behind the factory ``auto`` (``--factory auto``), one table.

A row of the table is a type of index and the bounds within which it is worth trying. Bounds and order come from
measurements (docs/log.md). The table does not say which type is good enough for the vectors at hand: that is measured
(``searchapp.index.ann.calibration``), as a type that is best on one collection may be the worst on another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from searchapp.index.ann.request import Targets

FRUGAL = 25  # without a target of memory or latency, an index takes at most 1/25 of the bytes of float32 vectors
EXACT_LIMIT = 1 << 18  # numbers (rows x dim) up to which exact search takes some 30 microseconds, and is kept
EXACT_BYTES = 1 << 32  # of an exact index, up to which it is tried where everything else misses the target
LEAST = 8  # bytes that a 1-bit code has beside its bits; the default budget always has room for them
UNLIMITED = 1 << 62


@dataclass(frozen=True)
class Rule:
    """A type of index, the memory it takes, and the collections it is tried on.

    ``factory`` is a template of a FAISS factory string: ``{lists}``, ``{rotation}``, and the numbers of product codes
    ``{pairs}`` and ``{fours}`` are put in. PCA keeps the share ``kept`` of the dimensions. A vector takes ``per_dim``
    bytes for each dimension kept, and ``fixed`` bytes more. The number of inverted lists is ``lists`` times the square
    root of the number of rows. The rule is tried from ``least_rows`` rows on, and where a vector has ``least_dim`` to
    ``most_dim`` dimensions before the reduction.
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
        """Whether a search compares the query with every vector, uncompressed."""
        return self.factory == "Flat"

    @property
    def growth(self) -> float:
        """The exponent g in: the time of a search grows as (number of rows) ** g."""
        return 0.7 if self.lists else 0.2 if "HNSW" in self.factory else 1.0


# Codes of 4 bits for 2 dimensions are FAISS's fast-scan product quantiser over renormalised PCA axes, turned at random:
# with axes of very different variance they would need up to 4 times the candidates; with others it costs little.
# Plain RaBitQ above 1,024 dimensions: its fast-scan variant sums bytes in 16 bits, and recall falls to 0.04 at 4,096.
# The reduction is our own, uncentred and renormalised: FAISS's PCA centres both sides, which moves inner products.
PAIRS, LISTED = "{rotation},PQ{pairs}x4fs", "{rotation},IVF{lists},PQ{pairs}x4fs"
SOME, MANY = 1_000, 200_000  # rows that codebooks want, and from which on lists of codes pay
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
GIVEN = Rule("given by the user", "", 0, 0)
CANDIDATES = (40, 50, 60, 70, 85, 100, 125, 150, 175, 200, 250, 300, 400, 600, 800, 1_600)  # rows to rescore
DEEPENING = 0.4  # the candidates needed for a recall grow as (number of rows) ** 0.4 (docs/log.md)
STANDARD = 100  # rows rescored before anything is measured
SHARES = (1 / 128, 1 / 64, 1 / 32, 1 / 16, 3 / 32, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 1)  # of the lists visited
STEP = 8  # dimensions are kept in multiples of it
BREADTHS = (32, 64, 128, 256, 512)  # efSearch of a graph


@dataclass(frozen=True)
class AnnConfig:
    """A FAISS factory string, its search parameters, how many candidates are rescored (0: none), and the reduction.

    ``pca`` is the dimension of the reduction in front of the index, None for no reduction.
    """

    factory: str
    candidates: int
    parameters: dict[str, int]
    pca: int | None = None

    def __str__(self) -> str:
        return f"PCA{self.pca},{self.factory}" if self.pca else self.factory


def applicable(rows: int, dim: int, reduced: int | None, targets: Targets) -> list[tuple[Rule, AnnConfig]]:
    """The rules worth trying, each with its config; exact search alone where that takes some microseconds.

    ``reduced`` is the dimension that the user reduces to, 0 for no reduction, None to leave it to the rules.
    """
    found = []
    given = reduced or dim
    for rule in TABLE:
        if rule.kept < 1 and reduced is not None:
            continue
        config = instantiate(rule, rows, dim, reduced)
        bounded = max(rule.least_rows, config.pca or 0) <= rows and rule.least_dim <= given <= rule.most_dim
        size = config.pca or dim
        taken = bytes_of(rule, size, rows) * rows
        if targets.memory is not None:  # the user's memory is for the whole index, the default only for the rows
            taken += matrix(config.factory, size)
        if bounded and taken <= budget(rule, rows, dim, targets):
            found.append((rule, config))
    exact = [(rule, config) for rule, config in found if rule.exact]
    if exact and rows * given <= EXACT_LIMIT and targets.latency is None:
        return exact
    return [*(pair for pair in found if not pair[0].exact), *exact]


def instantiate(rule: Rule, rows: int, dim: int, reduced: int | None) -> AnnConfig:
    """The config of a rule for ``rows`` vectors of ``dim``; ``reduced`` is as in ``applicable``."""
    size = max(STEP, round(rule.kept * dim / STEP) * STEP) if rule.kept < 1 else reduced or dim
    pairs, fours = -(-size // 2), -(-size // 4)
    filled = 2 * pairs if "{pairs}" in rule.factory else 4 * fours if "{fours}" in rule.factory else size
    factory = rule.factory.format(
        rotation=rotation(size) if filled == size else f"RR{filled}",
        lists=lists_for(rule, rows),
        pairs=pairs,
        fours=fours,
    )
    return replace(default_config(factory, reduced=size < dim), pca=size if size < dim else None)


def budget(rule: Rule, rows: int, dim: int, targets: Targets) -> float:
    """The bytes that an index by this rule may take: more for exact search, which is the last resort."""
    if targets.memory is not None:
        return targets.memory
    if rule.exact:
        return EXACT_BYTES
    return UNLIMITED if targets.latency is not None else rows * max(4 * dim / FRUGAL, dim / 8 + LEAST)


def bytes_of(rule: Rule, size: int, rows: int) -> float:
    """Bytes a vector takes in an index of this type over ``rows`` of ``size`` dimensions, estimated."""
    return rule.per_dim * size + rule.fixed + 4 * size * lists_for(rule, rows) / rows


def matrix(factory: str, size: int) -> int:
    """Bytes of the one matrix that rotates vectors of ``size`` dimensions; Hadamard's rotation needs none."""
    return 4 * size * size if factory.startswith("RR") else 0


def default_config(factory: str, *, reduced: bool) -> AnnConfig:
    """A factory string with the parameters that calibration starts from; all but exact search is rescored."""
    parameters: dict[str, int] = {}
    if lists_in(factory):
        parameters["nprobe"] = max(1, min(64, lists_in(factory)))
    if "HNSW" in factory:
        parameters["efSearch"] = 128
    return AnnConfig(factory, 0 if is_exact(factory, reduced=reduced) else STANDARD, parameters)


def is_exact(factory: str, *, reduced: bool) -> bool:
    """Whether the scores of a type are cosines up to rounding: all vectors, neither compressed nor reduced."""
    return factory == "Flat" and not reduced


def parameter_grid(factory: str) -> list[dict[str, int]]:
    """The search parameters worth trying for a type, the fastest first."""
    if lists := lists_in(factory):
        return [{"nprobe": count} for count in sorted({max(1, round(share * lists)) for share in SHARES})]
    if "HNSW" in factory:
        return [{"efSearch": breadth} for breadth in BREADTHS]
    return [{}]


def rotation(dim: int) -> str:
    """The random rotation for ``dim`` dimensions.

    Hadamard's (HR) is fast, but pads vectors to a power of two, and padding takes memory; RR is a full matrix.
    """
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
