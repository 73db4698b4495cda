"""Two rankings into one: reciprocal ranks, or normalised scores with a weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from searchapp.errors import SearchAppError
from searchapp.index.manifest import Lexical
from searchapp.index.rescore import ordered
from searchapp.search.stage import Stage

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
    sides = [(dense, fusion.weight), (lexical, 1 - fusion.weight)]
    count = len(dense.rows)
    scores = np.full((count, k), -np.inf, dtype=np.float32)
    rows = np.full((count, k), -1, dtype=np.int64)
    for query in range(count):
        found, points = _together([(side.rows[query], side.scores[query], weight) for side, weight in sides], fusion)
        scores[query], rows[query] = (line[0] for line in ordered(points[None], found[None], k))
    return scores, rows


def _together(sides: Sequence[tuple[np.ndarray, np.ndarray, float]], fusion: Fusion) -> tuple[np.ndarray, np.ndarray]:
    """The union of the sides' rows, ascending, and their fused scores in float64."""
    real = [(rows[rows >= 0], scores[rows >= 0].astype(np.float64), weight) for rows, scores, weight in sides]
    union = np.unique(np.concatenate([rows for rows, _, _ in real]))
    points = np.zeros(len(union))
    for rows, scores, weight in real:
        if fusion.method == "rrf":
            given, absent = 1 / (fusion.constant + 1 + np.arange(len(rows))), 0.0
        else:
            given = normalise(scores, fusion.normalisation)
            absent = float(given.min(initial=0.0))
        part = np.full(len(union), absent)
        part[np.searchsorted(union, rows)] = given
        points += weight * part
    return union, points


def normalise(scores: np.ndarray, how: str) -> np.ndarray:
    """Scores of one query on a common scale, in float64.

    ``minmax``: 0 the lowest, 1 the highest. ``zscore``: standard deviations from the mean, within -5 to 5. Scores that
    are all equal say nothing about their order: they become 1, or 0 for ``zscore``.
    """
    if len(scores) == 0:
        return np.zeros(0)
    values = scores.astype(np.float64)
    spread = float(values.std()) if how == "zscore" else float(np.ptp(values))
    if not spread > 0:
        return np.full(len(values), 0.0 if how == "zscore" else 1.0)
    if how == "zscore":
        return np.clip((values - values.mean()) / spread, -5, 5)
    return (values - values.min()) / spread
