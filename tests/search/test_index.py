"""``Index`` refuses what cannot be searched, before a model is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from searchapp.errors import SearchAppError
from searchapp.index import build, reindex
from searchapp.search import Index, SearchOptions


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_encoder) -> Path:
    root = tmp_path_factory.mktemp("search")
    (root / "d.jsonl").write_text("\n".join(json.dumps({"_id": f"d{i}", "text": f"bees {i}"}) for i in range(5)))
    build([str(root / "d.jsonl")], root / "ix", tiny_encoder)
    return root / "ix"


@pytest.mark.parametrize(
    ("query", "options", "words"),
    [
        ("bees", {"k": 0}, "k is 0"),
        ("bees", {"k": -3}, "k is -3"),
        ("bees", {"candidates": -1}, "candidates is -1"),
        (" ", {}, "the query is empty"),
        ("\ud800", {}, "UTF-8"),
        (["bees", "\udcff"], {}, "UTF-8"),
    ],
)
def test_what_cannot_be_searched_is_refused(place: Path, query, options, words: str) -> None:
    index = Index.open(place)
    with pytest.raises(SearchAppError, match=words):
        index.search(query, **options)
    assert index._encoder is None, "a model was loaded for it"


def test_fewer_hits_than_asked_for(place: Path) -> None:
    index = Index.open(place)
    assert len(index.search("bees", k=2, candidates=0)) == 2
    assert len(index.search("bees", k=50)) == 5


def test_options_and_keywords_say_the_same(place: Path) -> None:
    index = Index.open(place)
    options = SearchOptions(hybrid=True, candidates=3)
    [wanted] = index.answer(["bees"], 3, hybrid=True, candidates=3)
    assert [hit.places for hit in index.answer(["bees"], 3, options)[0].hits] == [hit.places for hit in wanted.hits]
    assert index.answer(["bees"], 3, options, hybrid=False)[0].hits[0].stage != wanted.hits[0].stage == "fused"
    with pytest.raises(TypeError, match="hybird"):
        index.answer(["bees"], hybird=True)


def test_a_refreshed_index_is_searched_where_it_was(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place, tmp_path / "ix")
    index = Index.open(tmp_path / "ix", device="cuda:1")
    reindex(tmp_path / "ix", pca=2)
    assert index.refresh()
    assert index.vectors.device == "cuda:1"
