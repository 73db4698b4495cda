"""What ``/api`` answers is what the library answers."""

from __future__ import annotations

import json
import random
from urllib.parse import quote

import pytest

from searchapp.search import Index
from searchapp.search.like import like
from tests.serve.conftest import WORDS
from tests.serve.local import Running


@pytest.fixture(scope="module")
def library(built, tiny_encoder) -> Index:
    return Index.open(built, encoder=tiny_encoder)


def queries(count: int) -> list[str]:
    chance = random.Random(3)
    return [" ".join(chance.choice(WORDS) for _ in range(chance.randint(1, 5))) for _ in range(count)]


@pytest.mark.parametrize("mode", ["auto", "dense", "bm25", "hybrid"])
def test_hits_are_those_of_the_library(served: Running, library: Index, mode: str) -> None:
    for query in queries(5):
        found = served.search(query, mode=mode, k=7)
        [answer] = library.answer([query], 7, mode=mode)
        assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in answer.hits]
        assert [hit["rank"] for hit in found["hits"]] == list(range(1, len(answer.hits) + 1))
        assert found["mode"] == answer.mode and found["meaning"] == answer.meaning
        for hit, expected in zip(found["hits"], answer.hits, strict=True):
            assert hit["score"] == pytest.approx(expected.score, abs=1e-5)
            assert hit["text"] == expected.text and hit["title"] == expected.title
            assert hit.get("metadata", {}) == dict(expected.metadata)
            assert {name: place["rank"] for name, place in hit["places"].items()} == {
                name: place.rank for name, place in expected.places.items()
            }


def test_several_queries_and_a_filter(served: Running, library: Index) -> None:
    asked = queries(4)
    answer = served.post("/api/search", {"queries": asked, "k": 5, "filter": 'lang == "de" and year >= 2000'}).json
    expected = library.answer(asked, 5, filter='lang == "de" and year >= 2000')
    assert [[hit["id"] for hit in result["hits"]] for result in answer["results"]] == [
        [hit.id for hit in one.hits] for one in expected
    ]
    documents = library.vectors.rows
    passing = [documents.read(row).metadata for row in range(library.vectors.manifest.rows)]
    assert answer["total"] == sum(one["lang"] == "de" and one["year"] >= 2000 for one in passing)


def test_columns_have_what_each_stage_found(served: Running, library: Index) -> None:
    found = served.search("honey bee", k=6, columns=True)
    columns = {column["stage"]: column["ids"] for column in found["columns"]}
    assert list(columns)[-1] == "fused" and columns["fused"] == [hit["id"] for hit in found["hits"]]
    assert columns["bm25"] == [hit.id for hit in library.search("honey bee", 6, mode="bm25")]
    dense = [hit.id for hit in library.search("honey bee", 6, mode="dense")]
    assert next(ids for stage, ids in columns.items() if stage in ("exact", "rescored")) == dense
    known = {hit["id"] for hit in found["hits"]} | set(found["documents"])
    assert set().union(*columns.values()) <= known


def test_passages_mark_the_words_of_the_query(served: Running) -> None:
    found = served.search("honey", k=3, passages="words", mode="bm25")
    for hit in found["hits"]:
        passage = hit["passage"]
        assert passage["words"], hit
        assert {hit["text"][start:end] for start, end in passage["words"]} == {"honey"}
        assert all(passage["start"] <= start < end <= passage["end"] for start, end in passage["words"])
    assert served.search("honey", k=3, passages="model")["hits"][0]["passage"]["end"] > 0


def test_fields_and_texts_can_be_left_out(served: Running) -> None:
    hit = served.search("honey", k=1, fields=["year", "nothing"], text=False)["hits"][0]
    assert set(hit["metadata"]) == {"year"} and "text" not in hit


def test_documents_by_id_in_the_path_and_in_the_body(served: Running, library: Index) -> None:
    name = "d 7/ü#7"
    answer = served.get(f"/api/documents/{quote(name, safe='')}")
    assert answer.status == 200 and answer.json["id"] == name
    several = served.post("/api/documents", {"ids": [name, "nobody", "d1"]}).json
    assert [one["id"] for one in several["documents"]] == [name, "d1"] and several["unknown"] == ["nobody"]
    near = served.get(f"/api/documents/{quote(name, safe='')}?similar=4").json
    assert [one["id"] for one in near["similar"]] == [hit.id for hit in like(library.vectors, name, 4).hits]
    lost = served.get("/api/documents/d19x")
    assert lost.status == 404 and "no document has the id 'd19x'" in lost.problem["message"]


