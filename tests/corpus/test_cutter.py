"""Text files as documents with ids of what they say, and the walk that says what becomes of every file."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from searchapp.corpus import Document, Rejected, open_source
from searchapp.corpus.cut_rule import CutRule
from searchapp.corpus.cutter import Cutter
from searchapp.corpus.walk import walk
from searchapp.errors import CorpusError

CUTTER = Cutter(CutRule(characters=200, tokens=None), lambda title, text: len((title + text).split()))


def documents(source: Path | str, label: str | None = None, cutter: Cutter = CUTTER) -> list[Document]:
    found = [record.item for record in open_source(str(source), label).records(cutter)]
    assert not [item for item in found if isinstance(item, Rejected)]
    return found


def digest(*headings: str, text: str) -> str:
    return hashlib.sha256("\0".join([*headings, "", text]).encode()).hexdigest()[:10]


def test_an_id_is_source_file_and_ten_digits_of_headings_and_text(tmp_path: Path) -> None:
    (tmp_path / "notes" / "a").mkdir(parents=True)
    (tmp_path / "notes" / "a" / "b.md").write_text("# Bees\nBees fly.\n## Honey\nIt is sweet.\n")
    first, second = documents(tmp_path / "notes")
    assert first.id == "notes/a/b.md#" + digest("Bees", text="# Bees\nBees fly.")
    assert second.id == "notes/a/b.md#" + digest("Bees", "Honey", text="## Honey\nIt is sweet.")
    assert (second.title, second.text) == ("Bees > Honey", "## Honey\nIt is sweet.")
    place = {"source": "notes", "file": "a/b.md", "line": 3, "end_line": 4, "start": 17, "end": 38}
    assert dict(second.metadata) == place
    content = (tmp_path / "notes" / "a" / "b.md").read_text()
    assert content[17:38] == "## Honey\nIt is sweet."


def test_equal_passages_of_a_file_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "x.md").write_text("# A\nsame\n# A\nsame\n# A\nsame\n")
    ids = [item.id for item in documents(tmp_path / "x.md")]
    assert ids == [f"x.md#{digest('A', text='# A' + chr(10) + 'same')}{end}" for end in ("", ".2", ".3")]


def test_the_name_of_a_source_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "x.md").write_text("text")
    assert documents(tmp_path / "x.md", "mine")[0].id == f"mine#{digest(text='text')}"
    assert documents(tmp_path, "mine")[0].id == f"mine/x.md#{digest(text='text')}"
    for wrong in ("", " a", "a#b", "a/b", "a\nb"):
        with pytest.raises(CorpusError, match="expected a name without #, / and outer blanks"):
            open_source(str(tmp_path), wrong)


def test_a_text_that_only_moves_keeps_its_id_and_its_text(tmp_path: Path) -> None:
    path = tmp_path / "x.md"
    path.write_text("".join(f"# Part {number}\nText of part {number}.\n" for number in range(20)))
    before = documents(path)
    path.write_text("A line on top.\n" + path.read_text())
    after = documents(path)
    assert [item.id for item in after[1:]] == [item.id for item in before]
    assert [item.metadata["line"] for item in after[1:]] == [item.metadata["line"] + 1 for item in before]
    path.rename(tmp_path / "y.md")
    moved = documents(tmp_path / "y.md")
    assert [(item.title, item.text) for item in moved] == [(item.title, item.text) for item in after]


def test_every_file_that_is_walked_is_read_refused_or_skipped(tmp_path: Path) -> None:
    for name in ("a.md", "b.png", "c", "d/e.TXT", "d/f.iso", ".hidden.md", ".git/config", "g.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere.md")
    (tmp_path / "circle").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("text")
    found = {item.relative: (item.outcome, item.reason) for item in walk(tmp_path)}
    assert found.pop(os.fsdecode(b"caf\xe9.txt")) == ("refused", "the file's name is not valid UTF-8: rename it")
    assert found == {
        "a.md": ("read", ""),
        "b.png": ("skipped", "no reader for .png"),
        "c": ("skipped", "no reader for names without an ending"),
        "circle": ("skipped", "a link to a folder"),
        "d/e.TXT": ("read", ""),
        "d/f.iso": ("skipped", "no reader for .iso"),
        "g.jsonl": ("skipped", "no reader for .jsonl"),
        "gone.md": ("refused", "cannot be read: No such file or directory"),
        "pipe.txt": ("skipped", "no regular file"),
    }


def test_a_folder_that_cannot_be_listed_is_one_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.md").write_text("text")
    (tmp_path / "closed").mkdir()
    listed = Path.iterdir

    def closed(self: Path):
        if self.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", closed)  # root may list every folder
    assert [(item.relative, item.outcome) for item in walk(tmp_path)] == [("a.md", "read"), ("closed/", "refused")]
    source = open_source(str(tmp_path))
    assert source.identity() and [file.outcome for file in source.files(CUTTER)] == ["read", "refused"]
    found = [record.item for record in source.records(CUTTER)]
    assert isinstance(found[1], Rejected) and found[1].reason == "folder cannot be read: Permission denied"
    with pytest.raises(CorpusError, match="closed: folder cannot be read: Permission denied; allow reading"):
        list(source.records())  # an index of the first scheme has no place to note it


def test_walking_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.md").write_text("text")
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("a file was opened"))
    [file] = open_source(str(tmp_path)).files(CUTTER)
    assert (file.path, file.size, file.outcome) == ("a.md", 4, "read")


def test_the_reader_changes_with_the_rule() -> None:
    other = Cutter(CutRule(characters=300, tokens=None), CUTTER.measure)
    assert CUTTER.reader != other.reader and CUTTER.reader == Cutter(CUTTER.rule, CUTTER.measure).reader
