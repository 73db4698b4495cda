from __future__ import annotations

import os
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from searchapp.corpus import Document, open_source
from searchapp.corpus.selection import Selection
from searchapp.errors import CorpusError
from tests.corpus.records import read


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    for name in [
        "b.txt",
        "a/z.md",
        "a/b/c.rst",
        "a.md",
        "a-b.txt",
        "A.TXT",
        ".hidden.md",
        ".git/x.md",
        "a/.x/y.md",
        "a.py",
    ]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere.md")
    found, rejected = read(tmp_path)
    expected = sorted(path for path in map(Path, ["b.txt", "a/z.md", "a/b/c.rst", "a.md", "a-b.txt", "A.TXT"]))
    assert [document.id for document in found] == [path.as_posix() for path in expected]
    assert rejected == []
    assert open_source(str(tmp_path)).kind == "folder"


def test_passages_know_their_file_lines_and_headings(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_bytes(
        b"\xef\xbb\xbf# Guide\r\n\r\none\r\n\r\n## Install\r\ntwo\r\nlines\r\n"
    )
    (tmp_path / "note.txt").write_text("\n\na note\n")
    assert read(tmp_path)[0] == [
        Document("docs/guide.md#L1", "# Guide\n\none", "Guide", {"file": "docs/guide.md", "line": 1, "end_line": 3}),
        Document(
            "docs/guide.md#L5",
            "## Install\ntwo\nlines",
            "Guide > Install",
            {"file": "docs/guide.md", "line": 5, "end_line": 7},
        ),
        Document("note.txt", "a note", "note.txt", {"file": "note.txt", "line": 3, "end_line": 3}),
    ]
    assert read(tmp_path / "note.txt")[0] == read(tmp_path)[0][2:]


def test_bad_files_are_rejected_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"fine\n\nab\xffcd\n")
    (tmp_path / "b.txt").write_text(" \n\n")
    (tmp_path / "c.txt").write_text("one\n\ntwo \0 three\n")
    (tmp_path / "d\n.txt").write_text("text")
    (tmp_path / "e.txt").write_text("fine")
    found, rejected = read(tmp_path)
    assert [document.id for document in found] == ["e.txt"]
    assert [(item.file, item.line) for item in rejected] == [
        (str(tmp_path / name), line) for name, line in [("a.txt", 3), ("b.txt", 1), ("c.txt", 1), ("d\n.txt", 1)]
    ]
    reasons = [item.reason for item in rejected]
    assert "invalid UTF-8: 0xff at byte 3 of the line (byte offset 8 of the file)" in reasons[0]
    assert reasons[1] == "empty text"
    assert "NUL" in reasons[2]
    assert "control character U+000A" in reasons[3]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_file_name_that_is_no_utf8(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("x")
    (item,) = read(tmp_path)[1]
    assert "name is not valid UTF-8" in item.reason
    item.file.encode()


def test_a_line_of_five_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x" * 5_000_000)
    start = time.perf_counter()
    found, rejected = read(path)
    assert time.perf_counter() - start < 5
    assert rejected == []
    assert sum(len(document.text) for document in found) == 5_000_000
    assert len({document.id for document in found}) == len(found)
    assert [document.id for document in found[:2]] == ["a.txt#L1", "a.txt#L1.2"]
    assert {(document.metadata["line"], document.metadata["end_line"]) for document in found} == {(1, 1)}


def test_memory_stays_small(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("```\n" + ("a line in a fence that is never closed" * 4 + "\n") * 15_000)
    tracemalloc.start()
    for _ in open_source(str(tmp_path)).records():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_folder_of_which_nothing_is_wanted_says_why(tmp_path: Path) -> None:
    for name in ("a.zip", "b.tar.gz", "c.bin"):
        (tmp_path / name).write_text("x")
    with pytest.raises(CorpusError, match=r"can be read; 2 of its files: an archive, which --archives reads$"):
        open_source(str(tmp_path))
    (tmp_path / "z.md").write_text("x")
    (tmp_path / ".ignore").write_text("*.md\n")
    with pytest.raises(
        CorpusError, match="2 of its files: left out by --include or --exclude, 1 of its files: ignored"
    ):
        open_source(str(tmp_path), selection=Selection(exclude=("*.zip", "*.gz")))


@pytest.mark.parametrize("names", [[], ["a.bin"], [".a.md"]])
def test_a_folder_without_text_is_an_error(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("x")
    with pytest.raises(CorpusError, match="no text file in this folder; expected .txt, .md, .rst"):
        open_source(str(tmp_path))
