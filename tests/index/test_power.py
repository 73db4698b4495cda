"""Power losses during every command that writes: the index is then the old or the new one, sound, and can go on."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from searchapp.errors import IndexStoreError
from searchapp.index import VectorIndex, verify
from searchapp.index.ann.calibration import OperatingPoint
from searchapp.index.storage.snapshot import Snapshot
from tests.index.conftest import HashEncoder
from tests.index.handed import add, build, compact, delete, reindex, settle
from tests.index.power import LosingDisk, PowerLoss, Unsynced

Operation = Callable[[Path], object]
State = dict[str, tuple[str, int]]
TUNED = 17  # candidates: a number that nothing else than the tuning here comes to
NAMES = ("build", "add", "fold", "delete", "compact", "reindex", "tune")
STRIDES = {"build": 11, "add": 5, "fold": 11, "compact": 3, "reindex": 2}  # each step is the slow test's
FACTORIES = ("Flat", "RR,RaBitQfs", "IVF2,SQ8", "HNSW8,SQ8")


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


def seen(root: Path) -> tuple[State, tuple[object, ...]] | None:
    """The documents and what they are searched with; None where a first build has not come to its end."""
    try:
        manifest = VectorIndex.open(root).manifest
    except IndexStoreError:
        return None
    assert manifest.ann is not None
    kind = manifest.ann.factory, manifest.reduction and manifest.reduction.dim, manifest.ann.candidates == TUNED
    return state_of(root), kind


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return made(tmp_path, monkeypatch, "Flat")


def made(folder: Path, patch: pytest.MonkeyPatch, factory: str) -> Path:
    """An index that has been built, added to and deleted from; the files of its generation are few and small."""
    patch.setattr("tests.index.handed.make_disk", Unsynced)
    patch.setattr("searchapp.index.ann.queries.PROBES", 5)
    first = _write(folder / "docs.jsonl", [{"_id": f"d{i}", "text": f"text {i}", "n": i} for i in range(20)])
    pca = None if factory == "Flat" else 8
    build([first], folder / "ix", HashEncoder(), segment_size=8, factory=factory, pca=pca)
    more = _write(folder / "more.jsonl", [{"_id": f"d{i}", "text": f"new {i}", "n": i} for i in range(15, 25)])
    add([more, _write(folder / "bad.jsonl", [{"_id": "worse"}])], folder / "ix", HashEncoder(), segment_size=8)
    delete(folder / "ix", ["d3", "d16"])
    return folder


def operations(base: Path) -> dict[str, Operation]:
    rows = [{"_id": f"d{i}", "text": f"newer {i}", "n": -i} for i in range(18, 32)] + [{"_id": "bad"}]
    update = _write(base / "update.jsonl", rows)
    first = str(base / "docs.jsonl")

    def folding(root: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("searchapp.index.extend.FRESH_NUMBERS", 1)
            add([update], root, HashEncoder(), segment_size=4)

    def tuned(root: Path) -> None:
        settle(root, Snapshot.open(root).manifest, OperatingPoint({}, TUNED, 0.5, 1.0), 5)

    return {
        "build": lambda root: build([first, update], root, HashEncoder(), segment_size=8, factory="IVF2,SQ8", pca=6),
        "add": lambda root: add([update], root, HashEncoder(), segment_size=4),
        "fold": folding,
        "delete": lambda root: delete(root, ["d5", "d17", "d19"]),
        "compact": lambda root: compact(root, segment_size=8),
        "reindex": lambda root: reindex(root, pca=6, factory="SQ8"),
        "tune": tuned,
    }


def stopped(base: Path, name: str, run: Operation, disk_of: Callable[[Path], LosingDisk]) -> tuple[Path, LosingDisk]:
    """Run an operation on a copy of the index, a build on none, with a disk that may stop it."""
    root = base / "copy"
    shutil.rmtree(root, ignore_errors=True)
    if name != "build":
        shutil.copytree(base / "ix", root)
    disk = disk_of(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.index.handed.make_disk", lambda: disk)
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
    old = None if name == "build" else seen(base / "ix")
    whole, disk = stopped(base, name, run, lambda root: LosingDisk(root, 0))
    new, steps = seen(whole), disk.steps
    assert new is not None and new[0]
    assert name == "compact" or old != new
    count = bad = 0
    for step in [*range(1, steps + 1, stride), steps + 1]:
        for seed in range(seeds if step <= steps else seeds + 4):  # once it has ended, nothing of it may be lost
            root, disk = stopped(base, name, run, lambda root, step=step: LosingDisk(root, step, forget))
            disk.lose(random.Random(1000 * step + seed))
            count += 1
            try:
                between = [(new[0], old[1])] if name == "fold" and old else []  # added, and not yet folded in
                found = seen(root)
                assert found in ([old, *between, new] if step <= steps else [new])
                assert found is None or verify(root) == []
                run(root)
                assert seen(root) == new
                assert verify(root) == []
                assert name in ("add", "delete", "tune") or Snapshot.open(root).manifest.unindexed_rows == 0
            except Exception:
                if not forget:
                    raise
                bad += 1
    return count, bad


@pytest.mark.parametrize("name", NAMES)
def test_a_power_loss_at_any_step_leaves_the_old_state_or_the_new(base: Path, name: str) -> None:
    count, _ = losses(base, name, seeds=1, stride=STRIDES.get(name, 1))
    assert count > 20


@pytest.mark.parametrize("name", NAMES)
def test_a_power_loss_leaves_the_old_trained_index_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    losses(made(tmp_path, monkeypatch, "IVF2,SQ8"), name, seeds=1, stride=17)


@pytest.mark.parametrize("forget", ["directories", "files"])
@pytest.mark.parametrize("name", ["build", "add"])
def test_an_index_that_left_out_a_sync_would_be_noticed(base: Path, name: str, forget: str) -> None:
    count, bad = losses(base, name, seeds=1, forget=forget, stride=15)
    assert bad > count / 10


@pytest.mark.slow
def test_three_thousand_power_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {}
    for factory in FACTORIES:
        folder = tmp_path / factory
        folder.mkdir()
        made(folder, monkeypatch, factory)
        for name in NAMES:
            counts[factory, name], _ = losses(folder, name, seeds=2)
    assert sum(counts.values()) >= 3000, counts
