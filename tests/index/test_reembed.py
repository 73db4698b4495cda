"""Another model for an index: what a fresh build by it would be, from the stored texts, at any interruption."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from searchapp.corpus import passage_of
from searchapp.errors import IndexStoreError, ModelError
from searchapp.index import (
    Filter,
    ReembedSettings,
    VectorIndex,
    add,
    build,
    compact,
    delete,
    examine,
    reembed,
    repair,
    verify,
)
from searchapp.index.lexical.bm25 import with_fusion
from searchapp.index.storage.manifest import Reach
from searchapp.index.storage.writer import Writer
from tests.index.conftest import HashEncoder
from tests.index.power import Unsynced
from tests.index.sequence import StoppingUnsynced
from tests.index.test_build import Stop


class Other(HashEncoder):
    """Another model: other dimensions, other vectors, a reach of a few tokens."""

    dim, document_reach = 24, 4
    reference = {"model": "other", "adapters": [], "pooling": "eos_token"}

    def __init__(self, name: str = "other") -> None:
        super().__init__(name)

    def encode_counted(self, texts, *arguments, **options):
        return super().encode_counted([f"other {text}" for text in texts], *arguments, **options)

    def encode_queries(self, texts, instruction=None):
        return Other().encode_counted(texts).vectors


@pytest.fixture
def made(corpus, tmp_path: Path) -> Path:
    build([str(corpus(50))], tmp_path / "index", HashEncoder(), segment_size=10, disk=Unsynced())
    return tmp_path / "index"


def vectors_by_id(root: Path) -> dict[str, np.ndarray]:
    index = VectorIndex.open(root)
    rows = np.flatnonzero(index.ids() != None)  # noqa: E711 - each element
    return dict(zip(index.ids()[rows], index.vectors.gather(rows), strict=True))


def require_built_by_other(root: Path, sources: list[str], tmp_path: Path) -> None:
    build(sources, tmp_path / "fresh", Other(), segment_size=7, disk=Unsynced())
    got, want = vectors_by_id(root), vectors_by_id(tmp_path / "fresh")
    assert list(got) == list(want)
    np.testing.assert_allclose(np.stack([*got.values()]), np.stack([*want.values()]), atol=1e-6)
    one, other = VectorIndex.open(root), VectorIndex.open(tmp_path / "fresh")
    query = Other().vector("title 7 text number 7")
    for filter in (None, Filter("year >= 2010"), Filter("lang == 'de'")):
        scores, rows = one.search_vectors(query, 9, filter=filter)
        others, places = other.search_vectors(query, 9, filter=filter)
        np.testing.assert_allclose(scores, others, atol=1e-6)
        assert one.ids()[rows[0]].tolist() == other.ids()[places[0]].tolist()
        assert one.rows.read(int(rows[0, 0])) == other.rows.read(int(places[0, 0]))
    for name in ("dim", "sources", "scheme", "encoder"):
        assert getattr(one.manifest, name) == getattr(other.manifest, name)
    assert one.manifest.cut["tokens"] == HashEncoder.document_reach  # the rule that its passages were cut by
    entries = [[entry.ids.tolist() for entry in index.snapshot.ledger()] for index in (one, other)]
    assert entries[0] == entries[1]
    assert one.manifest.ann.factory == other.manifest.ann.factory
    assert one.lexical.search("number 7", 5)[1].tolist() == other.lexical.search("number 7", 5)[1].tolist()
    assert verify(root) == []


@pytest.mark.parametrize("apart", [False, True])
def test_it_is_what_a_fresh_build_would_be(made: Path, tmp_path: Path, apart: bool) -> None:
    reader, before = VectorIndex.open(made), {path.name: path.read_bytes() for path in (made / "data").iterdir()}
    manifest = sorted(made.glob("manifest-*.json"))
    encoder = Other()
    done = reembed(made, encoder, to=tmp_path / "new" if apart else None, disk=Unsynced())
    assert (done.encoded, done.resumed, done.root) == (50, 0, tmp_path / "new" if apart else made)
    assert encoder.encoded == [f"other title {i} text number {i}" for i in range(50)]
    assert (done.tokens, done.long, done.beyond) == (250, 50, 50)  # five words each, of which four are read
    assert done.manifest.build.reach == Reach(50, 250, 50)
    assert len(reader.search_vectors(HashEncoder().vector("x"), 5)[1][0]) == 5  # the state a reader holds
    if apart:
        assert {path.name: path.read_bytes() for path in (made / "data").iterdir()} == before
        assert sorted(made.glob("manifest-*.json")) == manifest
        assert reembed(made, Other(), to=tmp_path / "new", disk=Unsynced()).already_done
    require_built_by_other(done.root, [str(tmp_path / "docs.jsonl")], tmp_path)
    assert reembed(done.root, Other(), disk=Unsynced()).already_done


@pytest.mark.parametrize("apart", [False, True])
def test_after_it_the_new_model_adds_and_the_old_is_refused(made: Path, tmp_path: Path, corpus, apart: bool) -> None:
    delete(made, ["d3", "d4"], disk=Unsynced())
    root = reembed(made, Other(), to=tmp_path / "new" if apart else None, disk=Unsynced()).root
    assert "d3" not in vectors_by_id(root) and VectorIndex.open(root).manifest.documents == 48
    docs = str(corpus(50, sort="new"))
    with pytest.raises(ModelError, match=rf"another encoder than hash.*`searchapp reembed {root} --model"):
        add([docs], root, HashEncoder(), disk=Unsynced())
    if not apart:
        with pytest.raises(
            IndexStoreError, match="weights, pooling differ from hash's; to give it another model: `sea"
        ):
            build([docs], root, HashEncoder())
    done = add([docs], root, Other(), disk=Unsynced())
    assert (done.added, done.changed, done.unchanged, done.encoded) == (2, 48, 0, 2)
    compact(root, disk=Unsynced())
    assert verify(root) == []


class StopError(Exception):
    """The end of a run, as kill -9 would have it."""


class Stopping(Other):
    """Encodes so many times and stops."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def encode_counted(self, texts, *arguments, **options):
        if not self.times:
            raise StopError
        self.times -= 1
        return super().encode_counted(texts, *arguments, **options)


