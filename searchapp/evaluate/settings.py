"""All that decides a result of an evaluation, as types: what tables, reports and ``--json`` say beside the figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchapp.search.fusion import Fusion


@dataclass(frozen=True)
class CollectionSetting:
    """What was searched, and by which queries.

    ``queries_missing`` are judged queries that the run lacks, ``queries_unknown`` judged queries without a text,
    ``documents_rejected`` those that could not be indexed. ``self_documents`` and ``duplicates`` say what the rules of
    ``protocol.examine`` met.
    """

    collection: str
    split: str
    queries: int
    queries_missing: int
    queries_unknown: int
    documents: int
    documents_rejected: int
    judged_documents: int
    judged_documents_unknown: int
    self_documents: dict[str, Any]
    duplicates: dict[str, Any]


@dataclass(frozen=True)
class IndexSetting:
    """What the index is made of: the model with its instruction, the dimensions, the FAISS type.

    ``dim`` are the model's dimensions, ``pca`` those left by the reduction; ``candidates`` the rows of a query that
    were compared with the stored vectors, ``depth`` the documents retrieved.
    """

    model: str
    adapters: list[str]
    fingerprint: str
    instruction: str | None
    dim: int
    pca: int | None
    explained_variance: float | None
    factory: str | None
    candidates: int
    depth: int


@dataclass(frozen=True)
class RerankedBy:
    """The reranker of a result, and the recall of what it saw, which it cannot exceed."""

    reranker: str
    kind: str
    depth: int
    first_stage: str
    first_stage_recall: float


@dataclass(frozen=True)
class RetrievalSetting:
    """One way to search one collection. ``method`` is ``dense``, ``bm25`` or ``hybrid``."""

    data: CollectionSetting
    index: IndexSetting
    method: str
    search_ms_per_query: float
    fusion: Fusion | None = None
    reranked_by: RerankedBy | None = None

    @property
    def collection(self) -> str:
        """The collection's name."""
        return self.data.collection

    @property
    def split(self) -> str:
        """The split of its judgements."""
        return self.data.split

    @property
    def queries(self) -> int:
        """How many queries were asked."""
        return self.data.queries

    @property
    def model(self) -> str:
        """The model's name."""
        return self.index.model

    @property
    def label(self) -> str:
        """The setting in words: how the vectors were indexed, and what came after."""
        index = self.index
        if self.method == "bm25":
            words = "BM25"
        else:
            variance = f" ({index.explained_variance:.0%} var.)" if index.explained_variance is not None else ""
            reduced = f"PCA {index.pca}{variance}" if index.pca else f"{index.dim} dim"
            words = f"{reduced}, {index.factory}" + (f", {index.candidates:,} rescored" if index.candidates else "")
        if self.fusion is not None:
            by = "rrf" if self.fusion.method == "rrf" else f"weight {self.fusion.weight:g}"
            words += f" + BM25 ({by})"
        return words + (f" → {Path(self.reranked_by.reranker).name}" if self.reranked_by else "")

    def to_json(self) -> dict[str, Any]:
        """One flat object; the keys of a reranker are there only where there is one."""
        by = self.reranked_by
        return {
            **asdict(self.data),
            **asdict(self.index),
            "method": self.method,
            "fusion": asdict(self.fusion) if self.fusion is not None else None,
            "rerank": by.reranker if by else None,
            "search_ms_per_query": self.search_ms_per_query,
            **(
                {
                    "rerank_kind": by.kind,
                    "rerank_depth": by.depth,
                    "first_stage": by.first_stage,
                    "first_stage_recall": by.first_stage_recall,
                }
                if by
                else {}
            ),
        }


@dataclass(frozen=True)
class FirstStageSetting:
    """What brought the candidates: the recall of the first ``depth`` of each query, which no order can exceed."""

    recall: float
    depth: int


@dataclass(frozen=True)
class RerankSetting:
    """Who put the candidates of one collection in order.

    ``candidates`` is the mean a query, ``depth`` how many of them the scorer saw (None: all). ``kind`` is that of a
    reranker, or ``first stage``, ``bm25``, ``fusion``; ``model`` is None where no model was asked. ``seconds`` and
    ``pairs`` say what scoring took.
    """

    collection: str
    split: str
    queries: int
    candidates: float
    depth: int | None
    kind: str
    model: str | None = None
    instruction: str | None = None
    fusion: Fusion | None = None
    first_stage: FirstStageSetting | None = None
    seconds: float | None = None
    pairs: int | None = None

    @property
    def label(self) -> str:
        """The setting in words: who put the candidates in order."""
        if self.model is None:
            return "BM25" if self.kind == "bm25" else self.kind
        name = Path(self.model).name
        return f"{name} + BM25 ({self.fusion.method})" if self.fusion is not None else f"{name}, {self.kind}"

    def to_json(self) -> dict[str, Any]:
        """One flat object; what was not measured for an order has no key."""
        first, spent = self.first_stage, {"seconds": self.seconds, "pairs": self.pairs}
        return {
            "collection": self.collection,
            "split": self.split,
            "queries": self.queries,
            "candidates": self.candidates,
            "depth": self.depth,
            "fusion": asdict(self.fusion) if self.fusion is not None else None,
            **({"first_stage_recall": first.recall, "first_stage_depth": first.depth} if first else {}),
            "kind": self.kind,
            "model": self.model,
            "instruction": self.instruction,
            **{key: value for key, value in spent.items() if value is not None},
        }
