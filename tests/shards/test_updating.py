"""A root that is added to, deleted from and compacted answers as one index with which the same was done."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from searchapp import Index
from searchapp.errors import IndexStoreError
from searchapp.index import AddSettings, Writer, build
from searchapp.index.storage.directory import Disk
from searchapp.shards.checking import examine
from searchapp.shards.place import LocalPlace
from searchapp.shards.root import generations, load_root
from searchapp.shards.split import split
from searchapp.shards.updating import add, compact, delete
from searchapp.shards.writer import RootWriter
from tests.index.conftest import HashEncoder
from tests.shards.roots import DIM, DOCUMENTS, WORDS, documents, made, vectors


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Disk, "sync", lambda *_: None)
    monkeypatch.setattr(Disk, "sync_directory", lambda *_: None)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("source") / "single")


def _pair(source: Path, folder: Path, cuts: list[int]) -> tuple[Index, Index]:
    split(source, folder / "single", [])
    only = next((folder / "single" / "shards").iterdir()).rename(folder / "plain")
    split(source, folder / "root", cuts)
    return Index.open(only), Index.open(folder / "root")


def _same(one: Index, other: Index, seed: int) -> None:
    chance = random.Random(seed)
    assert len(one) == len(other)
    assert list(one) == list(other)
    for mode in ("dense", "bm25", "hybrid"):
        for filter in (None, "year >= 2004"):
            text, known = " ".join(chance.sample(WORDS, 2)), vectors(DOCUMENTS)[chance.randrange(DOCUMENTS)]
            found = [x.answer([text], vectors=known, k=40, mode=mode, filter=filter)[0].hits for x in (one, other)]
            assert [(hit.id, hit.text) for hit in found[0]] == [(hit.id, hit.text) for hit in found[1]]
            assert np.allclose(*([hit.score for hit in hits] for hits in found), atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_a_sequence_of_changes_has_the_outcome_it_has_on_one_index(source: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    pair = _pair(source, tmp_path, sorted(chance.choices(range(DOCUMENTS + 1), k=3)))
    for step in range(6):
        verb = chance.choice(("add", "add", "delete", "filter", "compact"))
        if verb == "add":
            count, begin = chance.randint(1, 30), chance.choice((0, 90, 230, 400 + 40 * step))
            given = documents(count, 100 * seed + step, begin)
            made_of = vectors(count, 100 * seed + step)
            done = [index.add(given, vectors=made_of, fold=False, progress=False) for index in pair]
            assert [(x.added, x.changed, x.unchanged) for x in done][:1] * 2 == [
                (x.added, x.changed, x.unchanged) for x in done
            ]
        elif verb == "delete":
            names = [f"d{chance.randrange(DOCUMENTS + 50)}" for _ in range(12)]
            done = [index.delete(names) for index in pair]
            assert done[0].deleted == done[1].deleted
            assert done[0].unknown == done[1].unknown
        elif verb == "filter":
            done = [index.delete(filter=f"year == {2000 + step}") for index in pair]
            assert done[0].deleted == done[1].deleted
        else:
            for index in pair:
                index.compact(progress=False)
        _same(*pair, seed)
    assert examine(tmp_path / "root").problems == ()


def test_a_changed_document_leaves_its_shard_and_stands_in_the_tail(source: Path, tmp_path: Path) -> None:
    _, index = _pair(source, tmp_path, [120])
    before = load_root(LocalPlace(tmp_path / "root"))
    index.add([{"id": "d1", "text": "a new text"}], vectors=np.ones((1, DIM)), progress=False)
    after = load_root(LocalPlace(tmp_path / "root"))
    assert after.generation == before.generation + 1
    assert [shard.deleted - old.deleted for shard, old in zip(after.shards, before.shards, strict=False)] == [1, 0]
    assert after.tail is not None
    assert after.tail.rows == 1
    assert after.shards[1] == before.shards[1]
    assert index.documents(["d1"])[0].text == "a new text"
    again = index.add([{"id": "d1", "text": "a new text"}], vectors=np.ones((1, DIM)), progress=False)
    assert again.unchanged == 1
    index.compact(progress=False)
    compacted = load_root(LocalPlace(tmp_path / "root"))
    assert compacted.tail is None
    assert sum(shard.deleted for shard in compacted.shards) == 0


def test_sync_over_a_root_removes_what_the_source_has_no_more(source: Path, tmp_path: Path) -> None:
    _, index = _pair(source, tmp_path, [120])
    few = [(f"n{number}", f"note {number}") for number in range(5)]
    index.add(few, vectors=np.eye(5, DIM), name="notes", progress=False)
    done = index.add(few[:3], vectors=np.eye(3, DIM), name="notes", sync=True, progress=False)
    assert done.removed == 2
    assert "n4" not in index
    assert "n2" in index
    index.compact(progress=False)
    done = index.add(few[:2], vectors=np.eye(2, DIM), name="notes", sync=True, progress=False)
    assert (done.removed, done.unchanged) == (1, 2)


def test_a_reader_keeps_its_generation_and_old_ones_are_removed(source: Path, tmp_path: Path) -> None:
    _, index = _pair(source, tmp_path, [120])
    reader = Index.open(tmp_path / "root")
    held = [document.id for document in reader]
    for number in range(12):
        index.delete([f"d{61 + number}"])
    index.compact(progress=False)
    assert [document.id for document in reader] == held
    assert reader.search(vectors(1)[0], k=300)[0].id in held
    assert len(generations(LocalPlace(tmp_path / "root"))) == 8
    assert reader.refresh()
    assert len(reader) == len(index)


class _StoppedError(Exception):
    pass


def test_a_change_is_seen_whole_or_not_at_all_wherever_it_stops(source: Path, tmp_path: Path) -> None:
    """The disk fails after every number of durable steps; the root is then as it was, or as it should be."""

    class Failing(Disk):
        left = 0

        def _step(self) -> None:
            type(self).left -= 1
            if type(self).left < 0:
                raise _StoppedError

        def link(self, source: Path, target: Path) -> None:
            self._step()
            super().link(source, target)

        def sync(self, file) -> None:
            self._step()

    from searchapp.index import delete

    split(source, tmp_path / "root", [120])
    names = [document.id for document in Index.open(tmp_path / "root")]
    doomed = [names[3], names[-3]]
    for steps in range(40):
        Failing.left = steps
        try:
            delete(tmp_path / "root", doomed, update=lambda path, _: RootWriter.update(path, Failing()))
            done = True
        except _StoppedError:
            done = False
        Failing.left = 1 << 30
        found = [document.id for document in Index.open(tmp_path / "root")]
        assert found in (names, [name for name in names if name not in doomed])
        if done:
            break
        for lease in (tmp_path / "root").glob("lease-*"):  # its process is gone
            lease.unlink()
    assert done
    assert steps > 5
    assert examine(tmp_path / "root").problems == ()


def test_two_writers_do_not_write_at_once(source: Path, tmp_path: Path) -> None:
    _, index = _pair(source, tmp_path, [120])
    with RootWriter.update(tmp_path / "root"), pytest.raises(IndexStoreError, match="is being written by"):
        index.delete(["d61"])
    index.delete(["d61"])
    with pytest.raises(IndexStoreError, match="is a shard of"), Writer.open(tmp_path / "root" / "shards" / "s0001"):
        pass
    with pytest.raises(IndexStoreError, match="made of shards"), Writer.update(tmp_path / "root"):
        pass


def test_a_writer_that_was_taken_over_publishes_nothing(source: Path, tmp_path: Path) -> None:
    _, index = _pair(source, tmp_path, [120])
    place = LocalPlace(tmp_path / "root")
    with RootWriter.update(tmp_path / "root") as slow:
        for lease in (tmp_path / "root").glob("lease-*"):  # as if its time had passed
            lease.write_text('{"owner": "slow", "until": 0}')
        index.delete(["d61"])
        before = load_root(place)
        with pytest.raises(IndexStoreError, match="was taken over by"):
            slow.publish(slow.generation.shards, "")
    assert load_root(place) == before
    assert "d61" not in Index.open(tmp_path / "root")


def test_a_file_that_several_shards_hold_has_one_entry(source: Path, tmp_path: Path) -> None:
    """Shards that were built apart have ledgers of their own; a changed file leaves nothing of its text in any."""
    from searchapp.index.storage.ledger import Ledger, LedgerEntry, joined_ledgers

    def entry(path: str, ids: list[int], outcome: str = "read") -> LedgerEntry:
        return LedgerEntry("s", path, 10, 1, "x", "r", outcome, ids=np.array(ids, dtype=np.uint64), rejected=1)

    parts = [Ledger([entry("a", [1, 2]), entry("b", [3])]), Ledger([entry("a", [4], "skipped"), entry("c", [5])])]
    found = joined_ledgers(parts)
    assert [one.path for one in found] == ["a", "b", "c"]
    first = found.find("s", "a")
    assert first is not None
    assert (first.ids.tolist(), first.rejected, first.outcome) == ([1, 2, 4], 2, "read")


class _Ended(BaseException):
    pass


class Ending(HashEncoder):
    """Ends the process in the middle of an add."""

    left = 0

    def encode_counted(self, texts, *arguments, **options):
        self.left -= 1
        if self.left < 0:
            raise _Ended
        return super().encode_counted(texts, *arguments, **options)


def _hashed_root(folder: Path) -> Path:
    (folder / "docs.jsonl").write_text("".join(f'{{"_id": "d{n}", "text": "bees {n}"}}\n' for n in range(20)))
    build([str(folder / "docs.jsonl")], folder / "one", HashEncoder())
    split(folder / "one", folder / "root", 2)
    return folder / "root"


@pytest.mark.parametrize("has_tail", [False, True])
def test_an_add_that_is_interrupted_goes_on(tmp_path: Path, has_tail: bool) -> None:
    root = _hashed_root(tmp_path)
    if has_tail:
        (tmp_path / "some.jsonl").write_text('{"_id": "t", "text": "in the tail"}\n')
        add([str(tmp_path / "some.jsonl")], root, HashEncoder())
    (tmp_path / "new.jsonl").write_text("".join(f'{{"_id": "n{n}", "text": "foxes {n}"}}\n' for n in range(50)))
    settings, before, encoder = AddSettings(segment_size=10), load_root(LocalPlace(root)), Ending()
    for number in (2, 1):  # an add that ends, and goes on, and ends again
        encoder.left = number
        with pytest.raises(_Ended):
            add([str(tmp_path / "new.jsonl")], root, encoder, settings)
        assert load_root(LocalPlace(root)) == before
        assert len(Index.open(root)) == 20 + has_tail
    delete(root, ["d3"])  # another change does not lose it
    encoder.left = 100
    done = add([str(tmp_path / "new.jsonl")], root, encoder, settings)
    assert (done.added, done.resumed, done.encoded) == (50, 30, 20)
    assert len(encoder.encoded) == len(set(encoder.encoded)) == 50
    assert {document.id for document in Index.open(root)} >= {f"n{n}" for n in range(50)}
    assert len(Index.open(root)) == 69 + has_tail
    assert not (root / "staged.json").exists()
    assert examine(root).problems == ()


def test_what_an_add_had_encoded_is_not_taken_where_it_does_not_fit(tmp_path: Path) -> None:
    """Where a file of it is gone, or the record is damaged, the add begins anew; that the tail was compacted is no harm."""
    root = _hashed_root(tmp_path)
    (tmp_path / "new.jsonl").write_text("".join(f'{{"_id": "n{n}", "text": "foxes {n}"}}\n' for n in range(50)))
    settings = AddSettings(segment_size=10)

    def interrupted(name: str) -> None:
        (tmp_path / f"{name}.jsonl").write_text(f'{{"_id": "{name}", "text": "{name}"}}\n')
        add([str(tmp_path / f"{name}.jsonl")], root, HashEncoder())
        encoder = Ending()
        encoder.left = 2
        with pytest.raises(_Ended):
            add([str(tmp_path / "new.jsonl")], root, encoder, settings)

    def compacted() -> None:
        compact(root)

    def gone() -> None:
        found = json.loads((root / "staged.json").read_bytes().partition(b"\n")[2])
        (root / "shards" / found["staged"]["segments"][0]["vectors"]).unlink()

    def damaged() -> None:
        (root / "staged.json").write_bytes(b"nothing")

    for damage, resumed in ((compacted, 20), (gone, 0), (damaged, 0)):
        interrupted(damage.__name__)
        damage()
        done = add([str(tmp_path / "new.jsonl")], root, HashEncoder(), settings)
        assert (done.added, done.resumed) == (50, resumed)
        assert examine(root).problems == ()
        delete(root, [f"n{n}" for n in range(50)])
