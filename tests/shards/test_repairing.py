"""Damage to a file of a shard is mended from what is left, and published as a generation; a root that is sound stays."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from searchapp.errors import IndexStoreError
from searchapp.index.storage.directory import Disk
from searchapp.shards.checking import examine
from searchapp.shards.opening import open_root
from searchapp.shards.place import LocalPlace
from searchapp.shards.repairing import repair
from searchapp.shards.root import load_root
from tests.index.conftest import HashEncoder
from tests.index.test_repair import hurt
from tests.shards.test_remaking import pair


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Disk, "sync", lambda *_: None)
    monkeypatch.setattr(Disk, "sync_directory", lambda *_: None)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pair(tmp_path_factory.mktemp("sound"))[1]


def contents(root: Path) -> tuple[list[str | None], np.ndarray, list[int]]:
    index = open_root(root)
    rows = np.flatnonzero(~index.snapshot.deleted)
    return index.ids().tolist(), index.vectors.stored(rows), index.lexical.search("number 7", 9)[1].tolist()


@pytest.mark.parametrize(
    ("kind", "damage"),
    [("vectors", "missing"), ("flat", "cut"), ("marks", "flipped"), ("lexical", "missing"), ("files", "cut"),
     ("deleted", "flipped")],
)  # fmt: skip
def test_a_damaged_file_is_mended(sound: Path, tmp_path: Path, kind: str, damage: str) -> None:
    root = tmp_path / "root"
    shutil.copytree(sound, root)
    snapshot = open_root(root).snapshot
    before = load_root(LocalPlace(root))
    manifest = snapshot.parts[0].manifest
    named = {"flat": manifest.ann.file, "lexical": manifest.postings()[0], "deleted": manifest.tombstones.file}
    named["files"] = manifest.ledger[0] if manifest.ledger else manifest.segments[0].hashes_file
    file = named.get(kind) or next(name for name in manifest.files if name.startswith(kind))
    wanted = contents(root)
    del snapshot
    hurt(root / before.shards[0].folder / "data" / file, damage)
    encoder = HashEncoder()
    done = repair(root, lambda _: encoder)
    assert done.mended and all(text.startswith("s0000: ") for text in done.mended)
    assert len(encoder.encoded) == done.encoded == (0 if kind != "vectors" else 9)  # one is deleted
    after = load_root(LocalPlace(root))
    assert after.generation == before.generation + 1
    assert after.shards[1:] == before.shards[1:]
    assert after.statistics == before.statistics
    assert examine(root).problems == ()
    for one, other in zip(contents(root), wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    assert repair(root, lambda _: encoder).mended == []
    assert load_root(LocalPlace(root)) == after


def test_a_manifest_is_put_in_place_from_its_copy(sound: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(sound, root)
    before = load_root(LocalPlace(root))
    hurt(root / before.shards[1].file, "flipped")
    assert repair(root, lambda _: HashEncoder()).mended == ["s0001: manifest 1 put in place from its copy"]
    assert load_root(LocalPlace(root)) == before
    assert examine(root).problems == ()
    hurt(root / before.shards[1].file, "missing")
    hurt((root / before.shards[1].file).with_suffix(".copy"), "cut")
    with pytest.raises(IndexStoreError, match="of the shard s0001 is lost"):
        repair(root, lambda _: HashEncoder())


def test_what_cannot_be_mended_leaves_the_root_as_it_was(sound: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(sound, root)
    before, folders = load_root(LocalPlace(root)), {path.name for path in (root / "shards").iterdir()}
    names = [path.name for path in (root / before.shards[2].folder / "data").iterdir()]
    hurt(root / before.shards[2].folder / "data" / next(one for one in names if one.startswith("rows")), "missing")
    (sound.parent / "docs.jsonl").rename(tmp_path / "away.jsonl")
    try:
        with pytest.raises(IndexStoreError, match=f"nothing was changed: .*verify {root} --repair"):
            repair(root, lambda _: HashEncoder())
        assert {path.name for path in (root / "shards").iterdir()} == folders
        assert load_root(LocalPlace(root)) == before
        assert repair(root, lambda _: HashEncoder(), [str(tmp_path / "away.jsonl")]).mended
    finally:
        (tmp_path / "away.jsonl").rename(sound.parent / "docs.jsonl")
    assert examine(root).problems == ()
