"""An index as a Haystack document store, with a retriever (``haystack-ai``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from haystack import Document as Found
from haystack import component, default_from_dict, default_to_dict
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.utils.filters import document_matches_filter

from searchapp.corpus.document import Document
from searchapp.errors import SearchAppError
from searchapp.search import Index
from searchapp.search.likeness import known_row
from searchapp.search.making import build
from searchapp.shards.kind import is_index

NAME = "haystack"  # of the source in the index


class SearchappDocumentStore:
    """A directory with an index of documents whose embeddings have ``dim`` numbers; it is made with the first ones.

    Embeddings come with the documents, from Haystack's embedders, and are kept in half precision, of length 1. A
    document without one is found by its words and by filters. Blobs are not kept.
    """

    def __init__(self, path: str | Path, dim: int = 768) -> None:
        self.path, self.dim = Path(path), dim
        self._opened: Index | None = None

    @property
    def index(self) -> Index | None:
        """The index; None before the first documents came."""
        if self._opened is None and is_index(self.path):
            self._opened = Index.open(self.path)
        return self._opened

    def to_dict(self) -> dict[str, Any]:
        """What ``from_dict`` makes it again of."""
        return default_to_dict(self, path=str(self.path), dim=self.dim)  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SearchappDocumentStore:
        """The store that ``to_dict`` was of."""
        return default_from_dict(cls, data)  # type: ignore[no-any-return]

    def count_documents(self) -> int:
        """How many documents there are."""
        return 0 if self.index is None else len(self.index)

    def filter_documents(self, filters: dict[str, Any] | None = None) -> list[Found]:
        """The documents that pass a filter of Haystack's, all without one."""
        return [found for found in self._every() if not filters or document_matches_filter(filters, found)]

    def write_documents(self, documents: list[Found], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Store documents; ``policy`` says what becomes of ids that are there (NONE: they fail). Returns how many.

        Raises ValueError for what is no list of documents, DuplicateDocumentError for an id that is there.
        """
        if not isinstance(documents, list) or not all(isinstance(one, Found) for one in documents):
            raise ValueError("write_documents expects a list of Haystack documents")
        index = self.index
        wanted: dict[str, Found] = {}
        for one in documents:
            there = one.id in wanted or (index is not None and known_row(index.vectors, one.id) is not None)
            if there and policy in (DuplicatePolicy.NONE, DuplicatePolicy.FAIL):
                raise DuplicateDocumentError(f"document {one.id!r} is in {self.path} already")
            if not (there and policy is DuplicatePolicy.SKIP):
                wanted[one.id] = one
        if not wanted:
            return 0
        stored = [Document(one.id, one.content or "", "", dict(one.meta)) for one in wanted.values()]
        vectors = np.zeros((len(stored), self.dim), dtype=np.float32)
        for place, one in enumerate(wanted.values()):
            if one.embedding is not None:
                vectors[place] = one.embedding
        if index is None:
            self._opened = build(stored, self.path, vectors=vectors, name=NAME, lexical=True, progress=False)
        elif (done := index.add(stored, vectors=vectors, name=NAME, progress=False)).rejected:
            raise SearchAppError(f"{done.rejected} documents were rejected: {', '.join(done.reasons)}")
        return len(stored)

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete the documents with these ids; those that none has are passed over."""
        if self.index is not None:
            self.index.delete(document_ids)

    def search(
        self,
        text: str | None,
        embedding: list[float] | None,
        k: int,
        filters: dict[str, Any] | None = None,
        **options: Any,
    ) -> list[Found]:
        """The k documents closest to an embedding, or with the words of a text, or by both, with their scores."""
        index = self.index
        if index is None or not len(index):
            return []
        depth = k if not filters else len(index)
        if text is None:
            [answer] = index.answer(np.array([embedding], dtype=np.float32), depth, **options)
        else:
            vectors = None if embedding is None else [embedding]
            [answer] = index.answer([text], depth, vectors=vectors, **options)
        found = (_found(Document(hit.id, hit.text, hit.title, hit.metadata), None, hit.score) for hit in answer.hits)
        return [one for one in found if not filters or document_matches_filter(filters, one)][:k]

    def _every(self) -> Iterator[Found]:
        if (index := self.index) is None:
            return
        for document in list(index):
            vector = index.vectors_of([document.id])[0]
            yield _found(document, vector.tolist() if vector.any() else None)


def _found(document: Document, embedding: list[float] | None, score: float | None = None) -> Found:
    return Found(
        id=document.id, content=document.text or None, meta=dict(document.metadata), embedding=embedding, score=score
    )


@component
class SearchappRetriever:
    """The documents of a store for a query: by its embedding, its words, or both, where both are given."""

    def __init__(self, document_store: SearchappDocumentStore, top_k: int = 10, **options: Any) -> None:
        self.document_store, self.top_k, self.options = document_store, top_k, options

    @component.output_types(documents=list[Found])
    def run(
        self,
        query: str | None = None,
        query_embedding: list[float] | None = None,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
    ) -> dict[str, list[Found]]:
        """Search. Raises SearchAppError where neither a query nor an embedding is given."""
        if query is None and query_embedding is None:
            raise SearchAppError("neither query nor query_embedding is given; give one of them, or both")
        found = self.document_store.search(query, query_embedding, top_k or self.top_k, filters, **self.options)
        return {"documents": found}
