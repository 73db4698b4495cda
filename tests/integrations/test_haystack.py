"""The document store by Haystack's own tests, where haystack-ai is installed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("haystack")
from haystack import Document  # noqa: E402
from haystack.testing.document_store import DocumentStoreBaseTests  # noqa: E402

from searchapp.integrations.haystack import SearchappDocumentStore, SearchappRetriever  # noqa: E402


class TestDocumentStore(DocumentStoreBaseTests):
    @pytest.fixture
    def document_store(self, tmp_path: Path) -> SearchappDocumentStore:
        return SearchappDocumentStore(tmp_path / "x")

    def assert_documents_are_equal(self, received: list[Document], expected: list[Document]) -> None:
        """But for embeddings, which are kept in half precision and of length 1, and their order."""

        def plain(documents: list[Document]) -> list[Document]:
            return sorted((replace(one, embedding=None) for one in documents), key=lambda one: one.id)

        assert plain(received) == plain(expected)

    def test_write_documents(self, document_store: SearchappDocumentStore) -> None:
        one = Document(content="a text")
        assert document_store.write_documents([one]) == 1
        with pytest.raises(Exception, match="already"):
            document_store.write_documents([one])


def test_retriever(tmp_path: Path) -> None:
    store = SearchappDocumentStore(tmp_path / "x", dim=2)
    store.write_documents(
        [
            Document(id="a", content="bees make honey", meta={"n": 1}, embedding=[1.0, 0.0]),
            Document(id="b", content="ants dig tunnels", meta={"n": 2}, embedding=[0.0, 1.0]),
        ]
    )
    again = SearchappDocumentStore.from_dict(store.to_dict())
    retriever = SearchappRetriever(again, top_k=1)
    assert retriever.run(query="honey")["documents"][0].id == "a"
    assert retriever.run(query_embedding=[0.1, 1.0])["documents"][0].id == "b"
    only = {"field": "meta.n", "operator": "==", "value": 1}
    assert [one.id for one in retriever.run(query_embedding=[0.1, 1.0], filters=only, top_k=5)["documents"]] == ["a"]
