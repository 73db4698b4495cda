"""Quotes and misspelt words mean the same whoever asks: Python, the command, the server, its page, an assistant."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from searchapp.assistants.desk import Desk
from searchapp.assistants.local import LocalLibrary
from searchapp.client import Client, connect
from searchapp.index import build
from searchapp.search import Index
from tests.serve.running import Running, serving

TEXTS = {
    "hive": "The worker bees of a hive make honey out of nectar",
    "sweet": "Honey is made by bees, and make no mistake: it is sweet",
    "print": 'Call print("hello world") to greet the microenvironment',
    "ants": "A hello to the world of ants and their colonies",
}
QUERIES = (
    'who will "make honey"',
    '"honey make" of bees',
    '"hello" and "colonies"',
    "honny of wrker",
    "the microenviroment of bees",
    "honey of bees",
    'a 5" screen of honny',
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_encoder) -> Path:
    root = tmp_path_factory.mktemp("typed")
    lines = [{"_id": key, "text": text, "n": number} for number, (key, text) in enumerate(TEXTS.items())]
    (root / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    build([str(root / "d.jsonl")], root / "ix", tiny_encoder)
    return root / "ix"


@pytest.fixture(scope="module")
def running(place: Path):
    with serving({"ix": place}) as one:
        yield one


@pytest.fixture(scope="module")
def client(running: Running) -> Client:
    return connect(running.url)


@pytest.fixture(scope="module")
def ask(place: Path) -> Callable[[str], dict[str, Any]]:
    """What an assistant is answered."""
    library = LocalLibrary({"ix": place}, "cpu")
    library.open()
    library.load_models()
    desk = Desk(["ix"], lambda deadline: library)
    tool = desk.tool("search")
    assert tool is not None
    return lambda query: desk.call(tool, {"query": query, "limit": 20})


@pytest.mark.parametrize("query", QUERIES)
def test_every_door_answers_alike(query: str, place: Path, running: Running, client: Client, ask, run) -> None:
    [wanted] = Index.open(place).answer([query], mode="hybrid")
    ids = [hit.id for hit in wanted.hits]
    assert bool(wanted.notices) == (query != "honey of bees")

    said = run("search", place, query, "--json")
    assert [json.loads(line)["id"] for line in said.out.splitlines()] == ids
    assert said.err.splitlines() == [f"notice: {text}" for text in wanted.notices]

    [result] = running.requester("POST", "/api/search", {"query": query})[2]["results"]
    assert [hit["id"] for hit in result["hits"]] == ids
    assert (result.get("notices", []), result.get("words", query)) == (list(wanted.notices), wanted.words)

    [answer] = client.answer([query])
    assert ([hit.id for hit in answer.hits], answer.notices, answer.words) == (ids, wanted.notices, wanted.words)

    page = running.requester("GET", f"/?{urlencode({'q': query, 'plain': 1})}")[2].decode()
    assert [part.partition("<")[0] for part in page.split("<bdi>")[1:]] == ids
    assert all(html.escape(text) in page for text in wanted.notices)

    told = ask(query)
    assert [one["id"] for one in told["results"]] == [f"ix/{name}" for name in ids]
    assert all(text[1:] in told["note"] for text in wanted.notices) and len(wanted.notices) == ("note" in told)
    assert len(told.get("note", "")) < 120


def test_queries_of_one_request_are_searched_each_among_its_own_documents(place: Path, running: Running) -> None:
    options: dict[str, Any] = {"filter": "n >= 1", "mode": "hybrid", "k": 3}
    wanted = Index.open(place).answer(list(QUERIES), options["k"], filter=options["filter"], mode="hybrid")
    found = running.requester("POST", "/api/search", {"queries": list(QUERIES), "columns": True, **options})[2]
    for result, answer in zip(found["results"], wanted, strict=True):
        assert [hit["id"] for hit in result["hits"]] == [hit.id for hit in answer.hits]
        assert result.get("notices", []) == list(answer.notices)
        assert result["columns"][-1]["ids"][: len(answer.hits)] == [hit.id for hit in answer.hits]


def test_what_was_typed_is_searched_for_where_that_is_wanted(place: Path, running: Running, client: Client) -> None:
    query = 'honny "make honey"'
    [wanted] = Index.open(place).answer([query], literal=True)
    [result] = running.requester("POST", "/api/search", {"query": query, "literal": True})[2]["results"]
    assert "notices" not in result and len(result["hits"]) == len(TEXTS)
    [answer] = client.answer([query], literal=True)
    assert [hit.id for hit in answer.hits] == [hit["id"] for hit in result["hits"]] == [hit.id for hit in wanted.hits]


def test_an_explanation_is_of_what_was_searched_for(running: Running, client: Client) -> None:
    found = client.explain("honny", "sweet")
    assert [one["term"] for one in found["terms"] if one["score"] > 0] == ["honei"]  # as it is stemmed
    assert found["notices"] == ["searched for 'honey': 'honny' is in no document"]
    assert next(stage["rank"] for stage in found["stages"] if stage["stage"] == "bm25") == 1
    quoted = client.explain('"make honey"', "sweet")
    assert quoted["stages"][-1]["rank"] is None  # it has both words, and not one after the other
    as_typed = client.explain("honny", "sweet", literal=True)
    assert not any(one["score"] for one in as_typed["terms"]) and as_typed["notices"] == []
