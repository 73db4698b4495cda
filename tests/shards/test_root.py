"""Root manifests: what is written comes back; what is damaged, impossible or published already is refused."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from searchapp.errors import IndexStoreError
from searchapp.shards.place import LocalPlace
from searchapp.shards.root import (
    CorruptRootError,
    Root,
    Shard,
    Statistics,
    _checksum,
    based,
    commit_root,
    dump,
    generations,
    load_root,
    parse,
    root_name,
)

ROOT = Root(
    {"reference": {"model": "none"}},
    8,
    based((Shard("s0000", 3, "a" * 64, 0, 5, 1), Shard("s0001", 1, "b" * 64, 0, 0), Shard("t-1", 2, "c" * 64, 0, 2))),
    Statistics(6, 40),
    generation=1,
)


def test_a_root_comes_back_as_it_was(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path / "new" / "root")
    for generation in (1, 2, 10):
        commit_root(place, replace(ROOT, generation=generation))
    assert generations(place) == [10, 2, 1]
    assert load_root(place) == replace(ROOT, generation=10)
    assert load_root(place, 2) == replace(ROOT, generation=2)
    assert [shard.base for shard in ROOT.shards] == [0, 5, 5]
    assert [path.name for path in place.root.iterdir() if path.name.startswith("tmp")] == []


def test_of_writers_at_once_one_publishes(tmp_path: Path) -> None:
    place, won, lost = LocalPlace(tmp_path), [], []

    def publish(number: int) -> None:
        try:
            commit_root(place, replace(ROOT, epoch=number))
            won.append(number)
        except IndexStoreError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == 7
    assert "published by another writer" in lost[0]
    assert load_root(place).epoch == won[0]


def test_every_cut_and_every_changed_byte_is_refused(tmp_path: Path) -> None:
    data = dump(ROOT)
    for length in range(0, len(data), 7):
        with pytest.raises(CorruptRootError):
            parse(data[:length])
    for place in range(0, len(data), 11):
        with pytest.raises(CorruptRootError):
            parse(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("generation", 0, "generation 0"),
        ("generation", "1", "expected int"),
        ("generation", True, "expected int"),
        ("dim", 0, "dim 0"),
        ("format", 2, "format 2"),
        ("intake", "s0009", "s0009"),
        ("more", 1, "unknown key"),
        ("shards", {}, "no list of shards"),
        ("statistics", None, "no statistics"),
        ("statistics", {"documents": 7, "terms": 0}, "counts 7"),
        ("encoder", [], "expected dict"),
        ("shards.0.name", "../s0000", "names a shard"),
        ("shards.0.name", "s0001", "twice"),
        ("shards.0.name", "", "names a shard"),
        ("shards.0.sha256", "A" * 64, "no manifest"),
        ("shards.0.manifest", 0, "no manifest"),
        ("shards.0.deleted", 6, "6 deleted"),
        ("shards.0.rows", -1, "-1 rows"),
        ("shards.0.tail", True, "not the last"),
        ("shards.1.base", 4, "at 4"),
        ("shards.1.rows", 2.0, "expected int"),
    ],
)
def test_what_cannot_be_is_refused(key: str, value: object, said: str) -> None:
    content = json.loads(dump(ROOT).partition(b"\n")[2])
    at, *rest = content, *key.split(".")
    for part in rest[:-1]:
        at = at[int(part)] if part.isdigit() else at[part]
    at[rest[-1]] = value
    body = json.dumps(content).encode()
    with pytest.raises(CorruptRootError, match=said):
        parse(_checksum(body) + b"\n" + body)


def test_a_damaged_newest_root_is_said_and_not_passed_over(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    commit_root(place, ROOT)
    (tmp_path / root_name(2)).write_bytes(dump(replace(ROOT, generation=2))[:-1])
    with pytest.raises(CorruptRootError, match="root-0000000002.json does not match its checksum"):
        load_root(place)
    (tmp_path / root_name(2)).write_bytes(dump(replace(ROOT, generation=3)))
    with pytest.raises(CorruptRootError, match="says generation 3"):
        load_root(place)
    (tmp_path / root_name(2)).unlink()
    assert load_root(place).generation == 1
    with pytest.raises(IndexStoreError, match="no generation 7"):
        load_root(place, 7)
    with pytest.raises(CorruptRootError, match="not published"):
        commit_root(place, replace(ROOT, generation=2, shards=ROOT.shards[1:]))


def test_a_place_holds_what_was_put_and_nothing_outside(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path / "place")
    place.put_new("a/b/c.bin", b"0123456789")
    with pytest.raises(FileExistsError):
        place.put_new("a/b/c.bin", b"other")
    assert place.get("a/b/c.bin") == b"0123456789"
    assert place.range("a/b/c.bin", 3, 5) == b"34"
    assert place.range("a/b/c.bin", 8, 20) == b"89"
    assert place.list() == []
    assert place.list("a/b") == ["a/b/c.bin"]
    assert place.list("nowhere") == []
    for name in ("../x", "/etc/passwd", "a//b", ".hidden", "", "a/../../x", "a\\b", "a/b\n"):
        with pytest.raises(IndexStoreError, match="no name of a file"):
            place.put_new(name, b"")
        with pytest.raises(IndexStoreError, match="no name of a file"):
            place.get(name)
    place.delete("a/b/c.bin")
    place.delete("a/b/c.bin")
    with pytest.raises(FileNotFoundError):
        place.get("a/b/c.bin")
