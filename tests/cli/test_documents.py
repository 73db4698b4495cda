"""A folder of documents as its user meets it: what is read and what is not, where a hit is, and what stands around it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from searchapp.cli import links
from searchapp.cli.places import Spot
from tests.corpus.pdfs import locked, write_pages, write_scan

PAGE = """<html><head><title>Bees</title></head><body><h1 id="bees">Bees</h1><p>Bees live in hives.</p>
<h2 id="honey">Honey</h2><p>It is sweet and yellow.</p><h2 id="wax">Wax</h2><p>Candles are made of it.</p></body></html>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mine") / "docs"
    (root / "drafts").mkdir(parents=True)
    (root / "bees.html").write_text(PAGE)
    (root / "drafts" / "old.md").write_text("an old draft")
    (root / "note.md").write_text("# Note\nFoxes jump.\n")
    (root / "picture.png").write_bytes(b"x")
    (root / "broken.pdf").write_bytes(b"no pdf at all")
    write_pages(root / "fox.pdf", [["# Foxes", "A fox is quick."], ["# Dogs", "A dog is lazy."]])
    write_scan(root / "scan.pdf", ["some words", "", ""])
    return root


@pytest.fixture(scope="module")
def built(folder: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    import contextlib
    import io

    from searchapp.cli import main

    index = tmp_path_factory.mktemp("ix") / "ix"
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stop:
        main(["build", str(folder), "--index", str(index), "--model", str(tiny_model), "--exclude", "drafts"])
    assert stop.value.code == 0
    return index, out.getvalue()


def test_a_build_says_what_became_of_every_file(built: tuple[Path, str]) -> None:
    lines = dict(line.split(maxsplit=1) for line in built[1].splitlines() if " " in line.strip())
    assert lines["files"] == "4 read, 1 refused (1 damaged, or no PDF), 1 skipped (1 .png), of 6"
    assert lines["notes"] == "2 pages of 1 file without text (scans?)"
    assert lines["rejected"].startswith("1 (1 damaged, or no PDF)")


def test_a_hit_is_shown_with_its_page_or_anchor(run, built: tuple[Path, str], folder: Path) -> None:
    out = run("search", built[0], "sweet yellow honey", "-k", 1, "--mode", "bm25").out
    assert f"{folder}/bees.html#honey" in out
    out = run("search", built[0], "lazy dog", "-k", 1, "--mode", "bm25").out
    assert f"{folder}/fox.pdf#page=2" in out


def test_show_prints_a_passage_in_its_context(run, built: tuple[Path, str], folder: Path) -> None:
    hit = json.loads(run("search", built[0], "sweet yellow honey", "-k", 1, "--mode", "bm25", "--json").out)
    outcome = run("show", built[0], hit["id"])
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0] == "Bees > Honey" and lines[1] == f"{folder}/bees.html#honey  {hit['id']}"
    assert "mime: text/html" in lines
    assert [line for line in lines if line.endswith((".", "Wax"))] == [
        "Bees live in hives.", "It is sweet and yellow.", "Wax", "Candles are made of it.",
    ]  # fmt: skip
    alone = run("show", built[0], hit["id"], "--context", 0).out
    assert "It is sweet" in alone and "Candles" not in alone
    found = json.loads(run("show", built[0], hit["id"], "--json").out)
    assert (found["id"], found["text"]) == (hit["id"], hit["text"])
    assert [one["title"] for one in found["before"] + found["after"]] == ["Bees", "Bees > Wax"]
    outcome = run("show", built[0], "nothing")
    assert outcome.code == 2 and "has the id 'nothing'" in outcome.err


def test_a_dry_run_lists_what_would_be_read(run, folder: Path, tmp_path: Path) -> None:
    outcome = run("build", folder, "--index", tmp_path / "ix", "--dry-run", "--exclude", "drafts", "--include", "*.pdf")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[:3] == [str(folder / name) for name in ("broken.pdf", "fox.pdf", "scan.pdf")]
    assert lines[3].startswith("would read     3 files") and lines[3].endswith("3 PDF")
    assert not (tmp_path / "ix").exists()
    outcome = run("build", folder, "--index", tmp_path / "ix", "--dry-run", "--include", "*.png=nothing")
    assert outcome.code == 2 and "names no format" in outcome.err


