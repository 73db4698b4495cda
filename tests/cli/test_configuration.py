"""Configuration files and variables: what goes before what, what is refused, and what ``info`` says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import searchapp


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    path = tmp_path / "indexes" / "x"
    texts = {name: f"honey of number {name}" for name in "abcdef"}
    searchapp.build(texts, path, vectors=[[1, n] for n in range(6)], progress=False)
    monkeypatch.chdir(tmp_path / "work")
    return path


def count(said) -> int:
    assert said.code == 0, said.err
    return len(said.out.splitlines())


def test_what_goes_before_what(index: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("search", index, "honey", "--json")
    assert count(run(*asked)) == 6
    (index.parent / "searchapp.toml").write_text("[search]\nk = 4\n")
    assert count(run(*asked)) == 4
    Path("searchapp.toml").write_text("[search]\nk = 3\njson = true\n[evaluate.retrieval]\ndepth = 7\n")
    assert count(run("search", index, "honey")) == 3
    monkeypatch.setenv("SEARCHAPP_SEARCH_K", "2")
    assert count(run(*asked)) == 2
    assert count(run(*asked, "-k", 1)) == 1
    said = run("info", index)
    for line in (
        "search.k = 3 (from searchapp.toml)",
        "search.k = '2' (from SEARCHAPP_SEARCH_K)",
        "search.k = 4 (from ",
    ):
        assert line in said.out
    found = json.loads(run("info", index, "--json").out)["settings"]
    assert [one["value"] for one in found if one["name"] == "search.k"] == [4, 3, "2"]
    assert [one["value"] for one in found if one["name"] == "evaluate.retrieval.depth"] == [7]
    assert run("evaluate", "compare", "--help").code == 0


def test_options_with_several_values_and_switches(index: Path, run, tmp_path: Path, monkeypatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"text of {name}")
    Path("searchapp.toml").write_text('[build]\nindex = "made"\nname = ["first", "second"]\nlexical = false\n')
    monkeypatch.setenv("SEARCHAPP_BUILD_OVERWRITE", "yes")
    said = run("build", tmp_path / "one", tmp_path / "two")
    assert said.code == 0, said.err
    made = searchapp.Index.open("made")
    assert {document.id.partition("/")[0] for document in made} == {"first", "second"}
    assert made.vectors.manifest.lexical is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[search]\nkk = 3\n", "searchapp.toml: 'kk' is no option of `searchapp search`"),
        ("[serch]\nk = 3\n", "the section [serch] is no command; did you mean 'search'?"),
        (
            "[evaluate.retrival]\ndepth = 3\n",
            "the section [evaluate.retrival] is no command; did you mean 'retrieval'?",
        ),
        ("k = 3\n", "the key 'k' stands in no section"),
        ("[search]\nk = [3]\n", "search.k is [3]; expected one value"),
        ("[search]\njson = 3\n", "search.json is 3; expected true or false"),
        ("[search]\nk = 'many'\n", "searchapp.toml: search.k is 'many'; "),
        ("[search\n", "searchapp.toml cannot be read"),
    ],
)
def test_what_says_nothing_is_refused(index: Path, run, content: str, message: str) -> None:
    Path("searchapp.toml").write_text(content)
    said = run("search", index, "honey")
    assert said.code == 2 and message in said.err and len(said.err.splitlines()) == 1


def test_variables_that_say_nothing_are_refused(index: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCHAPP_SEARCH_DEPHT", "3")
    said = run("search", index, "honey")
    assert said.code == 2 and "SEARCHAPP_SEARCH_DEPHT: 'depht' is no option" in said.err
    assert run("verify", index).code == 0  # it is none of its
