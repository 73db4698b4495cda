"""Rerankers that a server is started with, and several indexes in one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from searchapp.index import build
from searchapp.rerank import load_reranker
from searchapp.search import Index
from tests.rerankers import make_bert
from tests.serve.conftest import records, write
from tests.serve.local import running


@pytest.fixture(scope="module")
def cross(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_bert(tmp_path_factory.mktemp("cross") / "bert"))


def test_hits_are_reranked_as_by_the_library(built: Path, tiny_encoder, cross: str) -> None:
    library = Index.open(built, encoder=tiny_encoder)
    with running({"notes": built}, rerankers=(cross,)) as served:
        found = served.search("honey bee", k=5, rerank=cross, rerank_depth=20, columns=True)
        expected = library.search("honey bee", 5, rerank=load_reranker(cross, device="cpu"), rerank_depth=20)
        assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in expected]
        np.testing.assert_allclose(
            [hit["score"] for hit in found["hits"]], [hit.score for hit in expected], rtol=1e-4, atol=1e-5
        )
        assert found["columns"][-1]["stage"] == "reranked" and cross in found["meaning"]
        texts = ["wax and honey", "a printing press", "the river"]
        answer = served.post("/v2/rerank", {"query": "bees", "documents": texts, "model": cross})
        scores = load_reranker(cross, device="cpu").score(["bees"], [texts])[0]
        got = {one["index"]: one["relevance_score"] for one in answer.json["results"]}
        np.testing.assert_allclose([got[number] for number in range(3)], scores, rtol=1e-4, atol=1e-5)
        assert served.get("/api/index").json["rerankers"] == [cross]
        step = served.post("/api/explain", {"query": "honey", "id": found["hits"][0]["id"], "rerank": cross}).json
        assert step["stages"][-1]["stage"] == "reranked"


def test_indexes_of_one_model_share_it(built: Path, tmp_path: Path, tiny_encoder) -> None:
    build([str(write(tmp_path / "other.jsonl", records(30, seed=9)))], tmp_path / "other", tiny_encoder)
    with running({"notes": built, "other": tmp_path / "other"}) as served:
        states = [one.state for one in served.server.served.values()]
        assert states[0].encoder is states[1].encoder and len(served.server.models.by_name) == 1
        for name, place in (("notes", built), ("other", tmp_path / "other")):
            answer = served.post("/api/search", {"query": "river stone", "index": name, "k": 4}).json
            expected = Index.open(place, encoder=tiny_encoder).search("river stone", 4)
            assert answer["index"] == name
            assert [hit["id"] for hit in answer["results"][0]["hits"]] == [hit.id for hit in expected]
        assert served.get("/api/index?index=other").json["documents"] == 30
        assert set(served.get("/readyz").json["indexes"]) == {"notes", "other"}
