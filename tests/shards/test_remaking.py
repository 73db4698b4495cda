"""Another model, another search index, other words for a root: what one index would be with which the same was done."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from searchapp import Index
from searchapp.errors import IndexStoreError
from searchapp.index import Analyzer, ReembedSettings, VectorIndex
from searchapp.index import add as add_to_index
from searchapp.index import delete as delete_from_index
from searchapp.index import reembed as reembed_index
from searchapp.index.storage.directory import Disk
from searchapp.shards import renewing, updating
from searchapp.shards.checking import examine
from searchapp.shards.opening import open_index, open_root
from searchapp.shards.place import LocalPlace
from searchapp.shards.reembedding import reembed
from searchapp.shards.remaking import BEGUN
from searchapp.shards.root import generations, load_root
from searchapp.shards.split import split
from tests.index.conftest import HashEncoder
from tests.index.test_reembed import Other

QUERIES = ("text number 7", "title 3", "number 40")


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Disk, "sync", lambda *_: None)
    monkeypatch.setattr(Disk, "sync_directory", lambda *_: None)


def pair(folder: Path, rows: int = 60) -> tuple[Path, Path]:
    """An index and a root of three shards and a tail with the same documents, some deleted."""
    from searchapp.index import BuildSettings, build

    lines = [{"_id": f"d{i}", "title": f"title {i}", "text": f"text number {i}"} for i in range(rows)]
    file = folder / "docs.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    build([str(file)], folder / "one", HashEncoder(), BuildSettings(), segment_size=10)
    split(folder / "one", folder / "root", 3)
    (folder / "more.jsonl").write_text(json.dumps({"_id": "new", "text": "text number 7 again"}) + "\n")
    for path, add, delete in (
        (folder / "one", add_to_index, delete_from_index),
        (folder / "root", updating.add, updating.delete),
    ):
        add([str(folder / "more.jsonl")], path, HashEncoder(), fold=False)
        delete(path, ["d3", f"d{rows - 2}"])
    return folder / "one", folder / "root"


def require_alike(one: Path, root: Path, encoder: HashEncoder) -> None:
    """Ids, stored vectors, and what dense search and BM25 find, with equal scores."""
    single, sharded = open_index(one), open_index(root)
    found = []
    for index in (single, sharded):
        rows = np.flatnonzero(index.ids() != None)  # noqa: E711 - each element
        found.append((index.ids()[rows].tolist(), index.vectors.gather(rows)))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])
    for query in QUERIES:
        for index, other in ((single, sharded),):
            scores, places = index.search_vectors(encoder.encode_queries([query]), 9)
            others, theirs = other.search_vectors(encoder.encode_queries([query]), 9)
            assert index.ids()[places[0]].tolist() == other.ids()[theirs[0]].tolist()
            np.testing.assert_allclose(scores, others, atol=1e-6)
            if index.manifest.lexical is None:
                assert other.manifest.lexical is None
                continue
            scores, places = index.lexical.search(query, 9)
            others, theirs = other.lexical.search(query, 9)
            assert scores.tolist() == others.tolist()
            assert index.ids()[places].tolist() == other.ids()[theirs].tolist()
    assert examine(root).problems == ()


def test_a_root_is_embedded_anew_as_one_index_is(tmp_path: Path) -> None:
    one, root = pair(tmp_path)
    reader, before = open_index(root), load_root(LocalPlace(root))
    encoder = Other()
    reembed_index(one, Other())
    done = updating.reembed(root, encoder)
    assert (done.encoded, done.resumed) == (59, 0)
    assert len(encoder.encoded) == 59
    after = load_root(LocalPlace(root))
    assert after.generation == before.generation + 1
    assert [(x.base, x.rows, x.deleted, x.tail) for x in after.shards] == [
        (x.base, x.rows, x.deleted, x.tail) for x in before.shards
    ]
    assert after.dim == Other.dim
    assert not (root / BEGUN).exists()
    require_alike(one, root, Other())
    found = reader.search_vectors(HashEncoder().vector("title 7 text number 7"), 1)[1]
    assert reader.ids()[found[0]].tolist() == ["d7"]  # what was opened before answers as it did
    assert updating.reembed(root, Other()).already_done
    updating.delete(root, ["d9"])  # it goes on as any root does
    (tmp_path / "more.jsonl").write_text(json.dumps({"_id": "newer", "text": "text number 8 again"}) + "\n")
    assert updating.add([str(tmp_path / "more.jsonl")], root, Other()).added == 1
    updating.compact(root)
    assert examine(root).problems == ()
    assert {"new", "newer", "d8"} < set(open_index(root).ids()) and "d9" not in set(open_index(root).ids())


def test_shards_have_one_training_and_find_as_well_as_one_index(tmp_path: Path) -> None:
    _, root = pair(tmp_path, 300)
    updating.reembed(root, Other(), ReembedSettings(factory="IVF2,PQ8x4"))
    found = open_root(root)
    trained = [part for part in found.snapshot.parts if part.manifest.ann is not None]
    assert len(trained) == 3
    assert {part.manifest.ann.factory for part in trained} == {"IVF2,PQ8x4"}
    from searchapp.index.ann.trained import Trained

    ids = {Trained.of("IVF2,PQ8x4", None, part.path(part.manifest.ann.file)).id for part in trained}
    assert ids == {found.root.shared}
    texts = [f"title {i} text number {i}" for i in range(20, 60)]
    updating.delete(root, ["d5"])
    updating.compact(root)
    assert not open_root(root).root.shared  # what was compacted was trained by itself
    rows = found.search_vectors(np.concatenate([Other().vector(text) for text in texts]), 1)[1]
    assert found.ids()[rows[:, 0]].tolist() == [f"d{i}" for i in range(20, 60)]
    assert found.root.settings["factory"] == "IVF2,PQ8x4"
    manifest = renewing.reindex(root, factory="Flat")
    again = open_root(root)
    assert manifest.number == again.root.generation == found.root.generation + 3
    assert [part.manifest.ann and part.manifest.ann.factory for part in again.snapshot.parts] == ["Flat"] * 4
    assert not again.root.shared
    assert again.root.encoder == found.root.encoder
    assert examine(root).problems == ()
    with pytest.raises(IndexStoreError, match="--factory"):
        renewing.reindex(root, factory="nonsense")


class _StoppedError(BaseException):
    pass


class Stopping(Disk):
    """Ends the writer at a step."""

    def __init__(self, left: int) -> None:
        self.left = left

    def link(self, source: Path, target: Path) -> None:
        self._step()
        super().link(source, target)

    def create(self, path: Path):
        self._step()
        return super().create(path)

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _StoppedError


def test_it_is_seen_whole_or_not_at_all_and_goes_on(tmp_path: Path) -> None:
    """Stopped at every step in turn: the root is as before, nothing that was committed is encoded again."""
    one, root = pair(tmp_path)
    reembed_index(one, Other())
    before, encoded, phases = load_root(LocalPlace(root)), [], set()
    for steps in range(1, 200, 2):
        encoder = Other()
        try:
            reembed(root, encoder, disk=Stopping(steps))
        except _StoppedError:
            assert load_root(LocalPlace(root)) == before
            assert open_index(root).manifest.dim == HashEncoder.dim
            for lease in root.glob("lease-*"):  # its process is gone
                lease.unlink()
            phases.add((root / BEGUN / "begun.json").exists() + (root / BEGUN / "trained.json").exists())
        encoded += encoder.encoded
        if load_root(LocalPlace(root)) != before:
            break
    assert len(set(encoded)) == 59
    assert len(encoded) <= 59 + 10 * (steps // 2)  # at most a segment each time
    assert phases == {0, 1, 2}
    assert not (root / BEGUN).exists()
    require_alike(one, root, Other())


def test_documents_that_came_or_went_meanwhile_are_taken_along(tmp_path: Path) -> None:
    one, root = pair(tmp_path)
    with pytest.raises(_StoppedError):
        reembed(root, Other(), disk=Stopping(40))
    for path, verb in ((one, delete_from_index), (root, updating.delete)):
        for lease in root.glob("lease-*"):
            lease.unlink()
        verb(path, ["d11"])
    (tmp_path / "more.jsonl").write_text(json.dumps({"_id": "newer", "text": "title 3"}) + "\n")
    add_to_index([str(tmp_path / "more.jsonl")], one, HashEncoder(), fold=False)
    updating.add([str(tmp_path / "more.jsonl")], root, HashEncoder())
    reembed_index(one, Other())
    done = updating.reembed(root, Other())
    assert done.resumed > 0
    require_alike(one, root, Other())


def test_another_place_is_refused_in_one_line(tmp_path: Path) -> None:
    _, root = pair(tmp_path)
    with pytest.raises(IndexStoreError, match="embedded anew in their place; leave --out out"):
        updating.reembed(root, Other(), to=tmp_path / "other")
    assert generations(LocalPlace(root))[0] == 3


def test_words_of_a_root_are_counted_otherwise(tmp_path: Path) -> None:
    one, root = pair(tmp_path)
    german = Analyzer.of_language("german")
    for path in (one, root):
        assert renewing.count_words(path, german, k1=1.2, b=0.75)[1]
    require_alike(one, root, HashEncoder())
    before = load_root(LocalPlace(root))
    assert not renewing.count_words(root, german, k1=1.2, b=0.75)[1]
    assert load_root(LocalPlace(root)) == before
    for path in (one, root):
        renewing.remove_words(path)
        assert VectorIndex.open(path).manifest.lexical is None if path == one else True
        with pytest.raises(IndexStoreError, match=f"{path} has no BM25 part"):
            renewing.remove_words(path)
    assert load_root(LocalPlace(root)).statistics.terms == 0
    require_alike(one, root, HashEncoder())
    for path in (one, root):
        renewing.count_words(path, Analyzer())
    require_alike(one, root, HashEncoder())
    assert len(Index.open(root)) == 59
