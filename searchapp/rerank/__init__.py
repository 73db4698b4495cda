"""Models that look at a query and a document together, or at a whole list, to put candidates in a better order."""

from __future__ import annotations

from searchapp.rerank.loading import KINDS, load_reranker
from searchapp.rerank.reranker import Reranker

__all__ = ["KINDS", "Reranker", "load_reranker"]
