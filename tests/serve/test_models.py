"""Embeddings and reranking: equal to the library's, and refused in the one shape that clients read."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from tests.serve.local import Running

TEXTS = ["a bee", "honey and wax from the hive", "Ünïcode — 漢字", "a bee"]


def embedded(served: Running, **body: object) -> np.ndarray:
    answer = served.post("/v1/embeddings", body)
    assert answer.status == 200, answer.content
    assert [one["index"] for one in answer.json["data"]] == list(range(len(answer.json["data"])))
    parts = [one["embedding"] for one in answer.json["data"]]
    if isinstance(parts[0], str):
        return np.stack([np.frombuffer(base64.b64decode(part), dtype="<f4") for part in parts])
    return np.array(parts)


@pytest.mark.parametrize("form", ["float", "base64"])
def test_embeddings_are_those_of_the_encoder(served: Running, tiny_encoder, form: str) -> None:
    found = embedded(served, input=TEXTS, encoding_format=form)
    np.testing.assert_allclose(found, tiny_encoder.encode_documents(TEXTS), atol=1e-6)


def test_queries_get_the_query_instruction(served: Running, tiny_encoder) -> None:
    expected = tiny_encoder.encode(TEXTS, "Find: ")
    np.testing.assert_allclose(embedded(served, input=TEXTS, instruction="Find: "), expected, atol=1e-6)
    name = served.get("/v1/models").json["data"][0]["id"]
    as_query = embedded(served, input=TEXTS, model=f"{name}:query")
    np.testing.assert_allclose(as_query, tiny_encoder.encode_queries(TEXTS), atol=1e-6)
    np.testing.assert_allclose(embedded(served, input=TEXTS, input_type="query"), as_query, atol=1e-6)


def test_many_texts_in_slices(served: Running, tiny_encoder) -> None:
    texts = [f"text number {number} " + "bee " * (number % 40) for number in range(500)]
    np.testing.assert_allclose(embedded(served, input=texts), tiny_encoder.encode_documents(texts), atol=1e-6)


def test_tokens_are_counted_and_cut_texts_are_said(served: Running, tiny_encoder) -> None:
    long = "bee honey " * 4_000
    answer = served.post("/v1/embeddings", {"input": ["a bee", long]}).json
    assert answer["truncated"] == [1]
    counted = tiny_encoder.tokenize(tiny_encoder.inputs(["a bee", long]))
    assert answer["usage"]["prompt_tokens"] == sum(len(item.ids) for item in counted)
    refused = served.post("/v1/embeddings", {"input": ["a bee", long], "truncate": False})
    assert refused.status == 400 and refused.problem["param"] == "input" and "input 1" in refused.problem["message"]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": []}, 400, "input"),
        ({"input": [""]}, 400, "input"),
        ({"input": [[1, 2, 3]]}, 400, "input"),
        ({"input": [1, 2, 3]}, 400, "input"),
        ({"input": [None]}, 400, "input"),
        ({"input": ["a"] * 2_049}, 400, "input"),
        ({"input": "a", "encoding_format": "int8"}, 400, "encoding_format"),
        ({"input": "a", "dimensions": 7}, 400, "dimensions"),
        ({"input": "a", "model": "gpt-4"}, 404, "model"),
        ({"input": "a", "input_type": "poem"}, 400, "input_type"),
        ({"model": "x"}, 400, "input"),
    ],
)
def test_embeddings_that_cannot_be_had(served: Running, body: dict, status: int, param: str) -> None:
    answer = served.post("/v1/embeddings", body)
    assert answer.status == status and answer.problem["param"] == param, answer.content


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_reranking_by_cosine(served: Running, tiny_encoder, path: str) -> None:
    documents = ["a river", {"text": "honey from the hive"}, "the printing press"]
    body = {"query": "bees", "documents": documents, "top_n": 2, "return_documents": True}
    answer = served.post(path, body)
    assert answer.status == 200, answer.content
    texts = ["a river", "honey from the hive", "the printing press"]
    scores = tiny_encoder.encode_documents(texts) @ tiny_encoder.encode_queries("bees")[0]
    best = np.argsort(-scores, kind="stable")[:2]
    assert [one["index"] for one in answer.json["results"]] == best.tolist()
    for one in answer.json["results"]:
        assert one["relevance_score"] == pytest.approx(float(scores[one["index"]]), abs=1e-5)
        assert one["document"]["text"] == texts[one["index"]]


def test_stored_documents_are_reranked_by_id(served: Running) -> None:
    answer = served.post("/rerank", {"query": "bees", "ids": ["d1", "d2", "d3"]})
    assert sorted(one["id"] for one in answer.json["results"]) == ["d1", "d2", "d3"]
    assert served.post("/rerank", {"query": "bees", "ids": ["nobody"]}).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {"query": "", "documents": ["a"]},
        {"query": "a", "documents": []},
        {"query": "a"},
        {"query": "a", "documents": [3]},
        {"query": "a", "documents": [{"title": "x"}]},
        {"query": "a", "documents": ["x"], "top_n": 0},
        {"query": "a", "documents": ["x"] * 1_001},
    ],
)
def test_rerankings_that_cannot_be_had(served: Running, body: dict) -> None:
    assert served.post("/rerank", body).status == 400


def test_models_are_listed(served: Running, tiny_encoder) -> None:
    listed = served.get("/v1/models").json["data"]
    assert [one["id"] for one in listed][1] == f"{listed[0]['id']}:query"
    assert listed[0]["dimensions"] == tiny_encoder.dim
    assert listed[0]["fingerprint"] == tiny_encoder.fingerprint["sha256"]
    assert served.get(f"/v1/models/{listed[0]['id']}").json["id"] == listed[0]["id"]
    assert served.get("/v1/models/other").status == 404
