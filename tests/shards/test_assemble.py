"""From sources to a root by chunks: its documents, ids, rejections and answers are those of a build by one process."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from searchapp import Index
from searchapp.errors import CorpusError, IndexStoreError
from searchapp.index import Snapshot, VectorIndex, build, verify
from searchapp.index.intake.files import kind_of_reason
from searchapp.shards.chunk import DATA, encode_chunk, read_done
from searchapp.shards.opening import open_index
from searchapp.shards.plan import load_plan
from searchapp.shards.publish import clear, finish, start_again
from searchapp.shards.root import load_root
from searchapp.shards.settle import settle
from tests.index.conftest import HashEncoder
from tests.index.power import Unsynced
from tests.shards.building import documents_of, planned, write_sources


def made(root, sources, order=1, **options):
    store, plan = planned(root, sources, **options)
    for number in range(len(plan.chunks))[::order]:
        encode_chunk(store, plan, number, HashEncoder())
    return store, plan


def shards_of(store):
    root = load_root(store)
    return root, [store.root / shard.folder for shard in root.shards]


def rejections(paths):
    return [
        json.loads(line)
        for path in paths
        if (path / "rejected.jsonl").exists()
        for line in (path / "rejected.jsonl").read_text().splitlines()
    ]


@pytest.mark.parametrize(("shards", "order", "tokens"), [(1, 1, 90), (3, -1, 60)])
def test_documents_are_those_of_a_plain_build(tmp_path, shards, order, tokens):
    sources = write_sources(tmp_path / "in")
    whole = build(sources, tmp_path / "plain", HashEncoder(), disk=Unsynced()).manifest
    store, plan = made(tmp_path / "root", sources, order, shards=shards, tokens=tokens)
    published = finish(store, plan, HashEncoder().encode_queries)
    root, paths = shards_of(store)
    assert len(paths) == shards and not published.already_done
    assert [one for path in paths for one in documents_of(path)] == documents_of(tmp_path / "plain")
    assert root.statistics.documents == whole.rows and published.rejected == whole.build.rejected
    plain, ours = rejections([tmp_path / "plain"]), rejections(paths)
    for kind in (plain, ours):
        for one in kind:
            one["file"] = one["file"].rpartition("/")[2]
    settled = [one for one in ours if one["line"] == 0]  # across chunks: the line is not known any more
    assert settled or shards == 1
    rest = [(one["line"], one["id"], one["reason"]) for one in ours if one["line"]]
    assert Counter(rest) <= Counter((one["line"], one["id"], one["reason"]) for one in plain)
    reasons = [Counter((one["id"], one["reason"]) for one in found) for found in (plain, ours)]
    assert reasons[0] == reasons[1]
    counted = Counter()
    for path in paths:
        counted.update(Snapshot.open(path).manifest.build.reasons)
        assert verify(path) == []
    assert counted == Counter(kind_of_reason(one["reason"]) for one in plain)
    assert not store.list(DATA)  # shards have what chunks had
    again = finish(store, load_plan(store), None)
    assert again.already_done and again.root == published.root


def test_ledgers_hold_each_document_once(tmp_path):
    sources = write_sources(tmp_path / "in")
    build(sources, tmp_path / "plain", HashEncoder(), disk=Unsynced())
    store, plan = made(tmp_path / "root", sources, shards=2)
    finish(store, plan, None)
    plain = {entry.key: entry for entry in Snapshot.open(tmp_path / "plain").ledger()}
    ours: dict = {}
    for path in shards_of(store)[1]:
        for entry in Snapshot.open(path).ledger():
            ours.setdefault(entry.key, []).append(entry)
    assert ours.keys() == plain.keys()
    for key, entry in plain.items():
        assert np.concatenate([part.ids for part in ours[key]]).tolist() == entry.ids.tolist()
        assert {part.size for part in ours[key]} == {entry.size}


def test_ids_are_settled_however_many_at_once(tmp_path):
    store, plan = made(tmp_path / "root", write_sources(tmp_path / "in"))
    done = [read_done(store, chunk) for chunk in plan.chunks]
    whole, parts = settle(store, done), settle(store, done, together=7)
    assert len(whole.dropped) > 5
    assert whole.dropped.tolist() == parts.dropped.tolist() and whole.first.tolist() == parts.first.tolist()
    assert all(first < row for first, row in zip(whole.first, whole.dropped, strict=True))


def test_a_trained_type_is_shared(tmp_path):
    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps({"_id": str(n), "text": f"text number {n}"}) + "\n" for n in range(900)))
    options = {"factory": "IVF8,SQ8", "pca": 8, "shards": 3, "tokens": 1_500}
    store, plan = made(tmp_path / "root", [str(path)], **options)
    published = finish(store, plan, HashEncoder().encode_queries)
    root, paths = shards_of(store)
    assert len(root.shared) == 32 and len(paths) == 3
    indexes = [VectorIndex.open(path) for path in paths]
    manifests = [one.manifest for one in indexes]
    assert {one.ann.factory for one in manifests} == {"IVF8,SQ8"} and {one.reduction.dim for one in manifests} == {8}
    projections = {
        (path / "data" / one.reduction.file).read_bytes() for path, one in zip(paths, manifests, strict=True)
    }
    probes = {(path / "data" / one.probes).read_bytes() for path, one in zip(paths, manifests, strict=True)}
    assert len(projections) == len(probes) == 1
    hits = Index(open_index(tmp_path / "root"), HashEncoder()).search("text number 123", k=1, mode="dense")
    assert [hit.id for hit in hits] == ["123"]
    assert published.root.statistics.documents == 900


def test_files_of_chunks_that_are_gone_are_said(tmp_path):
    store, plan = made(tmp_path / "root", write_sources(tmp_path / "in", rows=20), tokens=400)
    clear(store)
    with pytest.raises(IndexStoreError, match="has lost files of its chunks"):
        finish(store, plan, None)


def test_one_shard_and_few_documents(tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text('{"_id": "a", "text": "alone"}\n{"_id": "a", "text": "again"}\n')
    store, plan = made(tmp_path / "root", [str(path)], tokens=1, shards=5)
    root = finish(store, plan, None).root
    assert len(plan.chunks) == 2 and root.statistics.documents == 1
    assert sum(shard.rows for shard in root.shards) == 2 and [one.documents for one in root.shards] == [1, 0]


def test_nothing_usable_is_said(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text("no json\n" * 9)
    store, plan = made(tmp_path / "root", [str(path)], tokens=2)
    with pytest.raises(CorpusError, match="holds no usable document"):
        finish(store, plan, None)


def test_a_chunk_that_is_missing_or_damaged_is_refused(tmp_path):
    store, plan = made(tmp_path / "root", write_sources(tmp_path / "in"))
    one = read_done(store, plan.chunks[0])
    path = store.root / DATA / one.segments[0].rows
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IndexStoreError, match="does not match its checksum"):
        finish(store, plan, None)
    store.delete(f"build/done/{one.id}.json")
    with pytest.raises(IndexStoreError, match="1 of .* chunks are not done"):
        finish(store, plan, None)


def test_a_root_answers_as_the_plain_build(tmp_path):
    sources = write_sources(tmp_path / "in")
    build(sources, tmp_path / "plain", HashEncoder(), disk=Unsynced())
    store, plan = made(tmp_path / "root", sources, shards=3)
    finish(store, plan, None)
    one, many = (Index(open_index(path), HashEncoder()) for path in (tmp_path / "plain", tmp_path / "root"))
    for query in ("fox jumps dogs", "birds sing 7 songs", "a table row 12"):
        for mode in ("dense", "bm25", "hybrid"):
            answers = [[(hit.id, hit.score) for hit in index.search(query, k=25, mode=mode)] for index in (one, many)]
            assert answers[0] == answers[1] and answers[0]


def test_a_build_in_the_place_of_another_leaves_nothing_of_it_but_what_is_read(tmp_path):
    store, plan = made(tmp_path / "root", write_sources(tmp_path / "in", rows=20), tokens=400, shards=2)
    finish(store, plan, None)
    reader, held = open_index(tmp_path / "root"), load_root(store)
    before = reader.ids().tolist()
    (store.root / "remade").mkdir()
    start_again(store)
    store, plan = made(tmp_path / "root", write_sources(tmp_path / "in", rows=30), tokens=400, shards=2)
    finish(store, plan, None)
    root = load_root(store)
    assert root.generation == 2 and store.list()[-1:] == ["root-0000000002.json"]
    assert {path.name for path in (store.root / "shards").iterdir()} == {
        one.name for one in (*held.shards, *root.shards)
    }
    documents = [reader.rows.read(row).id if name else None for row, name in enumerate(before)]
    assert documents == before  # what a reader holds is there as long as it reads
    assert reader.search_vectors(HashEncoder().vector("x"), 3)[1].shape == (1, 3)
    del reader
    start_again(store)
    store, plan = made(tmp_path / "root", write_sources(tmp_path / "in", rows=25), tokens=400, shards=2)
    finish(store, plan, None)
    there = {path.name for path in (store.root / "shards").iterdir()}
    assert there - {one.name for one in held.shards} == {one.name for one in load_root(store).shards}
    assert not (store.root / "remade").exists()
