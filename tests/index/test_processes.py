"""Processes that are really killed, and processes that read while another writes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from searchapp.errors import IndexStoreError
from searchapp.index import VectorIndex
from searchapp.index.storage.commits import commits
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from tests.index.conftest import HashEncoder
from tests.index.handed import add, build, compact, delete
from tests.index.power import Unsynced
from tests.index.test_power import base, look, operations, state_of

__all__ = ["base"]


def forked(work: Callable[[], object]) -> int:
    """Run something in a process of its own; its exit code is 0 only if it came to its end."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def kills(base: Path, name: str, count: int, enough: int | None = None) -> int:
    """Kill an operation at random moments, ``count`` times or until ``enough`` were not over before; how many were."""
    run = operations(base)[name]
    old = state_of(base / "ix")
    shutil.copytree(base / "ix", base / name)
    began = time.perf_counter()
    run(base / name)
    took, new = time.perf_counter() - began, state_of(base / name)
    rng, killed = random.Random(name), 0
    for _ in range(count):
        root = base / "copy"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(base / "ix", root)
        child = forked(lambda root=root: run(root))
        time.sleep(rng.random() * took)
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        killed += os.WIFSIGNALED(status)
        look(root, run, [old, new] if os.WIFSIGNALED(status) else [new], new)
        if killed == enough:
            break
    return killed


@pytest.mark.parametrize("name", ["add", "delete", "compact", "reindex"])
def test_a_killed_update_leaves_the_old_state_or_the_new(base: Path, name: str) -> None:
    kills(base, name, 4)


@pytest.mark.slow
def test_two_hundred_kills(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each operation fifty are killed before they are over, however many it takes to begin."""
    monkeypatch.setattr("tests.index.handed.make_disk", Disk)
    for name in ("add", "delete", "compact", "reindex"):
        assert kills(base, name, 200, enough=50) == 50


def test_readers_see_one_generation_while_a_writer_changes_every_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each add gives all documents the same number: a reader that sees two of them has seen a mixture."""
    monkeypatch.setattr("tests.index.handed.make_disk", Unsynced)
    source, root, done = tmp_path / "docs.jsonl", tmp_path / "ix", tmp_path / "done"

    def write(number: int) -> str:
        rows = [{"_id": f"d{i}", "text": f"text {i} of {number}", "n": number} for i in range(30)]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(source)

    build([write(0)], root, HashEncoder(), segment_size=8)

    def read() -> None:
        rounds, last = 0, 0
        while not done.exists() or rounds < 3:
            state = state_of(root)
            numbers = {number for _, number in state.values()}
            assert len(numbers) == 1, numbers
            assert len(state) in (30, 29)
            assert max(numbers) >= last, "a reader went back"
            last, rounds = max(numbers), rounds + 1

    readers = [forked(read) for _ in range(2)]
    for number in range(1, 13):
        add([write(number)], root, HashEncoder(), segment_size=8)
        if number % 3 == 0:
            compact(root)
        if number % 4 == 0:
            delete(root, ["d7"])
    done.write_text("")
    assert [os.waitpid(reader, 0)[1] for reader in readers] == [0, 0]


def test_a_reader_whose_list_of_states_is_out_of_date_looks_again(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all the states it had listed were gone by the time it read them."""
    lists = iter([[], [], None])
    monkeypatch.setattr(
        "searchapp.index.storage.snapshot.commits",
        lambda root: iter(found) if (found := next(lists)) == [] else commits(root),
    )
    assert Snapshot.open(base / "ix").manifest is not None
    with pytest.raises(StopIteration):
        next(lists)


def test_a_second_writer_is_refused_with_the_pid_and_readers_go_on(base: Path) -> None:
    def hold() -> None:
        with Writer.update(base / "ix"):
            (base / "held").write_text("")
            time.sleep(60)

    holder = forked(hold)
    try:
        deadline = time.time() + 30
        while not (base / "held").exists() and time.time() < deadline:
            time.sleep(0.01)
        for run in operations(base).values():
            with pytest.raises(IndexStoreError, match=f"is being written by process {holder};"):
                run(base / "ix")
        assert VectorIndex.open(base / "ix").manifest.documents == 23
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    delete(base / "ix", ["d0"])  # the lock of a killed process is gone with it
