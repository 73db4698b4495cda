"""Which files of a folder are read: what ignore files, --include and --exclude say; git itself is asked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from searchapp.corpus import open_source
from searchapp.corpus.selection import ARCHIVES, IGNORED, LEFT_OUT, Selection
from searchapp.corpus.walk import READ, walk
from searchapp.errors import CorpusError

FILES = [
    "a.md", "b.txt", "build/a.md", "build/keep.md", "deep/build/a.md", "deep/x.txt", "deep/er/x.txt", "deep/er/y.md",
    "logs/1.txt", "logs/important.txt", "sp ace.md", "node_modules/a/readme.md", "c.html", "deep/root.md", "root.md",
    "doc/frotz/a.txt", "doc/a.txt", "foo/bar.txt", "foo/baz.txt",
]  # fmt: skip
RULES = {
    ".gitignore": "# a comment\n/build/\n*.txt\n!important.txt\nsp\\ ace.md\n/root.md\ndoc/frotz/\n",
    "deep/.gitignore": "!x.txt\ner/*.md\n",
    "foo/.gitignore": "*\n!baz.txt\n",
}


def make(folder: Path, rules: dict[str, str]) -> None:
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text")
    for name, text in rules.items():
        (folder / name).write_text(text)


def outcomes(folder: Path, selection: Selection | None = None) -> dict[str, str]:
    return {found.relative: found.reason or found.outcome for found in walk(folder, selection)}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
def test_gitignore_is_what_git_says(tmp_path: Path) -> None:
    make(tmp_path, RULES)
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / ".git" / "info").mkdir(exist_ok=True)
    (tmp_path / ".git" / "info" / "exclude").write_text("c.html\n")
    asked = [name for name in FILES if not name.startswith("node_modules")]
    done = subprocess.run([*git, "check-ignore", *asked], capture_output=True, text=True, check=False)
    ignored = set(done.stdout.splitlines())
    assert 5 < len(ignored) < len(asked)
    assert {name for name, said in outcomes(tmp_path).items() if said == READ} == set(asked) - ignored
    below = {f"deep/{name}" for name, said in outcomes(tmp_path / "deep").items() if said == READ}
    assert below == {name for name in set(asked) - ignored if name.startswith("deep/")}  # rules from above hold


def test_gitignore_counts_in_a_work_tree_alone_and_the_others_anywhere(tmp_path: Path) -> None:
    make(tmp_path, {".gitignore": "a.md\n", ".ignore": "b.txt\nc.html\n", ".searchappignore": "!c.html\nlogs/\n"})
    found = outcomes(tmp_path)
    assert found["a.md"] == found["c.html"] == READ
    assert found["b.txt"] == found["logs/"] == found["node_modules/"] == IGNORED
    every = outcomes(tmp_path, Selection(ignores=False))
    assert set(every) == set(FILES) and set(every.values()) == {READ}


def test_include_and_exclude(tmp_path: Path) -> None:
    make(tmp_path, {})
    (tmp_path / "server.out").write_text("one\n\ntwo\n")
    chosen = outcomes(tmp_path, Selection(include=("*.md",), exclude=("deep", "/build/*")))
    assert {name for name, said in chosen.items() if said == READ} == {"a.md", "root.md", "sp ace.md"}
    assert chosen["b.txt"] == chosen["deep/"] == LEFT_OUT
    added = outcomes(tmp_path, Selection(include=("*.out=text",)))
    assert added["server.out"] == added["a.md"] == READ
    assert outcomes(tmp_path)["server.out"] == "no reader for .out"
    both = outcomes(tmp_path, Selection(include=("*.out=text", "*.html")))
    assert {name for name, said in both.items() if said == READ} == {"c.html", "server.out"}
    with pytest.raises(CorpusError, match="'\\*.out=nothing' names no format; expected one of text, markdown"):
        open_source(str(tmp_path), selection=Selection(include=("*.out=nothing",)))


def test_what_is_chosen_is_part_of_what_a_source_is(tmp_path: Path) -> None:
    make(tmp_path, {})
    every = open_source(str(tmp_path)).identity()
    assert every != open_source(str(tmp_path), selection=Selection(exclude=("*.md",))).identity()
    assert every == open_source(str(tmp_path), selection=Selection(exclude=("*.png",))).identity()


def test_archives_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    for name in ("a.zip", "b.tar.gz", "c.gz"):
        (tmp_path / name).write_bytes(b"x")
    assert outcomes(tmp_path) == {
        "a.zip": "an archive, which --archives reads",
        "b.tar.gz": "an archive, which --archives reads",
        "c.gz": "no reader for .gz",
    }
    assert outcomes(tmp_path, Selection(include=ARCHIVES)) == {
        "a.zip": READ, "b.tar.gz": READ, "c.gz": "no reader for .gz"
    }  # fmt: skip
