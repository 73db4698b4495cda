"""An index as a LlamaIndex retriever (``llama-index-core``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from searchapp.search import Index


class SearchappRetriever(BaseRetriever):
    """Nodes for a query from an index, which is opened, or given as its directory.

    ``k`` nodes come back; ``options`` are those of ``Index.answer`` (``mode``, ``filter``, ``rerank`` …). A query that
    comes with an embedding is searched for by that.
    """

    def __init__(self, index: Index | str | Path, k: int = 10, **options: Any) -> None:
        self._index = index if isinstance(index, Index) else Index.open(index)
        self._k, self._options = k, options
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        vectors = None if query_bundle.embedding is None else [query_bundle.embedding]
        [answer] = self._index.answer([query_bundle.query_str], self._k, vectors=vectors, **self._options)
        return [
            NodeWithScore(
                node=TextNode(id_=hit.id, text=hit.text, metadata={**hit.metadata, "title": hit.title}), score=hit.score
            )
            for hit in answer.hits
        ]
