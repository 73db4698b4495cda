"""``searchapp add --watch``: what changes is added, a line each; a file that is refused and an error do not end it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("watchfiles")


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done() and time.monotonic() < end:
        time.sleep(0.02)


def test_a_folder_is_followed_until_ctrl_c(
    run, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searchapp.cli import following
    from searchapp.corpus import watching
    from searchapp.errors import IndexStoreError
    from searchapp.index import VectorIndex
    from searchapp.shards.noted import add as add_to

    monkeypatch.setattr(watching, "REST", 50)
    notes, index = tmp_path / "notes", tmp_path / "ix"
    notes.mkdir()
    (notes / "a.md").write_text("# Bees\nBees live in hives.\n")
    assert run("build", notes, "--index", index, "--model", tiny_model).code == 0
    lines: list[str] = []
    said: list[str] = []
    monkeypatch.setattr(following, "say", lines.append)
    monkeypatch.setattr(following, "complain", said.append)
    begun = threading.Event()
    monkeypatch.setattr(following, "notice", lambda text: begun.set())
    busy = [True]

    def add(*arguments: object, **options: object) -> object:
        if busy:
            busy.clear()
            raise IndexStoreError("another process writes")
        return add_to(*arguments, **options)

    monkeypatch.setattr("searchapp.shards.noted.add", add)
    monkeypatch.setattr(watching, "TIMEOUT", 200)

    def edit() -> None:
        try:
            begun.wait(60)
            (notes / "b.md").write_text("# Foxes\nFoxes jump.\n")  # the index is busy at first
            _until(lambda: len(lines) == 1)
            (notes / "c.pdf").write_text("no pdf")
            _until(lambda: len(lines) == 2)
            (notes / "b.md").unlink()
            _until(lambda: len(lines) == 3)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    def first(*arguments: object, **options: object) -> object:  # the add that the command begins with
        monkeypatch.setattr("searchapp.shards.noted.add", add)
        return add_to(*arguments, **options)

    monkeypatch.setattr("searchapp.shards.noted.add", first)
    thread = threading.Thread(target=edit)
    thread.start()
    before = signal.getsignal(signal.SIGINT)
    outcome = run("add", index, notes, "--watch", "--sync")
    thread.join()
    assert outcome.code == 0, outcome.err
    assert said == ["another process writes"]
    assert [line.split("  ", 1)[1] for line in lines] == [
        f"1 added  ({notes}/b.md)", f"1 rejected  ({notes}/c.pdf)", f"1 removed  ({notes}/b.md)",
    ]  # fmt: skip
    assert VectorIndex.open(index).manifest.documents == 1
    assert signal.getsignal(signal.SIGINT) is before
    outcome = run("add", index, notes / "a.md", "--watch", "--model", tmp_path / "none")  # before a model is loaded
    assert outcome.code == 2 and "is no folder" in outcome.err


def test_what_was_refused_is_read_again_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from searchapp.cli.following import Following
    from searchapp.index import AddSettings

    given: list[AddSettings] = []
    monkeypatch.setattr("searchapp.shards.noted.add", lambda *arguments: given.append(arguments[-1]) or last)
    stop, last = threading.Event(), SimpleNamespace(added=0, changed=0, removed=0, rejected=0)
    watcher = SimpleNamespace(changes=lambda: iter([{"a.md"}, {"b.md"}]))
    asked = AddSettings(names=("n",), sync=True, retry_refused=True)  # of the add before it follows
    Following(tmp_path, watcher, stop).go_on(["notes"], None, asked, last, as_json=False)
    assert given == [AddSettings(sync=True)] * 2


def test_a_dry_run_cannot_be_followed(run, tmp_path: Path) -> None:
    outcome = run("add", tmp_path / "none", tmp_path, "--watch", "--dry-run")
    assert outcome.code == 2 and "give one of them" in outcome.err
