"""An index as a LangChain vector store (``langchain-core``)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from langchain_core.documents import Document as Found
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from searchapp.corpus.document import Document
from searchapp.encoder import Encoder
from searchapp.errors import SearchAppError
from searchapp.search import Index
from searchapp.search.hit import Hit
from searchapp.search.likeness import known_row
from searchapp.search.making import build
from searchapp.shards.kind import is_index

NAME = "langchain"  # of the source in the index


class EncoderEmbeddings(Embeddings):
    """An ``Encoder`` as LangChain's embeddings."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of documents."""
        return self.encoder.encode_documents(texts).tolist()  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return self.encoder.encode_queries([text])[0].tolist()  # type: ignore[no-any-return]


class SearchappStore(VectorStore):
    """A directory with an index as a vector store; it is made when the first documents come.

    ``embedding`` makes the vectors; without it the index's own model does, which is ``model`` for a new one. ``mode``
    is how texts are searched for: dense (vectors), bm25 (words) or hybrid. Retrievers come from ``as_retriever``.
    """

    def __init__(
        self,
        path: str | Path,
        embedding: Embeddings | None = None,
        *,
        model: str | Encoder | None = None,
        mode: str = "dense",
    ) -> None:
        self._path, self._embedding, self._model, self._mode = Path(path), embedding, model, mode
        self._opened: Index | None = None

    @property
    def index(self) -> Index | None:
        """The index; None before the first documents came."""
        if self._opened is None and is_index(self._path):
            encoder = self._model if isinstance(self._model, Encoder) else None
            self._opened = Index.open(self._path, encoder=encoder)
        return self._opened

    @property
    def embeddings(self) -> Embeddings | None:
        """What makes the vectors, where it was given."""
        return self._embedding

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **_: Any,
    ) -> list[str]:
        """Add texts, or put them in the place of those with the same ids; returns the ids.

        Raises SearchAppError where one cannot be stored.
        """
        texts = list(texts)
        names = [name or str(uuid.uuid4()) for name in (ids or [None] * len(texts))]
        given = metadatas or [{} for _ in texts]
        if not len(texts) == len(names) == len(given):
            raise SearchAppError(
                f"{len(texts)} texts have {len(given)} metadata and {len(names)} ids; give one for each"
            )
        last = {name: place for place, name in enumerate(names)}  # of an id that comes twice
        kept = sorted(last.values())
        documents = [Document(names[place], texts[place], "", given[place]) for place in kept]
        if not documents:
            return names
        vectors = None
        if self._embedding is not None:
            vectors = np.array(self._embedding.embed_documents([one.text for one in documents]), dtype=np.float32)
        index = self.index
        if index is None:
            self._opened = build(
                documents, self._path, model=self._model, vectors=vectors, name=NAME, lexical=True, progress=False
            )
            return names
        done = index.add(documents, vectors=vectors, name=NAME, progress=False)
        if done.rejected:
            raise SearchAppError(f"{done.rejected} documents were rejected: {', '.join(done.reasons)}")
        return names

    def delete(self, ids: list[str] | None = None, **_: Any) -> bool:
        """Delete the documents with these ids, or all; ids that none has are passed over."""
        if (index := self.index) is not None:
            index.delete([document.id for document in index] if ids is None else ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Found]:
        """The documents with these ids, those that are there."""
        index = self.index
        known = [] if index is None else [name for name in ids if known_row(index.vectors, name) is not None]
        return [] if index is None or not known else [_found(one) for one in index.documents(known)]

    def similarity_search(self, query: str, k: int = 4, **options: Any) -> list[Found]:
        """The k documents that answer a query best; options as ``Index.answer`` takes them (``filter``, ``mode`` …)."""
        return [found for found, _ in self.similarity_search_with_score(query, k, **options)]

    def similarity_search_with_score(self, query: str, k: int = 4, **options: Any) -> list[tuple[Found, float]]:
        """The same, each with its score."""
        index = self.index
        if index is None or not len(index):
            return []
        mode = options.pop("mode", self._mode)
        vectors = None
        if self._embedding is not None and mode != "bm25":
            vectors = np.array([self._embedding.embed_query(query)], dtype=np.float32)
        if vectors is not None and mode == "dense":
            [answer] = index.answer(vectors, k, **options)
        else:
            [answer] = index.answer([query], k, vectors=vectors, mode=mode, **options)
        return [(_found(hit), hit.score) for hit in answer.hits]

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **options: Any) -> list[Found]:
        """The k documents closest to a vector."""
        index = self.index
        if index is None or not len(index):
            return []
        return [_found(hit) for hit in index.answer(np.array([embedding], dtype=np.float32), k, **options)[0].hits]

    def max_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Found]:
        """The k documents, of the ``fetch_k`` closest ones, that are close to the vector and unlike each other."""
        index = self.index
        if index is None or not len(index):
            return []
        query = np.array(embedding, dtype=np.float32)
        hits = index.answer(query[None], fetch_k, **options)[0].hits
        chosen = maximal_marginal_relevance(query, list(index.vectors_of([hit.id for hit in hits])), lambda_mult, k)
        return [_found(hits[place]) for place in chosen]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Found]:
        """The same for a query in words."""
        if (index := self.index) is None:
            return []
        embedding = self._embedding or EncoderEmbeddings(index.encoder)
        return self.max_marginal_relevance_search_by_vector(
            embedding.embed_query(query), k, fetch_k, lambda_mult, **options
        )

    def _select_relevance_score_fn(self) -> Any:
        return lambda score: min(1.0, max(0.0, score))

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: str | Path = "indexes/langchain",
        **options: Any,
    ) -> Self:
        """A store at ``path`` with these texts in it."""
        store = cls(path, embedding, **options)
        store.add_texts(texts, metadatas, ids=ids)
        return store


def _found(one: Document | Hit) -> Found:
    return Found(id=one.id, page_content=one.text, metadata=dict(one.metadata))
