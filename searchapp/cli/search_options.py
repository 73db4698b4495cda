"""Options of every command that searches: how two rankings are fused, and which model puts the best hits in order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from searchapp.cli.option_fields import option
from searchapp.cli.wording import KINDS, RERANKING, SEARCH
from searchapp.errors import SearchAppError

if TYPE_CHECKING:
    from searchapp.index import VectorIndex
    from searchapp.rerank import Reranker
    from searchapp.search import Fusion

SCORES = {
    "spread": "spread",
    "weighted": "minmax",
    "zscore": "zscore",
}  # ways to spell a fusion of scores, and how these are normalised


@dataclass(frozen=True)
class FusionOptions:
    """How the ranking of the vectors and that of BM25 become one; None: as the index was tuned."""

    mode: str = option(
        "auto",
        "dense (vectors), bm25 (words), hybrid (both fused), or auto: hybrid where the words were counted, else dense.",
        SEARCH,
    )
    hybrid: bool = option(False, "The same as --mode hybrid.", SEARCH, flags=("--hybrid",))
    fusion: str | None = option(
        None, "spread, rrf, weighted (min-max scores) or zscore. Default: as the index was tuned, else spread.", SEARCH
    )
    weight: float | None = option(
        None, "Share of the vectors in the fusion, 0 to 1. Default: as tuned, else 0.6; of other fusions 0.5.", SEARCH
    )
    fusion_depth: int | None = option(
        None, "Candidates of each side. Default: as tuned, else 100; of other fusions 1000.", SEARCH
    )

    def chosen(self, index: VectorIndex | None) -> tuple[str, Fusion | None]:
        """The mode (dense, bm25 or hybrid) and the fusion. No index: one that is not made yet, and will have words.

        Raises SearchAppError for options that contradict each other or an index without words.
        """
        from searchapp.search.fusion import DEFAULT
        from searchapp.search.mode import best_mode, require_known

        require_known(self.mode)
        mode = self.mode
        if self.hybrid:
            if mode not in ("auto", "hybrid"):
                raise SearchAppError(f"--hybrid and --mode {mode} contradict each other; leave one of them out")
            mode = "hybrid"
        if mode == "auto":
            mode = "hybrid" if index is None else best_mode(index.manifest)
        fusion = replace(self, hybrid=mode == "hybrid").of(index, DEFAULT)
        if mode == "bm25" and index is not None:
            _ = index.lexical  # an index without words is refused before a model is loaded
        return mode, DEFAULT if mode == "bm25" else fusion

    def of(self, index: VectorIndex | None, default: Fusion | None = None) -> Fusion | None:
        """What is asked for; None without ``--hybrid``. No index: one that is not made yet, or none at all.

        ``default`` is what is fused by where nothing is asked for; None: reciprocal ranks.

        Raises SearchAppError for its options without it, and for an index without words.
        """
        asked: dict[str, Any] = {"method": self.fusion, "weight": self.weight, "depth": self.fusion_depth}
        given = {name: value for name, value in asked.items() if value is not None}
        if not self.hybrid:
            if given:
                flag = {"method": "--fusion", "weight": "--weight", "depth": "--fusion-depth"}[next(iter(given))]
                raise SearchAppError(f"{flag} says how two rankings are fused, and there is one; add --hybrid")
            return None
        if self.fusion not in (None, "rrf", *SCORES):
            raise SearchAppError(f"--fusion {self.fusion!r} is unknown; expected one of rrf, {', '.join(SCORES)}")
        from searchapp.search.fusion import DEFAULT, Fusion, stored_fusion

        tuned = stored_fusion(index.lexical.part) if index is not None else None
        if self.fusion in SCORES:
            given |= {"method": "weighted", "normalisation": SCORES[self.fusion]}
        elif self.fusion == "rrf":
            given |= {"normalisation": Fusion().normalisation}
        start = tuned or default or Fusion()
        wanted = replace(start, **given)
        if (wanted.method, wanted.normalisation) != (start.method, start.normalisation):
            return replace(DEFAULT if wanted.is_absolute else Fusion(), **given)  # a weight belongs to its method
        return wanted


@dataclass(frozen=True)
class RerankOptions:
    """The model that puts the best hits in order."""

    rerank: str | None = option(None, "Put the best hits in the order of this model.", RERANKING)
    rerank_depth: int = option(100, "Hits the reranker sees.", RERANKING, min=1)
    reranker_kind: str = option("auto", KINDS, RERANKING)

    def load(self, device: str = "auto") -> Reranker | None:
        """Load what ``--rerank`` names; None where it is not given."""
        if self.rerank is None:
            return None
        from searchapp.rerank import load_reranker

        return load_reranker(self.rerank, kind=self.reranker_kind, device=device)
