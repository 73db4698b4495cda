"""Folders that are followed: what of a change counts, and what happens where the system tells nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from searchapp.corpus import watching
from searchapp.corpus.selection import Selection
from searchapp.corpus.source import find_source
from searchapp.corpus.watching import Watcher, silent_disk
from searchapp.errors import CorpusError

watchfiles = pytest.importorskip("watchfiles")


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "REST", 50)


def _watcher(root: Path, stop: threading.Event, selection: Selection | None = None, beside: str = "ix") -> Watcher:
    source = find_source(str(root), selection=selection or Selection())
    return Watcher([source], root / beside, stop)


def test_changes_that_can_change_an_index_are_told_and_others_are_not(tmp_path: Path, stop: threading.Event) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("build/\n")
    for folder in ("ix", "build", "sub", "drafts"):
        (tmp_path / folder).mkdir()
    watcher = _watcher(tmp_path, stop, Selection(exclude=("drafts",)))
    unwanted = ("ix/rejected.md", "build/b.md", ".hidden.md", ".git/HEAD", "picture.png", "drafts/d.md")
    for name in (*unwanted, "sub/a.md", "b.pdf"):
        (tmp_path / name).write_text("x")
    seen: set[str] = set()
    for names in watcher.changes():
        seen.update(names)
        if len(seen) >= 2 or not names:
            break
    assert seen == {str(tmp_path / "sub/a.md"), str(tmp_path / "b.pdf")}


def test_what_is_gone_is_told_whatever_it_was(tmp_path: Path, stop: threading.Event) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.md").write_text("x")
    watcher = _watcher(tmp_path, stop)
    (tmp_path / "sub").rename(tmp_path.parent / f"{tmp_path.name}-elsewhere")
    assert str(tmp_path / "sub") in next(names for names in watcher.changes() if names)


def test_the_folders_are_looked_through_where_the_system_has_no_watches_left(
    tmp_path: Path, stop: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, asked = watchfiles._rust_notify.RustNotify, []

    def limited(paths: list[str], debug: bool, polling: bool, *more: object) -> object:
        asked.append(polling)
        if not polling:
            raise OSError('OS file watch limit reached. about ["/x"]')
        return real(paths, debug, polling, *more)

    monkeypatch.setattr(watchfiles._rust_notify, "RustNotify", limited)
    monkeypatch.setattr(watching, "LOOK", 100)
    with caplog.at_level(logging.WARNING):
        watcher = _watcher(tmp_path, stop)
    assert asked == [False, True]
    assert "fs.inotify.max_user_watches" in caplog.text and "looking every" in caplog.text
    (tmp_path / "a.md").write_text("x")
    assert next(names for names in watcher.changes() if names) == [str(tmp_path / "a.md")]


def test_a_network_disk_is_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\nserver:/x /mnt/my\\040disk nfs4 rw 0 0\n/dev/sdb /mnt/my\\040disk/in ext4 rw\n"
    )
    monkeypatch.setattr(watching, "MOUNTS", mounts)
    assert silent_disk(Path("/mnt/my disk/papers")) == "nfs4"
    assert silent_disk(Path("/mnt/my disk/in/papers")) == silent_disk(Path("/mnt/mydisk")) == ""
    monkeypatch.setattr(watching, "MOUNTS", tmp_path / "none")
    assert silent_disk(tmp_path) == ""


def test_what_is_no_folder_is_refused(tmp_path: Path, stop: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.md").write_text("x")
    with pytest.raises(CorpusError, match="is no folder; only folders can be followed"):
        Watcher([find_source(str(tmp_path / "a.md"))], tmp_path, stop)
    monkeypatch.setattr(watching, "find_spec", lambda name: None)
    with pytest.raises(CorpusError, match=r"pip install 'searchapp\[watch\]'"):
        Watcher([find_source(str(tmp_path))], tmp_path, stop)


def test_it_ends_when_it_is_asked_to(tmp_path: Path, stop: threading.Event) -> None:
    watcher = _watcher(tmp_path, stop)
    stop.set()
    assert list(watcher.changes()) == []
