"""An open index whose folder is removed, or built again: it moves on when it is refreshed, and never ends in a fault."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import searchapp
from searchapp.errors import SearchAppError
from searchapp.search import Index
from searchapp.shards.split import split

EYE = np.eye(4, dtype=np.float32)
WORDS = {"a": "one bee", "b": "two ants", "c": "three cats", "d": "four dogs"}
ASKED: dict[str, Callable[[Index], object]] = {
    "in": lambda index: "x" in index,
    "len": len,
    "words": lambda index: index.search("bee", mode="bm25"),
    "vector": lambda index: index.search(EYE[0]),
    "filter": lambda index: index.search("bee", mode="bm25", filter="year > 1"),
    "iter": list,
    "documents": lambda index: index.documents(["a", "b"]),
    "vectors of": lambda index: index.vectors_of(["a", "b"]),
    "like": lambda index: index.like("a"),
}


def opened(path: Path) -> Index:
    """An index of which nothing but its manifest was read."""
    searchapp.build(WORDS, path, vectors=EYE, progress=False).delete(["d"])
    return Index.open(path)


def build_again(path: Path, adds: int = 0) -> None:
    shutil.rmtree(path)
    index = searchapp.build({"x": "other"}, path, vectors=EYE[:1], progress=False)
    for number in range(adds):
        index.add({f"y{number}": "more"}, vectors=EYE[:1])


@pytest.mark.parametrize("adds", [0, 1])  # an earlier number of its state, and the same
def test_an_index_built_again_is_moved_on_to(adds: int, tmp_path: Path) -> None:
    index = opened(tmp_path / "x")
    build_again(tmp_path / "x", adds)
    assert index.refresh() and len(index) == 1 + adds and "x" in index and "a" not in index
    assert [hit.id for hit in index.search("other", mode="bm25")] == ["x"]
    assert not index.refresh()
    index.add({"z": "new"}, vectors=EYE[:1])
    assert "z" in index and not index.refresh()


def test_an_index_that_was_written_over_is_moved_on_to(tmp_path: Path) -> None:
    index = opened(tmp_path / "x")
    searchapp.build({"x": "other"}, tmp_path / "x", vectors=EYE[:1], overwrite=True, progress=False)
    assert index.refresh() and list(index)[0].id == "x" and len(index) == 1 and not index.refresh()


def test_a_root_that_was_made_again_is_moved_on_to(tmp_path: Path) -> None:
    opened(tmp_path / "x")
    split(tmp_path / "x", tmp_path / "root", 2)
    index = Index.open(tmp_path / "root")
    assert not index.refresh()
    shutil.rmtree(tmp_path / "root")
    build_again(tmp_path / "x", adds=1)
    split(tmp_path / "x", tmp_path / "root", 2)
    assert index.refresh() and sorted(document.id for document in index) == ["x", "y0"] and not index.refresh()


def test_what_is_gone_is_said_in_one_line(tmp_path: Path) -> None:
    opened(tmp_path / "x")
    for number, ask in enumerate(ASKED.values()):
        path = shutil.copytree(tmp_path / "x", tmp_path / str(number))
        index = Index.open(path)
        shutil.rmtree(path)
        try:
            ask(index)
        except SearchAppError as error:
            assert "\n" not in str(error)
        with pytest.raises(SearchAppError, match="does not exist; expected an index directory"):
            index.refresh()
    with pytest.raises(SearchAppError, match="open the index again where its folder was made anew"):
        index.documents(["a"])