def test_what_lacks_its_reader_is_named_with_the_command(
    run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searchapp.corpus.formats import table

    monkeypatch.setattr(table, "_is_there", lambda module: module != "pypdfium2")
    lines = run("build", folder, "--index", tmp_path / "ix", "--dry-run").out.splitlines()
    assert "needs          3 PDF files need `pip install 'searchapp[files]'`" in lines
    assert any(line.startswith("files") and "3 without their reader" in line for line in lines)


def test_a_link_opens_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(links, "shows_links", lambda: True)
    monkeypatch.setenv("TERM_PROGRAM", "vscode")  # its own links open no page
    spot = Spot("a.pdf#page=3", tmp_path / "a.pdf", fragment="page=3")
    assert f"{tmp_path}/a.pdf#page=3" in links.linked(spot) and "file://" in links.linked(spot)
    odd = Spot("a.html#x", tmp_path / "a.html", fragment="x\x1b]8;;\x07 ü")
    assert "#x%1B]8;;%07%20%C3%BC" in links.linked(odd)


def test_what_was_left_out_of_a_source_stays_left_out(run, folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    docs, index = tmp_path / "docs", tmp_path / "ix"
    shutil.copytree(folder, docs)
    options = ("--exclude", "drafts", "--include", "*.md", "--include", "*.html")
    assert run("build", docs, "--index", index, "--model", tiny_model, *options).code == 0
    (docs / "drafts" / "new.md").write_text("a new draft")
    (docs / "new.md").write_text("a new note")
    done = json.loads(run("add", index, docs, "--sync", "--json").out)
    assert (done["added"], done["removed"], done["files"]["read"]) == (1, 0, 3)
    assert f"{docs} (--include '*.md' --include '*.html' --exclude drafts)" in run("info", index).out
    kept = {"include": ["*.md", "*.html"], "exclude": ["drafts"], "ignores": True}
    assert json.loads(run("info", index, "--json").out)["sources"][0]["selection"] == kept
    done = json.loads(run("add", index, docs, "--include", "*.md", "--json").out)  # others are given
    assert done["added"] == 2 and done["missing"] == ["docs/bees.html"]
    done = json.loads(run("add", index, docs, "--json").out)
    assert done["added"] == 0 and done["files"]["skipped"] > 0
    assert json.loads(run("info", index, "--json").out)["sources"][0]["selection"]["exclude"] == []


def test_a_file_that_was_read_as_another_format_is_read_as_that_again(run, tiny_model: Path, tmp_path: Path) -> None:
    log, index = tmp_path / "run.out", tmp_path / "ix"
    log.write_text("one line\n")
    assert run("build", log, "--index", index, "--model", tiny_model, "--include", "*.out=text").code == 0
    log.write_text("another line\n")
    done = run("add", index, log, "--json")
    assert json.loads(done.out)["removed"] == 1, done.err


def test_a_file_with_a_password_is_read_with_it_and_the_password_is_not_kept(
    run, tiny_model: Path, tmp_path: Path
) -> None:
    docs, index, words = tmp_path / "docs", tmp_path / "ix", tmp_path / "passwords"
    docs.mkdir()
    write_pages(docs / "a.pdf", [["A secret fox."]])
    locked(docs / "a.pdf", user="sesame opens")
    write_pages(docs / "b.pdf", [["An open fox."]])
    done = run("build", docs, "--index", index, "--model", tiny_model)
    assert "1 refused (1 password)" in done.out
    words.write_text("wrong\nsesame opens\n")
    done = json.loads(run("add", index, docs, "--password-file", words, "--json").out)
    assert (done["added"], done["files"]["refused"]) == (1, 0)
    kept = [*index.rglob("*"), *Path(os.environ["SEARCHAPP_CACHE"]).rglob("*")]
    assert not any(b"sesame" in path.read_bytes() for path in kept if path.is_file())
    assert not any(b"secret" in path.read_bytes() for path in kept if "extractions" in path.parts and path.is_file())
    outcome = run("add", index, docs, "--password-file", tmp_path / "none")
    assert outcome.code == 2 and "--password-file" in outcome.err and "a password a line" in outcome.err
