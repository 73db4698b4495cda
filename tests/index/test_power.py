"""Power losses and kills during updates: the index is then exactly the old or the new one, sound, and can go on."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from searchapp.index import VectorIndex, add, build, compact, delete, verify
from tests.index.conftest import HashEncoder
from tests.index.power import LosingDisk, PowerLoss, Unsynced

Operation = Callable[[Path], object]
State = dict[str, tuple[str, int]]


def _write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def state_of(root: Path) -> State:
    """Every document, read and also found by searching for all of them."""
    index = VectorIndex.open(root)
    vector = HashEncoder().vector("a query")
    _, rows = index.search_vectors(vector, 1000)
    found = [index.rows.read(int(row)) for row in rows[0]]
    documents = {item.id: (item.text, item.metadata.get("n", 0)) for item in found}
    assert len(documents) == len(found) == index.manifest.documents
    assert set(documents) == {name for name in index.ids() if name is not None}
    return documents


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index that has been built, added to and deleted from; the files of its generation are few and small."""
    monkeypatch.setattr("searchapp.index.store.Disk", Unsynced)
    first = _write(tmp_path / "docs.jsonl", [{"_id": f"d{i}", "text": f"text {i}", "n": i} for i in range(20)])
    build([first], tmp_path / "ix", HashEncoder(), segment_size=8)
    more = _write(tmp_path / "more.jsonl", [{"_id": f"d{i}", "text": f"new {i}", "n": i} for i in range(15, 25)])
    add([more], tmp_path / "ix", HashEncoder(), segment_size=8)
    delete(tmp_path / "ix", ["d3", "d16"])
    return tmp_path


def operations(base: Path) -> dict[str, Operation]:
    rows = [{"_id": f"d{i}", "text": f"newer {i}", "n": -i} for i in range(18, 32)] + [{"_id": "bad"}]
    update = _write(base / "update.jsonl", rows)
    first = str(base / "docs.jsonl")
    return {
        "add": lambda root: add([update], root, HashEncoder(), segment_size=4),
        "delete": lambda root: delete(root, ["d5", "d17", "d19"]),
        "compact": lambda root: compact(root, segment_size=8),
        "reindex": lambda root: build([first], root, HashEncoder(), pca=6),
    }


def stopped(base: Path, run: Operation, disk_of: Callable[[Path], LosingDisk]) -> tuple[Path, LosingDisk]:
    """Run an operation on a copy of the index with a disk that may stop it."""
    root = base / "copy"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(base / "ix", root)
    disk = disk_of(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("searchapp.index.store.Disk", lambda: disk)
        try:
            run(root)
        except PowerLoss:
            pass
    return root, disk


def look(root: Path, run: Operation, allowed: list[State], new: State) -> None:
    """The index has one of the allowed states, and the operation can be run again."""
    assert state_of(root) in allowed
    assert verify(root) == []
    run(root)
    assert state_of(root) == new
    assert verify(root) == []


def losses(base: Path, name: str, seeds: int, forget: str = "", stride: int = 1) -> tuple[int, int]:
    """Stop an operation at all of its steps, with several losses at each: how many there were, how many ended badly."""
    run = operations(base)[name]
    old = state_of(base / "ix")
    whole, disk = stopped(base, run, lambda root: LosingDisk(root, 0))
    new, steps = state_of(whole), disk.steps
    assert name in ("compact", "reindex") or old != new
    count = bad = 0
    for step in range(1, steps + 2, stride):
        for seed in range(seeds):
            root, disk = stopped(base, run, lambda root, step=step: LosingDisk(root, step, forget))
            disk.lose(random.Random(1000 * step + seed))
            count += 1
            try:
                look(root, run, [old, new] if step <= steps else [new], new)
            except Exception:
                if not forget:
                    raise
                bad += 1
    return count, bad


@pytest.mark.parametrize("name", ["add", "delete", "compact", "reindex"])
def test_a_power_loss_at_any_step_leaves_the_old_state_or_the_new(base: Path, name: str) -> None:
    count, _ = losses(base, name, seeds=1)
    assert count > 20


@pytest.mark.parametrize("forget", ["directories", "files"])
def test_an_index_that_left_out_a_sync_would_be_noticed(base: Path, forget: str) -> None:
    count, bad = losses(base, "add", seeds=1, forget=forget, stride=5)
    assert bad > count / 10


@pytest.mark.slow
def test_three_thousand_power_losses(base: Path) -> None:
    counts = {}
    for name in ("add", "delete", "compact", "reindex"):
        counts[name], _ = losses(base, name, seeds=12)
    assert sum(counts.values()) >= 3000
