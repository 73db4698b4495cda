"""Faults found by review, each with the state it must leave behind."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from searchapp.errors import IndexStoreError, SearchAppError
from searchapp.index import Filter, VectorIndex, verify
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.documents import DocumentStore
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from tests.index.conftest import HashEncoder
from tests.index.handed import build
from tests.index.test_build import QUERIES, Stop, StoppingDisk, hits


def test_overwriting_a_torn_index_leaves_a_good_one(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    path = str(corpus())
    build([path], tmp_path / "ix", hash_encoder, segment_size=20)
    for manifest in (tmp_path / "ix").glob("manifest-*.json"):
        manifest.write_bytes(manifest.read_bytes()[:-9])
    build([path], tmp_path / "ix", hash_encoder, segment_size=20, overwrite=True)
    assert verify(tmp_path / "ix") == []
    assert VectorIndex.open(tmp_path / "ix").manifest.rows == 50


@pytest.mark.parametrize("factory", ["HNSW16", "IVF4,SQ8"])
def test_a_disk_that_fills_inside_faiss_commits_nothing(
    tmp_path: Path, corpus, factory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(corpus(200))

    class FullDisk(Disk):
        def create(self, path):
            made = super().create(path)
            if path.name.startswith("faiss-"):
                enter = made.__enter__

                def failing():
                    draft = enter()

                    def write(_):
                        raise OSError(errno.ENOSPC, "No space left on device")

                    draft.write = write
                    return draft

                made.__enter__ = failing  # type: ignore[method-assign]
                return _Entering(made, failing)
            return made

    class _Entering:
        def __init__(self, made, enter) -> None:
            self.made, self.enter = made, enter

        def __enter__(self):
            return self.enter()

        def __exit__(self, *error):
            return self.made.__exit__(*error)

    monkeypatch.setattr("tests.index.handed.make_disk", FullDisk)
    with pytest.raises(IndexStoreError, match="no space left"):
        build([path], tmp_path / "ix", HashEncoder(), factory=factory)
    monkeypatch.setattr("tests.index.handed.make_disk", Disk)
    assert Snapshot.open(tmp_path / "ix").manifest.state == "encoded"
    again = HashEncoder()
    build([path], tmp_path / "ix", again, factory=factory)
    assert again.encoded == []
    assert verify(tmp_path / "ix") == []


def test_a_foreign_directory_with_a_lock_is_left_alone(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    database = tmp_path / "db"
    (database / "data").mkdir(parents=True)
    for name in ("LOCK", "data/precious.txt", "tmp-mine"):
        (database / name).write_text("mine")
    with pytest.raises(IndexStoreError, match="is no index"):
        build([str(corpus())], database, hash_encoder)
    assert sorted(path.name for path in database.rglob("*")) == ["LOCK", "data", "precious.txt", "tmp-mine"]


def test_foreign_files_inside_an_index_are_never_removed(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    path = str(corpus())
    build([path], tmp_path / "ix", hash_encoder)
    (tmp_path / "ix" / "data" / "notes").mkdir()
    (tmp_path / "ix" / "data" / "notes.txt").write_text("mine")
    build([path], tmp_path / "ix", hash_encoder, pca=4)
    assert (tmp_path / "ix" / "data" / "notes.txt").read_text() == "mine"


def test_an_overwrite_keeps_the_old_index_until_the_new_one_is_ready_and_resumes(
    tmp_path: Path, corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(corpus(30))
    build([path], tmp_path / "ix", HashEncoder(), segment_size=8)
    new = str(corpus(40, "new.jsonl"))
    for step in (12, 20, 28):
        disk = StoppingDisk(step)
        monkeypatch.setattr("tests.index.handed.make_disk", lambda disk=disk: disk)
        with pytest.raises(Stop):
            build([new], tmp_path / "ix", HashEncoder("new"), segment_size=5, overwrite=True)
        monkeypatch.setattr("tests.index.handed.make_disk", Disk)
        old = VectorIndex.open(tmp_path / "ix")
        assert old.manifest.rows == 30
        assert any("unfinished build" in notice for notice in old.snapshot.notices)
        assert hits(tmp_path / "ix", HashEncoder(), QUERIES[:1])[0][0][0] == "d3"
    done = Snapshot.open(tmp_path / "ix").manifest.rows
    assert done > 0
    again = HashEncoder("new")
    build([new], tmp_path / "ix", again, segment_size=5, overwrite=True)
    assert len(again.encoded) == 40 - done
    assert VectorIndex.open(tmp_path / "ix").manifest.rows == 40
    assert verify(tmp_path / "ix") == []


def test_one_odd_value_does_not_spoil_a_filter(tmp_path: Path, hash_encoder: HashEncoder) -> None:
    years = [2021, 2022, "n.d.", 2019, None, 10**25, 2020.5, True, [2021]]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(json.dumps({"_id": str(i), "text": f"t {i}", "year": y}) for i, y in enumerate(years)))
    build([str(path)], tmp_path / "ix", hash_encoder)
    index = VectorIndex.open(tmp_path / "ix")

    def passing(expression: str) -> list[int]:
        return np.flatnonzero(Filter(expression).mask(index.rows.fields())).tolist()

    assert passing("year >= 2020") == [0, 1, 5, 6]
    assert passing('year == "n.d."') == [2]
    assert passing("year == true") == [7]
    assert passing("year < 99999999999999999999") == [0, 1, 3, 6]


def test_large_integers_are_compared_exactly_or_as_floats(tmp_path: Path, hash_encoder: HashEncoder) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(
        "\n".join(json.dumps({"_id": str(i), "text": "t", "n": n}) for i, n in enumerate([2**53 + 1, 5, 2]))
    )
    build([str(path)], tmp_path / "ix", hash_encoder)
    fields = VectorIndex.open(tmp_path / "ix").rows.fields()
    assert Filter(f"n == {2**53 + 1}").mask(fields).tolist() == [True, False, False]
    assert Filter(f"n == {2**53}").mask(fields).tolist() == [False, False, False]
    assert Filter("n > 2.5").mask(fields).tolist() == [True, True, False]
    with pytest.raises(SearchAppError):
        Filter("not " * 3000 + "n == 1")


def test_lists_are_named_as_what_they_are(tmp_path: Path, hash_encoder: HashEncoder) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"_id": "a", "text": "t", "tags": ["x"]}')
    build([str(path)], tmp_path / "ix", hash_encoder)
    with pytest.raises(SearchAppError, match="'tags'.*lists or objects"):
        Filter('tags == "x"').mask(VectorIndex.open(tmp_path / "ix").rows.fields())


def test_a_flipped_derived_file_is_mended_by_the_same_command(
    tmp_path: Path, corpus, hash_encoder: HashEncoder
) -> None:
    path = str(corpus())
    build([path], tmp_path / "ix", hash_encoder, pca=4)
    for part in ("ann", "reduction"):
        file = tmp_path / "ix" / "data" / getattr(Snapshot.open(tmp_path / "ix").manifest, part).file
        raw = bytearray(file.read_bytes())
        raw[-5] ^= 4
        file.write_bytes(raw)
        assert verify(tmp_path / "ix")
        again = HashEncoder()
        build([path], tmp_path / "ix", again, pca=4)
        assert again.encoded == []
        assert verify(tmp_path / "ix") == []


def test_an_opened_index_is_never_pulled_away(tmp_path: Path, corpus) -> None:
    path = str(corpus())
    build([path], tmp_path / "ix", HashEncoder())
    reader = VectorIndex.open(tmp_path / "ix")  # nothing of it is read yet
    for pca in (3, 4, 5):
        build([path], tmp_path / "ix", HashEncoder(), pca=pca)
    other = str(corpus(9, "o.jsonl"))
    build([other], tmp_path / "ix", HashEncoder(), overwrite=True)
    scores, rows = reader.search_vectors(HashEncoder().vector("title 7 text number 7"), 50)
    assert reader.rows.read(int(rows[0, 0])).id == "d7"
    assert (rows >= 0).sum() == 50
    held = len(list((tmp_path / "ix" / "data").iterdir()))
    del reader
    for pca in (2, 3):
        build([other], tmp_path / "ix", HashEncoder(), pca=pca)
    assert len(list((tmp_path / "ix" / "data").iterdir())) < held


def test_another_precision_is_refused(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    path = str(corpus())
    build([path], tmp_path / "ix", hash_encoder)
    other = HashEncoder()
    other.dtype = "bfloat16"
    with pytest.raises(IndexStoreError, match="made in float32.*bfloat16.*--dtype float32"):
        build([path], tmp_path / "ix", other)


def test_rejections_survive_a_lost_file_and_an_interrupted_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.jsonl"
    lines = [json.dumps({"_id": str(i), "text": f"t {i}"}) if i % 2 else "{broken" for i in range(60)]
    path.write_text("\n".join(lines))
    disk = StoppingDisk(40)
    monkeypatch.setattr("tests.index.handed.make_disk", lambda: disk)
    with pytest.raises(Stop):
        build([str(path)], tmp_path / "ix", HashEncoder(), segment_size=4)
    monkeypatch.setattr("tests.index.handed.make_disk", Disk)
    (tmp_path / "ix" / "rejected.jsonl").unlink(missing_ok=True)
    build([str(path)], tmp_path / "ix", HashEncoder(), segment_size=4)
    written = [json.loads(line)["line"] for line in (tmp_path / "ix" / "rejected.jsonl").read_text().splitlines()]
    assert written == list(range(1, 61, 2))


def test_reasons_are_counted_in_groups(tmp_path: Path, hash_encoder: HashEncoder) -> None:
    path = tmp_path / "d.jsonl"
    rows = [{"_id": f"n{i}", "text": "x" * i + "\0"} for i in range(1, 5)] + [{"_id": "ok", "text": "fine"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    summary = build([str(path)], tmp_path / "ix", hash_encoder)
    assert list(summary.manifest.build.reasons.values()) == [4]


def test_new_parent_directories_are_made_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []

    class Watching(Disk):
        def sync_directory(self, path) -> None:
            synced.append(path)
            super().sync_directory(path)

    with Writer.open(tmp_path / "deep" / "er" / "ix", Watching()):
        pass
    assert {tmp_path, tmp_path / "deep", tmp_path / "deep" / "er"} <= set(synced)


@pytest.mark.parametrize("kind", ["rows", "pca", "faiss"])
def test_damage_of_the_same_size_is_one_clear_error_at_search(tmp_path: Path, corpus, kind: str) -> None:
    build([str(corpus())], tmp_path / "ix", HashEncoder(), pca=4)
    file = next((tmp_path / "ix" / "data").glob(f"{kind}-*"))
    file.write_bytes(os.urandom(file.stat().st_size))
    with pytest.raises(IndexStoreError, match=file.name):
        index = VectorIndex.open(tmp_path / "ix")
        _, rows = index.search_vectors(HashEncoder().vector("x"), 3)
        index.rows.read(int(rows[0, 0]))


@pytest.mark.parametrize("factory", ["HNSW0", "IVF0,Flat", "IDMap,Flat", "IDMap2,Flat"])
def test_factories_that_break_faiss_are_refused(tmp_path: Path, corpus, factory: str) -> None:
    with pytest.raises(IndexStoreError, match="--factory"):
        build([str(corpus())], tmp_path / "ix", HashEncoder(), factory=factory)


def test_a_lossy_index_is_not_called_damaged(tmp_path: Path, corpus) -> None:
    build([str(corpus(300))], tmp_path / "ix", HashEncoder(), pca=1)
    assert verify(tmp_path / "ix") == []


def test_paths_that_cannot_be(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    path = corpus()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for place in (
        path / "sub",
        Path("/proc/nope/ix"),
        tmp_path / ("n" * 300),
        Path("/dev/null/x"),
        tmp_path / "dangling",
    ):
        with pytest.raises(IndexStoreError):
            build([str(path)], place, hash_encoder)
        with pytest.raises(IndexStoreError):
            VectorIndex.open(place)
    with pytest.raises(IndexStoreError, match="is a file"):
        VectorIndex.open(path)
    build([str(path)], tmp_path / "ix", hash_encoder)
    (tmp_path / "ix" / "manifest-².json").write_text("odd")
    assert VectorIndex.open(tmp_path / "ix").manifest.rows == 50
    (tmp_path / "ix" / "data").rename(tmp_path / "ix" / "moved")
    (tmp_path / "ix" / "data").write_text("a file")
    with pytest.raises(IndexStoreError):
        VectorIndex.open(tmp_path / "ix")


def test_the_time_of_a_reduction_goes_with_it(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    path = str(corpus())
    assert "reduce" in build([path], tmp_path / "ix", hash_encoder, pca=4).manifest.build.seconds
    assert "reduce" not in build([path], tmp_path / "ix", hash_encoder).manifest.build.seconds


def test_any_damage_to_stored_documents_is_said_with_what_mends_it(tmp_path: Path, corpus) -> None:
    """Bytes anywhere in the file are changed; Arrow follows a wrong offset out of the file, and ends the process."""
    build([str(corpus(20))], tmp_path / "ix", HashEncoder(), lexical=False)
    path = tmp_path / "ix" / "data" / Snapshot.open(tmp_path / "ix").manifest.segments[0].documents_file
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    expected = re.escape(f"mend it with `searchapp verify {tmp_path / 'ix'} --repair`")
    said: list[str] = []
    for _ in range(200):
        damaged = bytearray(whole)
        begin = int(rng.integers(0, len(whole) - 8))
        damaged[begin : begin + 8] = rng.bytes(8)
        path.unlink()
        path.write_bytes(damaged)
        rows = VectorIndex.open(tmp_path / "ix").rows
        for read in (
            lambda rows: [rows.read(row) for row in range(20)],
            DocumentStore.fields,
            lambda rows: rows.documents(0),
        ):
            try:
                read(rows)
            except IndexStoreError as error:
                said.append(str(error))
                assert re.search(expected, said[-1]), said[-1]
                assert "\n" not in said[-1]
    assert any(f"{path} cannot be read as documents" in text for text in said)
    assert any(f"data/{path.name} holds damaged documents" in text for text in said)


def test_documents_that_cannot_be_opened_are_one_line_for_the_user(tmp_path: Path, corpus, capsys) -> None:
    from searchapp.cli.main import main

    build([str(corpus(20))], tmp_path / "ix", HashEncoder(), lexical=False)
    path = tmp_path / "ix" / "data" / Snapshot.open(tmp_path / "ix").manifest.segments[0].documents_file
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(SystemExit) as end:
        main(["delete", str(tmp_path / "ix"), "--filter", "year > 2000"])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path} cannot be read as documents" in line
    assert f"`searchapp verify {tmp_path / 'ix'} --repair`" in line
