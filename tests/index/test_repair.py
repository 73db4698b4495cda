"""Every kind of damage is found, said with the command that mends it, and mended by that command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from searchapp.errors import IndexStoreError
from searchapp.index import VectorIndex, verify
from searchapp.index.storage.snapshot import Snapshot
from tests.index.conftest import HashEncoder
from tests.index.handed import add, build, delete, repair
from tests.index.power import Unsynced
from tests.index.test_power import state_of


@pytest.fixture
def index(tmp_path: Path, corpus, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index with every kind of file: reduced, added to, deleted from, with rejected records."""
    monkeypatch.setattr("tests.index.handed.make_disk", Unsynced)
    build([str(corpus(40))], tmp_path / "ix", HashEncoder(), segment_size=16, pca=6)
    more = tmp_path / "more.jsonl"
    rows = [{"_id": f"d{i}", "text": f"new {i}", "n": i} for i in range(36, 44)]
    more.write_text("\n".join(json.dumps(row) for row in rows) + "\n{broken\n")
    add([str(more)], tmp_path / "ix", HashEncoder())
    delete(tmp_path / "ix", ["d3", "d40"])
    delete(tmp_path / "ix", ["d4"])
    return tmp_path / "ix"


def hits(root: Path) -> list[tuple[str, float]]:
    opened = VectorIndex.open(root)
    scores, rows = opened.search_vectors(HashEncoder().vector("a query"), 60)
    return [
        (opened.rows.read(int(row)).id, round(float(score), 4)) for score, row in zip(scores[0], rows[0], strict=True)
    ]


def mended(root: Path, sources: tuple[str, ...] = ()) -> HashEncoder:
    encoder = HashEncoder()
    repair(root, lambda _: encoder, sources)
    assert verify(root) == []
    return encoder


def hurt(path: Path, damage: str) -> None:
    raw = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    else:
        raw[len(raw) // 3] ^= 16
        path.write_bytes(raw)


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_each_file_that_is_hurt_is_found_and_mended(index: Path, damage: str, tmp_path: Path) -> None:
    before, want = state_of(index), hits(index)
    newest = Snapshot.open(index).manifest
    files = [f"manifest-{newest.number:010d}.json", "rejected.jsonl", *(f"data/{name}" for name in newest.files)]
    kinds = {name.split("/")[-1].split("-")[0] for name in files}
    assert {"rows", "vectors", "marks", "deleted", "rejected", "faiss", "pca"} <= kinds
    for name in files:
        if (name, damage) == ("rejected.jsonl", "missing"):
            continue  # as after a stop between two steps: it is written by the next command
        copy = tmp_path / "hurt"
        shutil.copytree(index, copy)
        hurt(copy / name, damage)
        problems = verify(copy)
        assert any(Path(name).name in problem for problem in problems), name
        assert all(f"searchapp verify {copy} --repair" in problem for problem in problems), problems
        encoder = mended(copy)
        assert state_of(copy) == before, name
        assert hits(copy) == want, name
        kind = Path(name).name.split("-")[0]
        assert bool(encoder.encoded) == (kind == "vectors"), "only lost vectors are encoded"
        shutil.rmtree(copy)


def test_any_flipped_byte_is_found_and_mended(index: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    want = hits(index)
    for number in range(40):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(index, copy)
        files = [path for path in sorted(copy.rglob("*")) if path.is_file() and path.stat().st_size]
        path = files[rng.integers(len(files))]
        raw = bytearray(path.read_bytes())
        raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
        path.write_bytes(raw)
        assert any(path.name in problem for problem in verify(copy)), path.name
        mended(copy)
        assert hits(copy) == want
        shutil.rmtree(copy)


def test_lost_documents_come_back_from_their_source_alone(index: Path, tmp_path: Path) -> None:
    manifest = Snapshot.open(index).manifest
    before = state_of(index)
    (index / "data" / manifest.segments[0].documents_file).unlink()
    (tmp_path / "docs.jsonl").rename(tmp_path / "moved.jsonl")
    with pytest.raises(IndexStoreError, match=r"14 of 14 documents that are lost are in none of the sources.*--repair"):
        repair(index, lambda _: HashEncoder())
    encoder = mended(index, (str(tmp_path / "moved.jsonl"),))
    assert encoder.encoded == []
    assert state_of(index) == before


def test_a_source_that_changed_gives_the_changed_document(index: Path, tmp_path: Path) -> None:
    manifest = Snapshot.open(index).manifest
    (index / "data" / manifest.segments[1].documents_file).unlink()
    text = (tmp_path / "docs.jsonl").read_text().replace("text number 20", "another text")
    (tmp_path / "docs.jsonl").write_text(text)
    encoder = mended(index)
    assert encoder.encoded == ["title 20 another text"]
    assert state_of(index)["d20"][0] == "another text"


def test_with_no_manifest_and_no_copy_the_state_before_is_put_in_place_and_that_is_said(index: Path) -> None:
    newest = Snapshot.open(index).manifest.number
    for ending in ("json", "copy"):
        hurt(index / f"manifest-{newest:010d}.{ending}", "flipped")
    with pytest.raises(IndexStoreError, match="damaged.*--repair"):
        delete(index, ["d5"])
    assert any("goes back to the state before" in problem for problem in verify(index))
    done = repair(index, lambda _: HashEncoder())
    assert any(f"generation {newest - 1}" in line for line in done.mended)
    assert verify(index) == []
    assert "d4" in state_of(index)


def test_both_tombstone_files_gone_is_said(index: Path) -> None:
    for path in (index / "data").glob("deleted-*"):
        path.unlink()
    with pytest.raises(IndexStoreError, match="both copies of the deletions.*--overwrite"):
        repair(index, lambda _: HashEncoder())


def test_a_sound_index_is_not_hurt_by_a_repair(index: Path) -> None:
    before = hits(index)
    assert repair(index, lambda _: HashEncoder()).mended == []
    assert hits(index) == before
