"""The retriever of LlamaIndex, where llama-index-core is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llama_index.core")
from llama_index.core.schema import QueryBundle  # noqa: E402

import searchapp  # noqa: E402
from searchapp.integrations.llama_index import SearchappRetriever  # noqa: E402


def test_nodes_of_a_query(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "bees make honey", "n": 1}, {"id": "b", "text": "ants dig tunnels", "n": 2}]
    searchapp.build(rows, tmp_path / "x", vectors=np.eye(2), progress=False)
    retriever = SearchappRetriever(tmp_path / "x", k=1)
    [node] = retriever.retrieve("honey")
    assert (node.node.node_id, node.node.get_content(), node.node.metadata["n"]) == ("a", "bees make honey", 1)
    assert node.score > 0
    by_vector = SearchappRetriever(tmp_path / "x", k=1, mode="dense")
    [node] = by_vector.retrieve(QueryBundle("honey", embedding=[0.0, 1.0]))
    assert node.node.node_id == "b" and node.score == pytest.approx(1.0)
