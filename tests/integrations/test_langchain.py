"""The vector store by LangChain's own tests, and what these do not ask.

They run where langchain-tests is installed, with ``pytest -o asyncio_mode=auto``.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

pytest.importorskip("langchain_core")
suites = pytest.importorskip("langchain_tests.integration_tests")
from langchain_core.documents import Document  # noqa: E402
from langchain_core.vectorstores import VectorStore  # noqa: E402

from searchapp.integrations.langchain import SearchappStore  # noqa: E402


class TestSearchappStore(suites.VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Generator[VectorStore, None, None]:
        yield SearchappStore(tmp_path / "index", self.get_embeddings())


def test_with_a_model_of_ones_own(tmp_path: Path, tiny_encoder) -> None:
    store = SearchappStore.from_texts(
        ["bees make honey", "ants dig tunnels"], None, [{"n": 1}, {"n": 2}], ids=["a", "b"], path=tmp_path / "x",
        model=tiny_encoder,
    )  # fmt: skip
    assert [one.id for one in store.similarity_search("honey", k=1, mode="bm25")] == ["a"]
    assert [one.id for one in store.similarity_search("honey", filter="n == 2")] == ["b"]
    assert len(store.max_marginal_relevance_search("honey", k=2)) == 2
    again = SearchappStore(tmp_path / "x", model=tiny_encoder, mode="bm25")
    retriever = again.as_retriever(search_kwargs={"k": 1})
    assert retriever.invoke("tunnels of ants")[0].metadata == {"n": 2}
    again.add_documents([Document(id="a", page_content="wasps")])
    assert again.get_by_ids(["a", "none"])[0].page_content == "wasps"
    again.delete()
    assert again.similarity_search("ants") == []