@pytest.mark.parametrize("apart", [False, True])
def test_what_was_encoded_is_not_encoded_again(made: Path, tmp_path: Path, apart: bool) -> None:
    to = tmp_path / "new" if apart else None
    for times in (2, 1):
        with pytest.raises(StopError):
            reembed(made, Stopping(times), to=to, disk=Unsynced())
    index = VectorIndex.open(made)  # answers as before
    assert (
        index.manifest.dim == 16
        and index.search_vectors(HashEncoder().vector(passage_of(index.rows.read(5))), 1)[0] > 0.99
    )
    if apart:
        with pytest.raises(IndexStoreError, match="run the same `searchapp reembed` again"):
            VectorIndex.open(tmp_path / "new")
        with pytest.raises(IndexStoreError, match="unfinished reembed of"):
            build([str(tmp_path / "docs.jsonl")], tmp_path / "new", Other())
        with pytest.raises(IndexStoreError, match="finish it with the same `searchapp reembed`"):
            add([str(tmp_path / "docs.jsonl")], tmp_path / "new", Other())
    else:  # and is changed as before
        more = tmp_path / "more.jsonl"
        more.write_text(json.dumps({"_id": "new", "text": "a new document"}) + "\n")
        add([str(more)], made, HashEncoder(), disk=Unsynced())
        delete(made, ["d49"], disk=Unsynced())
    encoder = Other()
    done = reembed(made, encoder, to=to, disk=Unsynced())
    assert (done.resumed, len(encoder.encoded)) == (30, 20)
    assert verify(done.root) == []
    if apart:
        require_built_by_other(done.root, [str(tmp_path / "docs.jsonl")], tmp_path)
    else:
        assert [*vectors_by_id(made)] == [*(f"d{i}" for i in range(49)), "new"]


