"""Damage is found: every flipped byte, every missing or cut file; and a second writer is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from searchapp.errors import IndexStoreError
from searchapp.index import VectorIndex, verify
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from tests.index.conftest import HashEncoder
from tests.index.handed import add, build, delete
from tests.index.power import Unsynced


@pytest.fixture
def index(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> Path:
    build([str(corpus())], tmp_path / "ix", hash_encoder, segment_size=20, pca=6)
    return tmp_path / "ix"


@pytest.fixture
def every_kind(tmp_path: Path, corpus, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index with every kind of file: trained, reduced, added to, deleted from, and an add that was stopped."""

    class Dies(HashEncoder):
        def encode_counted(self, texts, *args, **options):
            if self.encoded:
                raise KeyboardInterrupt
            return super().encode_counted(texts, *args, **options)

    monkeypatch.setattr("tests.index.handed.make_disk", Unsynced)
    build([str(corpus(40))], tmp_path / "ix", HashEncoder(), segment_size=16, factory="IVF2,SQ8", pca=6)
    (tmp_path / "more.jsonl").write_text('{"_id": "d3", "text": "new"}\n{broken\n{"_id": "n", "text": "newer"}\n')
    add([str(tmp_path / "more.jsonl")], tmp_path / "ix", HashEncoder())
    with pytest.raises(KeyboardInterrupt):
        add([str(corpus(60, "most.jsonl"))], tmp_path / "ix", Dies(), segment_size=8)
    delete(tmp_path / "ix", ["d5"])
    return tmp_path / "ix"


def test_every_flipped_byte_is_found(every_kind: Path) -> None:
    """Of any file of any state that is kept: 5 in each, the rest of 500 in random ones."""
    assert verify(every_kind) == []
    rng = np.random.default_rng(0)
    files = sorted(path for path in every_kind.rglob("*") if path.is_file() and path.stat().st_size)
    manifest = Snapshot.open(every_kind).manifest
    assert manifest.staged is not None and manifest.tombstones is not None
    kinds = {path.name.split("-")[0] for path in files} | {path.suffix for path in files}
    assert kinds >= {"rows", "vectors", "marks", "deleted", "rejected", "faiss", "pca", "probes", "lexical"}
    assert kinds >= {"manifest", ".json", ".copy", ".jsonl"}
    chosen = [path for path in files for _ in range(5)]
    chosen += [files[number] for number in rng.integers(len(files), size=500 - len(chosen))]
    assert len(chosen) == 500
    for path in chosen:
        raw = path.read_bytes()
        place, bit = int(rng.integers(len(raw))), 1 << int(rng.integers(8))
        path.write_bytes(raw[:place] + bytes([raw[place] ^ bit]) + raw[place + 1 :])
        assert any(path.name in problem for problem in verify(every_kind)), (path.name, place)
        path.write_bytes(raw)
    assert verify(every_kind) == []


def test_a_damaged_newest_manifest_is_passed_over_and_said(index: Path) -> None:
    newest = max(index.glob("manifest-*.json"))
    newest.write_bytes(newest.read_bytes()[:-1])
    assert any("checksum" in problem for problem in verify(index))
    assert Snapshot.open(index).notices


@pytest.mark.parametrize("kind", ["rows", "vectors"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_hurt_segment_is_refused_with_the_way_out(index: Path, kind: str, damage: str) -> None:
    path = next((index / "data").glob(f"{kind}-*"))
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(IndexStoreError, match=rf"{path.name}.*--overwrite"):
        VectorIndex.open(index)


def test_a_lost_derived_file_is_made_again_by_the_same_command(index: Path, tmp_path: Path) -> None:
    for kind in ("faiss", "pca"):
        next((index / "data").glob(f"{kind}-*")).unlink()
        with pytest.raises(IndexStoreError, match=r"is not ready.*is missing.*same `searchapp build` again"):
            VectorIndex.open(index)
        encoder = HashEncoder()
        build([str(tmp_path / "docs.jsonl")], index, encoder, pca=6)
        assert encoder.encoded == []
        assert verify(index) == []


def test_a_directory_with_other_things_is_refused(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(IndexStoreError, match="is no index"):
        build([str(corpus())], tmp_path / "photos", hash_encoder)
    with pytest.raises(IndexStoreError, match="is not an index"):
        VectorIndex.open(tmp_path / "photos")
    with pytest.raises(IndexStoreError, match="does not exist"):
        VectorIndex.open(tmp_path / "nowhere")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]


def test_a_wholly_damaged_index_is_not_thrown_away(index: Path, tmp_path: Path) -> None:
    for manifest in index.glob("manifest-*"):
        manifest.write_text("gone")
    before = sorted(path.name for path in (index / "data").iterdir())
    with pytest.raises(IndexStoreError, match="damaged.*--overwrite"):
        build([str(tmp_path / "docs.jsonl")], index, HashEncoder(), pca=6)
    assert sorted(path.name for path in (index / "data").iterdir()) == before


def test_a_second_writer_is_refused_with_the_first_ones_pid(index: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from searchapp.index.storage.writer import Writer\n"
        f"with Writer.open(Path({str(index)!r})):\n print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ})
    try:
        assert holder.stdout.readline().strip() == b"held"
        with pytest.raises(IndexStoreError, match=f"process {holder.pid}"), Writer.open(index):
            pass
        assert VectorIndex.open(index).manifest.rows == 50  # readers never wait
    finally:
        holder.kill()
        holder.wait()
    deadline = time.time() + 5
    while time.time() < deadline:
        with Writer.open(index):
            break


def test_a_reader_keeps_its_state_while_a_writer_moves_on(index: Path, tmp_path: Path) -> None:
    reader = VectorIndex.open(index)
    query = HashEncoder().vector("title 7 text number 7")
    before = reader.search_vectors(query, 5)
    build([str(tmp_path / "docs.jsonl")], index, HashEncoder(), pca=None)
    build([str(tmp_path / "docs.jsonl")], index, HashEncoder(), pca=3)
    build([str(tmp_path / "docs.jsonl")], index, HashEncoder(), pca=4)
    after = reader.search_vectors(query, 5)
    np.testing.assert_array_equal(before[1], after[1])
    assert reader.rows.read(int(after[1][0, 0])).id == "d7"
