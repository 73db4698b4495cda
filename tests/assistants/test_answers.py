"""The tools as functions: their answers against the library's, within budgets, and what they say when they cannot."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import numpy as np
import pytest

from searchapp.assistants import answers, local
from searchapp.assistants.desk import Desk
from searchapp.assistants.fault import ToolError
from searchapp.assistants.local import LocalLibrary
from searchapp.assistants.tools import TOOLS
from searchapp.search import Hit, Index, Place, like
from tests.assistants.made import HARD, LONG, PASSAGES, WORDS

QUERIES = ("honey of bees", "a storm at the harbour", "clover", "stone bridge over the river")
HIDDEN = set("\u202e\u200b\x1b\U000e0041\U000e0042")


@pytest.fixture(scope="module")
def index(place: Path, tiny_encoder) -> Index:
    return Index.open(place, encoder=tiny_encoder)


def size(value: Any) -> int:
    """Tokens of an answer at most, as hosts count them: three ASCII characters, or one other."""
    text = json.dumps(value, ensure_ascii=False)
    return sum(letter < "\x80" for letter in text) // 3 + sum(letter >= "\x80" for letter in text)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(("limit", "offset", "filter"), [(5, 0, None), (20, 3, None), (4, 0, 'lang == "de"')])
def test_a_search_gives_the_hits_of_the_library(
    ask, index: Index, query: str, limit: int, offset: int, filter: str | None
) -> None:
    expected = index.search(query, offset + limit, filter=filter)[offset:]
    answer = ask("search", query=query, limit=limit, offset=offset, **({"filter": filter} if filter else {}))
    assert [(one["id"], one["score"]) for one in answer["results"]] == [
        (f"notes/{hit.id}", round(hit.score, 4)) for hit in expected
    ]
    assert (answer["mode"], answer["more"], answer["generation"]) == ("hybrid", True, index.vectors.manifest.number)
    for one, hit in zip(answer["results"], expected, strict=True):
        assert len(one["text"]) <= 290
        assert one["text"].removesuffix(" …") in hit.text


def test_the_pages_of_a_search_join_without_gap_or_repetition(ask) -> None:
    whole = [one["id"] for one in ask("search", query="honey", limit=20)["results"]]
    parts = [ask("search", query="honey", limit=5, offset=start)["results"] for start in range(0, 20, 5)]
    assert [one["id"] for part in parts for one in part] == whole
    last = ask("search", query="zeppelin", limit=20, filter='lang == "en" and year == 1990')
    assert last["more"] is False


@pytest.mark.parametrize("name", ["d3", "d 7/ü#7", "guide/bees.md#2"])
def test_similar_is_what_the_library_finds(ask, index: Index, name: str) -> None:
    answer = ask("similar", id=f"notes/{name}", limit=3)
    assert [one["id"] for one in answer["results"]] == [f"notes/{hit.id}" for hit in like(index.vectors, name, 3).hits]


@pytest.mark.parametrize("name", ["d3", "d 7/ü#7", "guide/bees.md#2"])
def test_a_document_is_read_by_id_by_address_and_without_the_name_of_the_only_index(ask, name: str) -> None:
    answer = ask("fetch", id=f"notes/{name}")
    assert answer["id"] == f"notes/{name}"
    assert unquote(answer["url"].removeprefix("searchapp://")) == f"notes/{name}"
    assert all(letter not in answer["url"] for letter in " #ü")
    assert ask("fetch", id=answer["url"]) == answer == ask("fetch", id=name)


def test_only_an_address_of_the_web_is_cited(ask) -> None:
    assert ask("fetch", id="notes/long", max_chars=100)["url"] == "https://example.org/long"
    assert ask("fetch", id="notes/web")["url"] == "searchapp://notes/web"


def test_a_long_document_is_read_in_parts_that_join(ask) -> None:
    start, text, sizes = 0, "", []
    while True:
        answer = ask("fetch", id="notes/long", start=start, max_chars=50_000)
        text += answer["text"]
        sizes.append(size(answer))
        if "next" not in answer:
            break
        assert answer["next"] > start
        start = answer["next"]
    assert text == LONG
    assert max(sizes) <= 18_500
    with pytest.raises(ToolError, match=rf"start is 999,999 and the text has {len(LONG):,} characters"):
        ask("fetch", id="notes/long", start=999_999)


@pytest.mark.parametrize(
    ("number", "context", "expected"), [(3, 2, range(1, 6)), (0, 1, range(2)), (7, 5, range(2, 8))]
)
def test_neighbouring_passages_come_in_the_order_of_the_file(ask, number: int, context: int, expected: range) -> None:
    answer = ask("fetch", id=f"notes/guide/bees.md#{number}", context=context)
    assert answer["text"] == "\n\n".join(PASSAGES[one] for one in expected)
    assert answer["line"] == 10 * expected[0] + 1
    assert answer["file"] == "guide/bees.md"
    assert answer["id"] == f"notes/guide/bees.md#{number}"


def test_what_nobody_sees_is_shown_and_the_rest_stays(ask) -> None:
    found = ask("search", query="lighthouse", filter="year == 3000")["results"][0]
    read = ask("fetch", id=found["id"])
    for text in (found["text"], found["title"], read["text"], read["title"], read["metadata"]["note"]):
        assert not HIDDEN & set(text)
        assert r"in\u202evisible \U000e0041\U000e0042tags\u200b and\u001b[31m colour" in text
    assert HARD not in json.dumps(read, ensure_ascii=False)


@pytest.mark.parametrize("query", ["honey", *WORDS[3:6]])
def test_a_page_stays_within_its_budget(ask, query: str) -> None:
    answer = ask("search", query=query, limit=20)
    assert size(answer) <= 6_500
    assert len(answer["results"]) == 20 or answer["more"]


def test_a_description_says_what_a_filter_can_name(ask, place: Path) -> None:
    answer = ask("describe")
    fields = {field["name"]: field for field in answer["fields"]}
    assert answer["documents"] == 120
    assert fields["year"]["range"] == "1990 to 3000"
    assert sorted(fields["lang"]["values"]) == ["de", "en"]
    assert all(len(field.get("values", [])) <= 8 for field in fields.values())
    assert "/" not in answer["model"]
    for expression in ('lang == "en" and year >= 2020', "year in [1990, 1991]", 'not (lang == "de")'):
        ask("search", query="honey", filter=expression)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search", {"query": "honey", "limit": 3}),
        ("search", {"query": "qqq", "filter": "year == 1990", "nonsense": 1}),
        ("fetch", {"id": "notes/hard"}),
        ("fetch", {"id": "notes/guide/bees.md#2", "context": 1}),
        ("similar", {"id": "notes/d3"}),
        ("describe", {}),
    ],
)
def test_answers_are_as_they_are_declared_and_name_no_path(ask, place: Path, tool: str, arguments: dict) -> None:
    answer = ask(tool, **arguments)
    jsonschema.validate(answer, {**TOOLS[tool].answer, "additionalProperties": False})
    require_no_path(json.dumps(answer), place)


def require_no_path(text: str, place: Path) -> None:
    for canary in (str(place.parent), "assistants-canary", "/tmp", "/etc/x", str(Path.home()) + "/"):
        assert canary not in text, text


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("search", {}, "query is missing; send query"),
        ("search", {"words": "x"}, "query is missing; words came; send query"),
        ("search", {"query": "  "}, "query is empty"),
        ("search", {"query": ["a", "b"]}, "query is a list; send text"),
        ("search", {"query": "\ud800"}, "no valid Unicode"),
        ("search", {"query": "x" * 9_000}, "9,000 characters; send at most 8,192"),
        ("search", {"query": "x", "limit": "many"}, "limit is 'many'; send a number from 1 to 20"),
        ("search", {"query": "x", "limit": True}, "limit is true or false"),
        ("search", {"query": "x", "filter": "yaer > 3"}, "'yaer'.*year"),
        ("search", {"query": "x", "filter": "year >"}, "not understood.*year"),
        ("fetch", {"id": "notes/d99999"}, "no document has the id 'd99999' in generation .*; near it: d"),
        ("fetch", {"id": "\x00\u202e"}, r"no document has the id '\\u0000\\u202e' in generation \d+ of notes"),
        ("fetch", {"id": "searchapp://other/d3"}, "names no index; ids are NAME/ID with notes"),
        ("similar", {"id": "notes/"}, "no document"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_line_with_the_next_step(
    ask, place: Path, tool: str, arguments: dict, words: str
) -> None:
    with pytest.raises(ToolError, match=words) as refused:
        ask(tool, **arguments)
    assert "\n" not in str(refused.value)
    assert not HIDDEN & set(str(refused.value))
    require_no_path(str(refused.value), place)


def test_values_are_put_right_and_a_note_says_so(ask) -> None:
    plain = ask("search", query="honey", limit=20)
    odd = ask("search", q="honey", top_k="99", colour="red")
    assert odd["results"] == plain["results"]
    assert "limit 99 was taken as 20." in odd["note"]
    assert "Ignored: colour" in odd["note"]
    assert "taken" not in ask("search", query="honey", limit=3.0, offset=None).get("note", "")
    assert ask("search", query="honey", index="elsewhere")["results"] == ask("search", query="honey")["results"]


def test_far_and_empty_results_are_said(ask) -> None:
    nothing = ask("search", query="honey", filter="year == 1990 and year == 1991")
    assert "Nothing was found among those that pass" in nothing["note"]
    assert "no more results" in ask("search", query="honey", filter="year == 3000", offset=50)["note"]


def test_hits_that_are_no_closer_than_chance_and_share_no_word_are_called_far(library: LocalLibrary, ask) -> None:
    state = library.state("notes", 0)
    sampled = state.index.sampled
    cosines = np.sort((sampled @ sampled.T)[np.triu_indices(len(sampled), 1)])
    limit = answers._chance(state)
    assert limit is not None
    assert cosines[int(0.985 * len(cosines))] <= limit <= cosines[int(0.995 * len(cosines))]
    hits = [Hit("a", 0.0, "", "", places={"exact": Place(1, limit - 0.01)})]
    assert answers._is_far(state, hits)
    assert not answers._is_far(state, [*hits, Hit("b", 0.0, "", "", places={"exact": Place(1, limit + 0.01)})])
    assert not answers._is_far(state, [Hit("a", 0.0, "", "", places={**hits[0].places, "bm25": Place(1, 3.0)})])


def test_several_indexes_have_to_be_named_rightly(library: LocalLibrary, place: Path) -> None:
    two = LocalLibrary({"notes": place, "more": place}, "cpu")
    two.open()
    desk = Desk(["notes", "more"], lambda deadline: two)
    with pytest.raises(ToolError, match="no index is named 'x'; there are notes, more"):
        desk.call(TOOLS["search"], {"query": "honey", "index": "x"})
    with pytest.raises(ToolError, match="'d3' names no index; ids are NAME/ID with notes or more"):
        desk.call(TOOLS["fetch"], {"id": "d3"})
    found = desk.call(TOOLS["search"], {"query": "honey", "index": "more"})["results"][0]["id"]
    assert found.startswith("more/")
    assert desk.call(TOOLS["fetch"], {"id": found})["id"] == found


def test_words_answer_while_there_is_no_model(place: Path, index: Index) -> None:
    words = LocalLibrary({"notes": place}, "cpu")
    words.open()
    desk = Desk(["notes"], lambda deadline: words)
    answer = desk.call(TOOLS["search"], {"query": "honey of bees"})
    assert answer["mode"] == "bm25"
    assert answer["note"].startswith("Found by words alone: the model is loading; ask again in ")
    expected = index.search("honey of bees", 5, mode="bm25")
    assert [one["id"] for one in answer["results"]] == [f"notes/{hit.id}" for hit in expected]
    words.load_models()
    assert desk.call(TOOLS["search"], {"query": "honey of bees"})["mode"] == "hybrid"


def test_a_file_that_changed_since_makes_its_passages_stale(library: LocalLibrary, tmp_path: Path) -> None:
    desk = Desk(["notes"], lambda deadline: library, folders={"notes": tmp_path})
    (tmp_path / "guide").mkdir()
    file = tmp_path / "guide" / "bees.md"
    file.write_text("new")
    for age, expected in ((60, {True}), (-86_400, {None})):
        os.utime(file, (time.time() + age, time.time() + age))
        found = desk.call(TOOLS["search"], {"query": "passage of the guide", "filter": 'file == "guide/bees.md"'})
        assert {one.get("stale") for one in found["results"]} == expected


def test_a_fault_gives_a_reference_and_the_log_the_rest(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    def broken(deadline: float) -> Any:
        raise RuntimeError("secret /etc/passwd")

    with pytest.raises(ToolError, match="reference ([0-9a-f]{8});") as refused:
        replace(desk, library=broken).call(TOOLS["describe"], {})
    assert "secret" not in str(refused.value)
    reference = str(refused.value).partition("reference ")[2][:8]
    assert reference in caplog.text
    assert "secret" in caplog.text


class Shortest:
    """A reranker that likes short texts."""

    name, kind, fingerprint = "shortest", "pointwise", "0"

    def score(self, queries, documents, *, progress=None) -> list[np.ndarray]:
        return [np.array([-len(text) for text in texts], dtype=np.float32) for texts in documents]


def test_a_reranker_puts_the_best_hits_in_order_once_it_is_there(place: Path, index: Index, monkeypatch) -> None:
    monkeypatch.setattr(local, "load_reranker", lambda name, device: Shortest())
    ranked = LocalLibrary({"notes": place}, "cpu", "shortest")
    ranked.open()
    desk = Desk(["notes"], lambda deadline: ranked)
    assert "Not reranked" in desk.call(TOOLS["search"], {"query": "honey"})["note"]
    ranked.load_models()
    answer = desk.call(TOOLS["search"], {"query": "honey of bees"})
    expected = index.search("honey of bees", 5, rerank=Shortest(), rerank_depth=30)
    assert [one["id"] for one in answer["results"]] == [f"notes/{hit.id}" for hit in expected]
    assert "Not reranked" not in answer.get("note", "")