@pytest.mark.parametrize("apart", [False, True])
def test_stopped_at_any_durable_step_it_is_the_old_or_the_new_index(made: Path, tmp_path: Path, apart: bool) -> None:
    root, step, seen = tmp_path / "copy", 1, set()
    while True:
        for place in (root, tmp_path / "to"):
            shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(made, root)
        to = tmp_path / "to" if apart else None
        try:
            reembed(root, Other(), to=to, disk=StoppingUnsynced(step))
            break
        except Stop:
            pass
        found = VectorIndex.open(root)
        seen.add(found.manifest.dim)
        query = {16: HashEncoder, 24: Other}[found.manifest.dim]().vector(passage_of(found.rows.read(5)))
        assert found.ids()[found.search_vectors(query, 1)[1][0, 0]] == "d5"
        again = reembed(root, Other(), to=to, disk=Unsynced())
        assert (again.manifest.dim, again.manifest.documents) == (24, 50)
        assert verify(again.root) == []
        step += 7
    assert step > 40
    assert seen == ({16} if apart else {16, 24})


def test_another_model_in_the_middle_starts_again_and_says_so(made: Path) -> None:
    with pytest.raises(StopError):
        reembed(made, Stopping(2), disk=Unsynced())
    done = reembed(made, Other("third"), disk=Unsynced())
    assert (done.resumed, done.encoded) == (0, 50)
    assert done.notices == ("dropped: 20 documents that a reembed by other had encoded",)


def test_a_directory_in_use_and_damaged_documents_are_refused(made: Path, tmp_path: Path, corpus) -> None:
    build([str(corpus(5, "few.jsonl"))], tmp_path / "used", Other(), disk=Unsynced())
    with pytest.raises(IndexStoreError, match="holds an index already"):
        reembed(made, Other(), to=tmp_path / "used")
    with pytest.raises(IndexStoreError, match="64 .*24"):
        reembed(made, Other(), ReembedSettings(pca=64))
    rows = made / "data" / VectorIndex.open(made).manifest.segments[1].documents_file
    content = bytearray(rows.read_bytes())
    content[len(content) // 2] ^= 1
    rows.write_bytes(content)
    with pytest.raises(IndexStoreError, match="does not match its checksum.*--repair"):
        reembed(made, Other(), disk=Unsynced())
    with pytest.raises(IndexStoreError, match="does not match its checksum"):
        reembed(made, Other(), to=tmp_path / "new", disk=Unsynced())


def test_what_an_unfinished_one_encoded_is_mended_by_dropping_it(made: Path) -> None:
    with pytest.raises(StopError):
        reembed(made, Stopping(2), disk=Unsynced())
    begun = VectorIndex.open(made).manifest.reembedding
    assert begun is not None and begun.documents == 20
    assert "a reembed by other has not finished (20 documents encoded)" in examine(made).notices[0]
    first = next(iter(begun.vectors.values()))
    (made / "data" / first.file).write_bytes(b"x" * (made / "data" / first.file).stat().st_size)
    assert "does not match its checksum" in verify(made)[0]
    assert "some of what an unfinished reembed had encoded is dropped; run it again" in repair(made, None).mended
    assert reembed(made, Other(), disk=Unsynced()).resumed == 10
    assert verify(made) == []


def test_a_fusion_that_was_tuned_goes_and_an_empty_index_moves(made: Path) -> None:
    with Writer.update(made) as writer:
        with_fusion(writer, {"method": "weighted", "weight": 0.9})
    done = reembed(made, Other(), disk=Unsynced())
    assert done.manifest.lexical.fusion is None and "tune it again" in done.notices[0]
    delete(made, [f"d{i}" for i in range(50)], disk=Unsynced())
    empty = reembed(made, HashEncoder(), disk=Unsynced())
    assert (empty.manifest.state, empty.manifest.documents, empty.manifest.dim) == ("ready", 0, 16)
    assert verify(made) == []
