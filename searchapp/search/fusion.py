"""Two rankings into one: reciprocal ranks, or normalised scores with a weight."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from searchapp.errors import SearchAppError
from searchapp.index.ann.rescore import ordered
from searchapp.index.storage.manifest import Lexical
from searchapp.search.ranking import Stage

METHODS = ("rrf", "weighted")
NORMALISATIONS = ("minmax", "zscore")
DEPTH = 1_000  # candidates each side gives; scores are normalised over them, so it belongs to a tuned weight
CONSTANT = 60.0  # Cormack, Clarke and Büttcher, SIGIR 2009


@dataclass(frozen=True)
class Fusion:
    """How the dense and the lexical ranking become one.

    ``rrf`` adds up weight / (constant + rank) over the sides, ``weighted`` adds up weight times the score normalised
    over the candidates of the query. ``weight`` (0 to 1) is the dense side's, the lexical side has the rest; for rrf
    0.5 is the plain formula, times a half. A document that one side lacks gets nothing from it in rrf, and that side's
    lowest normalised score in ``weighted``. ``depth`` is how many candidates each side gives.
    """

    method: str = "rrf"
    weight: float = 0.5
    normalisation: str = "minmax"
    constant: float = CONSTANT
    depth: int = DEPTH

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SearchAppError(f"fusion {self.method!r} is unknown; expected one of {', '.join(METHODS)}")
        if self.normalisation not in NORMALISATIONS:
            expected = ", ".join(NORMALISATIONS)
            raise SearchAppError(f"normalisation {self.normalisation!r} is unknown; expected one of {expected}")
        if not 0 <= self.weight <= 1:
            raise SearchAppError(f"fusion weight is {self.weight}; expected 0 (BM25 alone) to 1 (vectors alone)")
        if not self.constant > 0:
            raise SearchAppError(f"the constant of reciprocal ranks is {self.constant}; expected a number above 0")
        if self.depth < 1:
            raise SearchAppError(f"fusion depth is {self.depth}; expected at least 1 candidate of each side")


def stored_fusion(part: Lexical) -> Fusion | None:
    """The fusion an index was tuned to; None where it was not."""
    known = {item.name for item in fields(Fusion)}
    return Fusion(**{name: value for name, value in part.fusion.items() if name in known}) if part.fusion else None


def fuse(dense: Stage, lexical: Stage, fusion: Fusion, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best rows of each query by both sides together: scores float32 and rows int64, both (n, k).

    A side of weight 0 still gives candidates, which then stand below those of the other side.
    """
    count = len(dense.rows)
    scores = np.full((count, k), -np.inf, dtype=np.float32)
    rows = np.full((count, k), -1, dtype=np.int64)
    for query in range(count):
        union, first, second = _leading(dense, lexical, fusion, query, k) or sides(dense, lexical, fusion, query)
        points = blend(first, second, fusion.weight)
        (scores[query],), (rows[query],) = ordered(points[None], union[None], k)
    return scores, rows


def _leading(
    dense: Stage, lexical: Stage, fusion: Fusion, query: int, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """``sides`` of those rows alone that can be among the k best by ranks; None where that may be any row.

    The k-th best has at least what the k-th rank of one side is given. A row beyond rank m on both sides gets no more
    than 1 / (constant + 1 + m) from them together, because their weights add up to 1.
    """
    if fusion.method != "rrf":
        return None
    sided = [rows[rows >= 0] for rows in (dense.rows[query], lexical.rows[query])]
    weights = [fusion.weight, 1 - fusion.weight]
    given = max(
        weight / (fusion.constant + k) if len(rows) >= k else 0.0 for rows, weight in zip(sided, weights, strict=True)
    )
    if not given > 0 or (most := 1 / (given * (1 - 1e-6)) - fusion.constant + 1) >= max(map(len, sided)):
        return None
    leading = np.sort(np.concatenate([rows[: int(most)] for rows in sided]))
    union = leading[np.flatnonzero(np.diff(leading, prepend=-1))]
    parts = []
    for rows in sided:
        keys = np.sort(rows << 32 | np.arange(len(rows)))  # row, then rank
        found = keys.take(keys.searchsorted(union << 32), mode="clip") if len(keys) else np.full(len(union), -1)
        ranks = found & (2**32 - 1)
        parts.append(np.where(found >> 32 == union, 1 / (fusion.constant + 1 + ranks), 0.0))
    return union, parts[0], parts[1]


def blend(dense: np.ndarray, lexical: np.ndarray, weight: float) -> np.ndarray:
    """The fused scores of rows from what ``sides`` gives them; ``weight`` is the dense side's."""
    return weight * dense + (1 - weight) * lexical


def sides(dense: Stage, lexical: Stage, fusion: Fusion, query: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of either side, ascending, and what each side gives them before it is weighted, in float64."""
    found = [(stage.rows[query], stage.scores[query].astype(np.float64)) for stage in (dense, lexical)]
    real = [(rows[rows >= 0], scores[rows >= 0]) for rows, scores in found]
    union = np.unique(np.concatenate([rows for rows, _ in real]))
    parts = []
    for rows, scores in real:
        if fusion.method == "rrf":
            given, absent = 1 / (fusion.constant + 1 + np.arange(len(rows))), 0.0
        else:
            given = normalise(scores, fusion.normalisation)
            absent = float(given.min(initial=0.0))
        part = np.full(len(union), absent)
        part[np.searchsorted(union, rows)] = given
        parts.append(part)
    return union, parts[0], parts[1]


def normalise(scores: np.ndarray, how: str) -> np.ndarray:
    """Scores of one query on a common scale, in float64.

    ``minmax``: 0 the lowest, 1 the highest. ``zscore``: standard deviations from the mean, which n scores keep within
    the square root of n by themselves; cut off at less, the best ones would be equal. Scores that are all equal say
    nothing about their order: they become 1, or 0 for ``zscore``.
    """
    if len(scores) == 0:
        return np.zeros(0)
    values: np.ndarray = scores.astype(np.float64)
    spread = float(values.std()) if how == "zscore" else float(np.ptp(values))
    if not spread > 0:
        return np.full(len(values), 0.0 if how == "zscore" else 1.0)
    if how == "zscore":
        return np.asarray((values - values.mean()) / spread)
    return np.asarray((values - values.min()) / spread)
