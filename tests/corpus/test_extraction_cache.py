"""What was read of documents is kept: the same content is not read again, and no fault of the cache is one of a build."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from searchapp.corpus import extraction_cache, file_state
from searchapp.corpus.block_lines import to_line
from searchapp.corpus.blocks import Block, BlockKind
from searchapp.corpus.extraction_cache import ExtractionCache
from searchapp.corpus.file_state import CHANGED, FileState, Seen
from searchapp.corpus.formats.reading import Unreadable
from searchapp.corpus.isolation import Readers
from searchapp.corpus.reading_process import ReadingProcess, Request


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def readers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Readers]:
    made = Readers(ExtractionCache(folder))
    yield made
    made.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that a process was asked for; each has one block, which is its content."""
    names: list[str] = []

    def lines(self: ReadingProcess, request: Request) -> Iterator[bytes]:
        self.reason, self.was_killed = "", False
        names.append(request.path.name)
        text = request.path.read_text(encoding="utf-8")
        if text == "bad":
            self.reason = "damaged"
            return
        yield to_line(Block(BlockKind.TEXT, text, 1, 1, 0, len(text))).rstrip(b"\n")

    monkeypatch.setattr(ReadingProcess, "lines", lines)
    return names


def request(path: Path, text: str = "", format: str = "pdf") -> Request:
    if text:
        path.write_text(text, encoding="utf-8")
    return Request(path, format, path.stat().st_size)


def texts(readers: Readers, wanted: Request) -> list[str]:
    return [item.text for item in readers.read(wanted) if isinstance(item, Block)]


def test_the_same_content_is_read_once_whatever_its_name(tmp_path: Path, readers: Readers, asked: list[str]) -> None:
    long = "ü " * 300_000
    assert texts(readers, request(tmp_path / "a.pdf", long)) == [long]
    assert texts(readers, request(tmp_path / "b.pdf", long)) == [long]
    assert texts(readers, request(tmp_path / "c.pdf", "other")) == ["other"]
    assert texts(readers, request(tmp_path / "a.docx", long, "word")) == [long]  # by another reader
    assert asked == ["a.pdf", "c.pdf", "a.docx"]
    assert texts(readers, request(tmp_path / "a.html", "page", "html")) == ["page"]
    assert texts(readers, request(tmp_path / "a.html", format="html")) == ["page"]  # faster read than looked up
    assert asked[3:] == ["a.html", "a.html"]


def test_what_another_version_of_a_reader_or_a_limit_made_does_not_count(
    tmp_path: Path, readers: Readers, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = request(tmp_path / "a.pdf", "text")
    for version in ("1", "2", "1"):
        monkeypatch.setattr(extraction_cache, "_readers", lambda version=version: version)
        assert texts(readers, wanted) == ["text"]
    assert len(asked) == 2


def test_what_was_refused_is_not_kept(tmp_path: Path, readers: Readers, asked: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(Unreadable, match="damaged"):
            texts(readers, request(tmp_path / "a.pdf", "bad"))
    assert len(asked) == 2


@pytest.mark.parametrize("harm", ["cut", "byte", "empty", "head"])
def test_a_damaged_entry_is_read_anew_and_written_again(
    tmp_path: Path, folder: Path, readers: Readers, asked: list[str], harm: str
) -> None:
    wanted = request(tmp_path / "a.pdf", "some text")
    texts(readers, wanted)
    (entry,) = folder.glob("??/*")
    assert entry.stat().st_mode & 0o077 == 0
    data = entry.read_bytes()
    middle = len(data) // 2
    broken = {
        "cut": data[:-1], "empty": b"", "head": b"x" + data[1:],
        "byte": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
    }  # fmt: skip
    entry.write_bytes(broken[harm])
    assert texts(readers, wanted) == texts(readers, wanted) == ["some text"]
    assert len(asked) == 2 and entry.read_bytes() == data


def test_a_cache_that_cannot_be_written_changes_nothing(tmp_path: Path, asked: list[str]) -> None:
    (tmp_path / "cache").write_text("a file")
    readers = Readers(ExtractionCache(tmp_path / "cache"))
    assert texts(readers, request(tmp_path / "a.pdf", "text")) == ["text"]
    readers.close()


def test_what_was_not_used_for_longest_goes(tmp_path: Path, folder: Path, asked: list[str]) -> None:
    cache = ExtractionCache(folder, limit=1_000)
    readers = Readers(cache)
    wanted = [request(tmp_path / f"{number}.pdf", os.urandom(100).hex()) for number in range(8)]
    for number in range(4):
        texts(readers, wanted[number])
        for age, entry in enumerate(sorted(folder.glob("??/*"), key=lambda path: path.stat().st_mtime_ns)):
            os.utime(entry, (1_000_000 + age, 1_000_000 + age))
    texts(readers, wanted[0])  # it is used, hence the newest
    for number in range(4, 8):
        texts(readers, wanted[number])
        assert cache.size().bytes <= 1_000
    before = len(asked)
    texts(readers, wanted[7])
    assert len(asked) == before
    texts(readers, wanted[1])
    assert len(asked) == before + 1
    cache.clear()
    assert cache.size().entries == 0
    readers.close()


def test_a_file_that_changes_while_it_is_read_is_read_again_and_then_refused(
    tmp_path: Path, readers: Readers, asked: list[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    wanted = request(tmp_path / "a.pdf", "first")
    lines, writes = ReadingProcess.lines, ["second"]

    def changed(self: ReadingProcess, wanted: Request) -> Iterator[bytes]:
        yield from lines(self, wanted)
        if writes:
            wanted.path.write_text(writes.pop())

    monkeypatch.setattr(ReadingProcess, "lines", changed)
    assert texts(readers, wanted) == ["second"] and len(asked) == 2
    writes += ["fourth", "third"]
    wanted = request(tmp_path / "b.pdf", "one")
    seen = Seen(FileState.of(wanted.path))
    with pytest.raises(Unreadable, match=CHANGED):
        list(readers.read(wanted, seen))
    assert seen.state is None  # it is at rest now, and was not read: no digest may say that it was
    kept = len(list(folder.glob("??/*")))
    assert kept == 1  # nothing of what was half old


def test_the_state_of_a_file_is_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("text")
    state = FileState.of(path)
    assert state is not None and not state.is_settled and state.holds(path)
    path.write_text("txet")
    os.utime(path, ns=(state.marks[1], state.marks[1]))  # of the same size and time
    assert not state.holds(path)
    shutil.copy(path, tmp_path / "b")
    monkeypatch.setattr(file_state, "now", lambda: path.stat().st_ctime + 10)
    state = FileState.of(path)
    assert state is not None and state.is_settled
    monkeypatch.setattr(FileState, "of", lambda path: pytest.fail("it was read again"))
    assert state.holds(path)
    path.unlink()
    assert not state.holds(path)


def test_what_is_no_file_has_no_state(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert FileState.of(tmp_path / "pipe") is FileState.of(tmp_path / "none") is FileState.of(tmp_path) is None
