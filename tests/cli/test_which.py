"""Which index a search means."""

from __future__ import annotations

from pathlib import Path

import pytest

from searchapp.cli.which import index_and_queries
from searchapp.errors import SearchAppError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "manifest-0000000001.json").write_text("{}")


def test_a_folder_that_exists_is_the_index(here: Path) -> None:
    make(here / "indexes/one")
    (here / "words").mkdir()
    assert index_and_queries(["words", "a", "b"]) == (Path("words"), ["a", "b"], True)
    assert index_and_queries(["indexes/one", "x/y"]) == (Path("indexes/one"), ["x/y"], True)


def test_else_it_is_a_query_for_the_only_index(here: Path) -> None:
    make(here / "indexes/one")
    (here / "indexes/README.md").write_text("no index")
    (here / "indexes/empty").mkdir()
    assert index_and_queries(["words", "more"]) == (Path("indexes/one"), ["words", "more"], False)
    assert index_and_queries([]) == (Path("indexes/one"), [], False)
    assert index_and_queries(["HTTPS://host/x", "q"]) == ("HTTPS://host/x", ["q"], True)
    assert index_and_queries([" "]) == (Path("indexes/one"), [" "], False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no/such"], "no/such does not exist"),
        (["tcp/ip handshake"], "a query with a slash goes after the index"),
        (["words"], "indexes/ holds 2 indexes: indexes/one, indexes/two"),
        ([], "indexes/ holds 2 indexes: indexes/one, indexes/two"),
    ],
)
def test_what_is_no_index_and_no_query(here: Path, words: list[str], said: str) -> None:
    make(here / "indexes/one")
    make(here / "indexes/two")
    with pytest.raises(SearchAppError, match=f"(?i){said}"):
        index_and_queries(words)


def test_no_index_at_all(here: Path) -> None:
    with pytest.raises(SearchAppError, match="'words' does not exist .* indexes/ holds no index"):
        index_and_queries(["words"])
