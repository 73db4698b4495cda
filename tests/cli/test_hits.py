"""Hits as a person meets them: files folded, places that open, more like one of them, what else can be asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

BEES = "# Bees\n\nbees make honey in their hives.\n\n## Dances\n\nbees dance for bees.\n"


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    from searchapp.cli import main

    root = tmp_path_factory.mktemp("hits")
    (root / "notes" / "old").mkdir(parents=True)
    (root / "notes" / "bees.md").write_text(BEES)
    (root / "notes" / "old" / "copy.md").write_text(BEES)
    (root / "notes" / "fox.md").write_text("---\nyear: 2020\nFirst Name: Ada\n---\nthe fox jumps over the dog\n")
    with pytest.raises(SystemExit) as stop:
        main(["build", str(root / "notes"), "--index", str(root / "indexes" / "notes"), "--model", str(tiny_model)])
    assert stop.value.code == 0
    return root


@pytest.fixture
def here(notes: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(notes)
    return notes


def test_a_file_is_one_hit_and_its_place_opens(run, here: Path) -> None:
    outcome = run("search", "bees make honey", "-k", 2)
    assert outcome.code == 0, outcome.err
    assert outcome.err.splitlines()[0] == "index indexes/notes"
    lines = outcome.out.splitlines()
    assert sum("passages)" in line for line in lines) == 1 and sum(line[:3].strip().isdecimal() for line in lines) == 2
    places = [line.split()[0] for line in lines if line.startswith(" " * 12) and ".md:" in line.split()[0]]
    assert len(places) == 2
    for place in places:
        path, line = place.rsplit(":", 1)
        assert len((here / path).read_text().splitlines()) >= int(line)
    (copies,) = (line for line in lines if "same text: " in line)
    assert copies.count(".md:") == 1 and "bees.md" in outcome.out and "copy.md" in outcome.out


def test_json_and_none_fold_nothing(run, here: Path) -> None:
    every = [json.loads(line) for line in run("search", "bees", "--json", "-k", 50).out.splitlines()]
    assert len(every) == 5 and "passages" not in every[0]
    assert "passages)" not in run("search", "bees", "--group", "none", "-k", 50).out
    folded = [json.loads(line) for line in run("search", "bees", "--json", "--group", "file").out.splitlines()]
    assert sum(line["passages"] + len(line["copies"]) for line in folded) == 5
    assert {line["metadata"]["file"] for line in folded} & {"fox.md"} and len(folded) == 2


def test_more_like_a_document(run, here: Path) -> None:
    every = [json.loads(line) for line in run("search", "bees", "--json", "-k", 50).out.splitlines()]
    wanted = next(line for line in every if "dance" in line["text"])
    like = [json.loads(line) for line in run("search", "--like", wanted["id"], "--json").out.splitlines()]
    assert {line["id"] for line in like} == {line["id"] for line in every} - {wanted["id"]}
    assert like[0]["text"] == wanted["text"] and like[0]["score"] == pytest.approx(1, abs=1e-3), "its copy"
    assert list(like[0])[:2] == ["like", "rank"]
    shown = run("search", "--like", wanted["id"])
    assert shown.code == 0 and f"» like {wanted['id']}" in shown.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--like", "bees.md"], "near it: notes/bees.md#"),
        (["--like", "x", "--hybrid"], "leave out --hybrid"),
        (["a query", "--like", "x"], "leave out the query 'a query'"),
        (["--like", "x", "--instruction", "y"], "leave out --instruction"),
        (["a query", "--group", "folder"], "--group 'folder' is unknown; expected file or none"),
        (["no/index", "q"], "no/index does not exist"),
        (["http://127.0.0.1:9", "q"], "http://127.0.0.1:9 cannot be asked"),
    ],
)
def test_what_cannot_be_asked(run, here: Path, arguments: list[str], words: str) -> None:
    outcome = run("search", *arguments)
    assert outcome.code == 2 and words in outcome.err.splitlines()[-1] and not outcome.out


def test_a_build_says_what_can_be_asked_and_that_works(
    run, here: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # the keys are cut to the width
    shutil.copytree(here / "notes", tmp_path / "notes")
    command = ("build", tmp_path / "notes", "--index", tmp_path / "ix", "--model", tiny_model)
    lines = run(*command).out.splitlines()
    assert f"searchapp search {tmp_path / 'ix'} 'your question'" in lines[-3]
    assert "--filter 'year >= 2020'" in lines[-2]
    keys = [key.strip() for key in lines[-1].partition("keys: ")[2].split(",")]
    assert {"year", 'meta["First Name"]', "source", "file", "line"} <= set(keys)
    again = run(*command).out
    assert "your question" not in again, "it is said once"


def test_every_example_of_a_filter_finds_a_document(here: Path) -> None:
    from searchapp.cli.hints import filter_examples
    from searchapp.index import Filter, VectorIndex

    index = VectorIndex.open(here / "indexes" / "notes")
    examples = filter_examples(index)
    assert len(examples) == 8
    for name, condition in examples:
        assert name in condition
        mask = index.allowed(Filter(condition))
        assert mask is None or mask.any()


def test_the_passages_of_a_single_file_are_not_folded(run, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "book.md").write_text(BEES)
    assert run("build", tmp_path / "book.md", "--index", tmp_path / "ix", "--model", tiny_model).code == 0
    shown = run("search", tmp_path / "ix", "bees").out
    assert "passages)" not in shown and "  2  " in shown
    assert "(2 passages)" in run("search", tmp_path / "ix", "bees", "--group", "file").out