def test_filters_are_tried(served: Running) -> None:
    good = served.post("/api/filter", {"filter": "year > 2010"}).json
    assert good == {"valid": True, "count": good["count"], "total": 200} and 0 < good["count"] < 200
    wrong = served.post("/api/filter", {"filter": "yaer > 2010"}).json
    assert wrong["valid"] is False and "near it: year" in wrong["message"]
    broken = served.post("/api/filter", {"filter": "year >"}).json
    assert broken["valid"] is False and broken["at"] >= 1


def test_explain_follows_a_document(served: Running, library: Index) -> None:
    best = served.search("river stone", k=1)["hits"][0]
    found = served.post("/api/explain", {"query": "river stone", "id": best["id"], "spans": 4}).json
    assert {step["stage"] for step in found["stages"]} >= {"bm25", "fused"}
    assert found["metrics"]["rank"]["value"] >= 1 and 1 <= len(found["words"]) <= 4
    total = sum(term["score"] for term in found["terms"])
    assert total == pytest.approx(best["places"]["bm25"]["score"], abs=1e-4)
    assert served.post("/api/explain", {"query": "river", "id": "nobody"}).status == 404


def test_the_index_is_described(served: Running) -> None:
    found = served.get("/api/index").json
    fields = {field["name"]: field for field in found["fields"]}
    assert found["documents"] == 200 and found["modes"] == ["auto", "dense", "bm25", "hybrid"]
    assert fields["year"]["low"] == 1990 and fields["year"]["high"] == 2019 and fields["year"]["documents"] == 200
    assert dict(map(tuple, fields["lang"]["values"])) == {"en": 67, "de": 67, "fr": 66}
    assert str(served.server.setup.indexes["notes"].parent) not in json.dumps(found)


def test_generations_can_be_pinned(served: Running) -> None:
    answer = served.post("/api/search", {"query": "honey"})
    number = answer.json["generation"]
    assert answer.headers["x-index-generation"] == str(number)
    assert served.post("/api/search", {"query": "honey", "generation": number}).status == 200
    gone = served.post("/api/search", {"query": "honey", "generation": number - 1})
    assert gone.status == 409 and gone.problem["code"] == "generation_gone"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "query"),
        ({"query": "a", "queries": ["b"]}, 400, "query"),
        ({"query": "   "}, 400, "query"),
        ({"query": 3}, 400, "query"),
        ({"query": "a", "k": 0}, 400, None),
        ({"query": "a", "k": 10**9}, 400, "k"),
        ({"query": "a", "k": 1.5}, 400, "k"),
        ({"query": "a", "mode": "best"}, 400, None),
        ({"query": "a", "kk": 3}, 400, "kk"),
        ({"query": "a", "filter": "x" * 5_000}, 400, "filter"),
        ({"query": "a", "filter": "nokey == 1"}, 400, "filter"),
        ({"query": "a" * 9_000}, 400, "query"),
        ({"queries": ["a"] * 33}, 400, "queries"),
        ({"query": "a", "index": "other"}, 404, "index"),
        ({"query": "a", "rerank": "none"}, 400, "rerank"),
        ({"query": "a", "fusion": {"nonsense": 1}}, 400, "fusion"),
        ({"query": "a", "candidates": -1}, 400, None),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(served: Running, body: dict, status: int, param: str | None) -> None:
    answer = served.post("/api/search", body)
    assert answer.status == status, answer.content
    problem = answer.problem
    assert "\n" not in problem["message"] and problem["message"]
    if param is not None:
        assert problem["param"] == param


def test_unknown_routes_and_methods(served: Running) -> None:
    assert served.get("/nowhere").status == 404 and served.get("/nowhere").problem["type"] == "not_found_error"
    assert served.get("/api/search").status == 405
    assert served.post("/livez", {}).status == 405


def test_the_map_stays_and_has_every_document(served: Running) -> None:
    first = served.get("/api/map")
    found = first.json
    assert len(found["x"]) == len(found["y"]) == len(found["ids"]) == 200
    assert all(0 <= value <= 1 for value in found["x"] + found["y"])
    again = served.get("/api/map", headers={"if-none-match": first.headers["etag"]})
    assert again.status == 304 and again.content == b""
