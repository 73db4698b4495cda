"""Adding, deleting, compacting, one after the other and interrupted: what each does, says and refuses."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from searchapp.errors import IndexStoreError, ModelError
from searchapp.index import Filter, VectorIndex, examine, verify
from searchapp.index.lexical.bm25 import add_lexical
from searchapp.index.storage.migrate import FORMAT
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.storage.writer import Writer
from searchapp.index.tune import tune
from tests.index.conftest import HashEncoder
from tests.index.handed import add, build, compact, delete, reindex
from tests.index.model import write
from tests.index.power import Unsynced


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.index.handed.make_disk", Unsynced)


FIELDS = {"rows": "documents_file", "vectors": "vectors_file", "marks": "hashes_file"}  # by the kind of file


def found(root: Path, query: np.ndarray, k: int, filter: str | None = None) -> list[tuple[str, float]]:
    index = VectorIndex.open(root)
    scores, rows = index.search_vectors(query, k, filter=Filter(filter) if filter else None)
    return [
        (index.rows.read(int(row)).id, float(score)) for score, row in zip(scores[0], rows[0], strict=True) if row >= 0
    ]


def as_format_1(root: Path) -> None:
    """Rewrite an index as the first version of the program left it: no marks, nothing of updates, no copies."""
    for path in root.glob("manifest-*"):
        if path.suffix == ".copy":
            path.unlink()
            continue
        content = json.loads(path.read_bytes().partition(b"\n")[2])
        for name in ("tombstones", "probes", "additions", "staged", "drift"):
            content.pop(name)
        content["format"] = 1
        content["build"] = {key: value for key, value in content["build"].items() if key != "targets"}
        if content["ann"]:
            kept = ("file", "factory", "rows", "candidates", "parameters")
            content["ann"] = {key: value for key, value in content["ann"].items() if key in kept}
        for segment in content["segments"]:
            segment.pop("marks")
        gone = [name for name in content["files"] if name.startswith(("marks-", "probes-"))]
        content["files"] = {name: entry for name, entry in content["files"].items() if name not in gone}
        for name in gone:
            (root / "data" / name).unlink(missing_ok=True)
        body = json.dumps(content, indent=1, ensure_ascii=False).encode()
        path.write_bytes(hashlib.blake2b(body, digest_size=16).hexdigest().encode() + b"\n" + body)


def test_an_index_of_format_1_opens_and_is_brought_up_to_date(tmp_path: Path, corpus) -> None:
    build([str(corpus(30))], tmp_path / "ix", HashEncoder(), segment_size=8)
    before = found(tmp_path / "ix", HashEncoder().vector("a query"), 30)
    as_format_1(tmp_path / "ix")
    assert found(tmp_path / "ix", HashEncoder().vector("a query"), 30) == before
    assert verify(tmp_path / "ix") == []
    assert json.loads(next((tmp_path / "ix").glob("manifest-*.json")).read_text().split("\n", 1)[1])["format"] == 1
    encoder = HashEncoder()
    changed = write(tmp_path / "more.jsonl", {"d3": {"text": "another"}, "n1": {"text": "new"}})
    done = add([changed], tmp_path / "ix", encoder)
    assert (done.added, done.changed, encoder.encoded) == (1, 1, ["another", "new"])
    assert done.manifest.format == FORMAT
    assert all(segment.hashes_file for segment in done.manifest.segments)
    assert delete(tmp_path / "ix", ["d0"]).deleted == 1
    assert compact(tmp_path / "ix").manifest.rows == 30
    assert verify(tmp_path / "ix") == []


def test_unchanged_texts_keep_their_vector_when_metadata_change(tmp_path: Path, corpus) -> None:
    path = corpus(10)
    build([str(path)], tmp_path / "ix", HashEncoder())
    old = VectorIndex.open(tmp_path / "ix").vectors.stored(np.array([4]))
    path.write_text(path.read_text().replace('"year": 2004', '"year": 1904'))
    encoder = HashEncoder()
    done = add([str(path)], tmp_path / "ix", encoder)
    assert (done.added, done.changed, done.unchanged, done.encoded) == (0, 1, 9, 0)
    assert encoder.encoded == []
    index = VectorIndex.open(tmp_path / "ix")
    np.testing.assert_array_equal(index.vectors.stored(np.array([10])), old)
    assert [name for name, _ in found(tmp_path / "ix", HashEncoder().vector("x"), 10, "year == 1904")] == ["d4"]
    assert found(tmp_path / "ix", HashEncoder().vector("x"), 10, "year == 2004") == []


def test_a_damaged_vector_is_not_copied_under_a_checksum_that_holds(tmp_path: Path, corpus) -> None:
    path = corpus(12)
    build([str(path)], tmp_path / "ix", HashEncoder(), segment_size=6)
    segment = Snapshot.open(tmp_path / "ix").manifest.segments[0]
    stored = tmp_path / "ix" / "data" / segment.vectors_file
    raw = bytearray(stored.read_bytes())
    raw[4 * 2 * HashEncoder.dim] ^= 64  # in the vector of d4
    stored.write_bytes(raw)
    path.write_text(path.read_text().replace('"year": 2004', '"year": 1904').replace('"year": 2008', '"year": 1908'))
    encoder = HashEncoder()
    done = add([str(path)], tmp_path / "ix", encoder)
    assert (done.changed, done.encoded, encoder.encoded) == (2, 1, ["title 4 text number 4"])
    (notice,) = done.notices
    assert f"data/{segment.vectors_file} does not match its checksum" in notice
    assert f"`searchapp verify {tmp_path / 'ix'} --repair`" in notice
    true = HashEncoder().vector("title 4 text number 4").astype(np.float16)
    np.testing.assert_array_equal(VectorIndex.open(tmp_path / "ix").vectors.stored(np.array([12])), true)
    (problem,) = verify(tmp_path / "ix")
    assert segment.vectors_file in problem


def test_an_add_that_was_killed_encodes_only_what_is_left_and_is_seen_all_at_once(tmp_path: Path, corpus) -> None:
    build([str(corpus(10))], tmp_path / "ix", HashEncoder())
    more = str(corpus(60, "more.jsonl"))

    class Dies(HashEncoder):
        def encode_counted(self, texts, *args, **options):
            if len(self.encoded) >= 24:
                raise KeyboardInterrupt
            return super().encode_counted(texts, *args, **options)

    with pytest.raises(KeyboardInterrupt):
        add([more], tmp_path / "ix", Dies(), segment_size=8)
    manifest = Snapshot.open(tmp_path / "ix").manifest
    assert (manifest.documents, manifest.staged.rows) == (10, 24)
    assert len(found(tmp_path / "ix", HashEncoder().vector("x"), 100)) == 10
    delete(tmp_path / "ix", ["d2"])  # what is staged stays while other commands run
    compact(tmp_path / "ix")
    encoder = HashEncoder()
    done = add([more], tmp_path / "ix", encoder, segment_size=8)
    assert (done.added, done.unchanged, done.resumed) == (51, 9, 24)
    assert len(encoder.encoded) == done.encoded == 27
    assert done.manifest.documents == 60
    assert done.manifest.staged is None
    assert verify(tmp_path / "ix") == []


def test_what_an_unfinished_add_had_is_dropped_when_the_next_has_other_documents(tmp_path: Path, corpus) -> None:
    build([str(corpus(4))], tmp_path / "ix", HashEncoder())
    steps = []

    class Dies(HashEncoder):
        def encode_counted(self, texts, *args, **options):
            steps.append(texts)
            if len(steps) == 3:
                raise KeyboardInterrupt
            return super().encode_counted(texts, *args, **options)

    with pytest.raises(KeyboardInterrupt):
        add([str(corpus(20, "a.jsonl"))], tmp_path / "ix", Dies(), segment_size=4)
    other = write(
        tmp_path / "b.jsonl",
        {"d5": {"text": "text number 5", "title": "title 5", "year": 2005, "lang": "en"}, "z": {"text": "z"}},
    )
    done = add([other], tmp_path / "ix", HashEncoder(), segment_size=4)
    assert (done.added, done.resumed, done.encoded, done.manifest.documents) == (2, 1, 1, 6)
    names = [name for name, _ in found(tmp_path / "ix", HashEncoder().vector("x"), 100)]
    assert sorted(names) == ["d0", "d1", "d2", "d3", "d5", "z"]
    assert verify(tmp_path / "ix") == []


def test_bad_records_and_ids_that_stand_twice_are_rejected_once_for_each_source(tmp_path: Path, corpus) -> None:
    build([str(corpus(5))], tmp_path / "ix", HashEncoder())
    more = tmp_path / "more.jsonl"
    more.write_text(
        '{"_id": "a", "text": "one"}\n{broken\n{"_id": "a", "text": "two"}\n{"_id": "d1", "text": "other"}\n'
    )
    for _ in range(3):
        done = add([str(more)], tmp_path / "ix", HashEncoder(), segment_size=1)
        assert done.rejected == 2
    lines = [json.loads(line) for line in (tmp_path / "ix" / "rejected.jsonl").read_text().splitlines()]
    assert [line["line"] for line in lines] == [2, 3]
    assert "an earlier record" in lines[1]["reason"]
    assert done.manifest.rejected == 2


def test_another_encoder_is_refused_by_name(tmp_path: Path, corpus) -> None:
    path = str(corpus(5))
    build([path], tmp_path / "ix", HashEncoder())
    with pytest.raises(ModelError, match="weights, pooling differ"):
        add([path], tmp_path / "ix", HashEncoder("other"))
    other = HashEncoder()
    other.dtype = "bfloat16"
    with pytest.raises(IndexStoreError, match="made in float32.*--dtype float32"):
        add([path], tmp_path / "ix", other)


def test_updates_of_what_is_no_index_or_not_finished_are_refused(tmp_path: Path, corpus) -> None:
    path = str(corpus(30))
    for change in (lambda root: delete(root, ["a"]), compact, lambda root: add([path], root, HashEncoder())):
        with pytest.raises(IndexStoreError, match="is no index.*searchapp build"):
            change(tmp_path / "nothing")
        assert not (tmp_path / "nothing").exists()

    class Dies(HashEncoder):
        def encode_counted(self, texts, *args, **options):
            if self.encoded:
                raise KeyboardInterrupt
            return super().encode_counted(texts, *args, **options)

    with pytest.raises(KeyboardInterrupt):
        build([path], tmp_path / "ix", Dies(), segment_size=8)
    for change in (lambda root: delete(root, ["a"]), compact, lambda root: add([path], root, HashEncoder())):
        with pytest.raises(IndexStoreError, match="unfinished build.*same `searchapp build`"):
            change(tmp_path / "ix")


def test_an_index_without_documents_is_searched_and_added_to(tmp_path: Path, corpus) -> None:
    path = str(corpus(12))
    build([path], tmp_path / "ix", HashEncoder(), pca=4)
    query = HashEncoder().vector("x")
    assert delete(tmp_path / "ix", [f"d{i}" for i in range(12)]).deleted == 12
    for _ in range(2):
        assert found(tmp_path / "ix", query, 5) == found(tmp_path / "ix", query, 5, "year > 1") == []
        assert verify(tmp_path / "ix") == []
        done = compact(tmp_path / "ix")
    assert (done.manifest.rows, done.manifest.ann) == (0, None)
    done = add([path], tmp_path / "ix", HashEncoder())
    assert (done.added, done.manifest.documents) == (12, 12)
    assert len(found(tmp_path / "ix", query, 50)) == 12
    compact(tmp_path / "ix")
    assert Snapshot.open(tmp_path / "ix").manifest.reduction.dim == 4


def test_an_empty_index_says_how_it_gets_documents(tmp_path: Path, corpus) -> None:
    build([str(corpus(12))], tmp_path / "ix", HashEncoder(), lexical=True)
    delete(tmp_path / "ix", [f"d{number}" for number in range(12)])
    compact(tmp_path / "ix")
    with pytest.raises(IndexStoreError, match="is empty; add documents first: searchapp add"):
        reindex(tmp_path / "ix", factory="Flat")
    with Writer.update(tmp_path / "ix") as writer, pytest.raises(IndexStoreError, match="is empty; .* searchapp add"):
        add_lexical(writer)
    with pytest.raises(IndexStoreError, match=r"too few documents \(0\) .*searchapp add"):
        tune(VectorIndex.open(tmp_path / "ix"))


@pytest.mark.parametrize("kind", ["rows", "vectors", "marks"])
def test_compacting_does_not_copy_damage_under_a_checksum_that_holds(tmp_path: Path, corpus, kind: str) -> None:
    build([str(corpus(12))], tmp_path / "ix", HashEncoder())
    delete(tmp_path / "ix", ["d3"])
    path = tmp_path / "ix" / "data" / getattr(Snapshot.open(tmp_path / "ix").manifest.segments[0], FIELDS[kind])
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    before = Snapshot.open(tmp_path / "ix").manifest.number
    with pytest.raises(IndexStoreError, match=r"does not match its checksum .*searchapp verify .* --repair"):
        compact(tmp_path / "ix")
    assert Snapshot.open(tmp_path / "ix").manifest.number == before


def test_documents_that_cannot_be_decoded_are_said_with_what_mends_them(tmp_path: Path, corpus) -> None:
    build([str(corpus(12))], tmp_path / "ix", HashEncoder(), lexical=False)
    index = VectorIndex.open(tmp_path / "ix")
    text = index.rows.read(5).text.encode()
    path = tmp_path / "ix" / "data" / index.manifest.segments[0].documents_file
    path.write_bytes(path.read_bytes().replace(text, b"\xff" * len(text)))
    expected = r"holds damaged documents .*searchapp verify .* --repair"
    with pytest.raises(IndexStoreError, match=expected):
        VectorIndex.open(tmp_path / "ix").rows.read(5)
    with Writer.update(tmp_path / "ix") as writer, pytest.raises(IndexStoreError, match=expected):
        add_lexical(writer)


def test_a_reader_stays_at_its_state_and_moves_on_when_asked(tmp_path: Path, corpus) -> None:
    from searchapp.search import Index

    build([str(corpus(10))], tmp_path / "ix", HashEncoder())
    index = Index.open(tmp_path / "ix", encoder=HashEncoder())
    assert not index.refresh()
    delete(tmp_path / "ix", ["d1"])
    compact(tmp_path / "ix")
    add([write(tmp_path / "more.jsonl", {"new": {"text": "new"}})], tmp_path / "ix", HashEncoder())
    assert index.vectors.manifest.documents == 10
    assert "d1" in index.vectors.ids()
    assert index.refresh()
    assert set(index.vectors.ids()) == {"new", *(f"d{i}" for i in range(10) if i != 1)}


@pytest.mark.parametrize("factory", ["HNSW8", "IVF4,SQ8", "IVF4,PQ8x4fs", "PCA8,IVF4,Flat", "SQ8", "RaBitQ"])
def test_deleted_rows_are_never_found_by_any_type(tmp_path: Path, corpus, factory: str) -> None:
    build([str(corpus(400))], tmp_path / "ix", HashEncoder(), factory=factory)
    delete(tmp_path / "ix", [f"d{i}" for i in range(400) if i % 4])
    add([write(tmp_path / "more.jsonl", {"d8": {"text": "fresh"}})], tmp_path / "ix", HashEncoder())
    names = [name for name, _ in found(tmp_path / "ix", HashEncoder().vector("title 4 text number 4"), 90)]
    assert names[0] == "d4"
    assert len(names) == len(set(names)) >= (70 if factory.startswith(("IVF", "PCA")) else 100 - 10)
    assert all(int(name[1:]) % 4 == 0 for name in names)
    for filter in ("year >= 2000", "year < 2010"):
        passing = {name for name, _ in found(tmp_path / "ix", HashEncoder().vector("x"), 400, filter)}
        assert all(int(name[1:]) % 4 == 0 for name in passing)


def test_drift_is_noticed_and_said_with_what_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on tight clusters, one of which is in each list, an index is given documents that lie between them."""
    from searchapp.encoder import Encoded

    class Topics(HashEncoder):
        def encode_counted(self, texts, *args, **options):
            vectors = super().encode_counted(texts).vectors
            for row, text in enumerate(texts):
                if text.startswith("cluster"):
                    vectors[row] = 0.2 * vectors[row] + super().encode_counted([text.split(",")[0]]).vectors[0]
            return Encoded(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), len(texts))

    monkeypatch.setattr("searchapp.index.extend.FRESH_NUMBERS", 1000)
    clusters = {f"a{i}": {"text": f"cluster {i % 64}, {i}"} for i in range(2000)}
    build([write(tmp_path / "a.jsonl", clusters)], tmp_path / "ix", Topics(), factory="IVF64,SQ8")
    few = set_nprobe(tmp_path / "ix", 2)
    assert examine(tmp_path / "ix").notices == ()
    between = {f"b{i}": {"text": f"between {i}"} for i in range(3000)}
    done = add([write(tmp_path / "b.jsonl", between)], tmp_path / "ix", Topics())
    assert (done.folded, done.manifest.unindexed_rows, few.ann.rows) == (True, 0, 2000)
    drift = done.manifest.drift
    assert drift.trained > 0.8  # by queries from anywhere, as these texts are embedded
    assert drift.now < 0.6
    assert f"fallen from {drift.trained:.3f} to {drift.now:.3f}" in done.notices[0]
    assert f"searchapp compact {tmp_path / 'ix'}" in done.notices[0]
    report = examine(tmp_path / "ix")
    assert (report.problems, report.notices) == ((), done.notices)
    compact(tmp_path / "ix")
    assert examine(tmp_path / "ix").notices == ()


@pytest.mark.parametrize("kept", [True, False])
def test_drift_is_measured_by_the_queries_an_index_was_chosen_by(
    tmp_path: Path, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against FAISS over the documents that are there, by the probes that are kept, or the same made-up ones twice."""
    import faiss

    from searchapp.bench.vectors import Synthetic, array_blocks, index_of
    from searchapp.index.ann.queries import synthetic_queries_from

    made = Synthetic(2_400, HashEncoder.dim, topics=40)
    vectors, probes = np.concatenate([*made.blocks()]), made.queries(200)
    index_of(tmp_path / "ix", array_blocks(vectors), HashEncoder.dim, probes if kept else None)
    reindex(tmp_path / "ix", factory="IVF64,SQ8")
    set_nprobe(tmp_path / "ix", 2)
    delete(tmp_path / "ix", [str(row) for row in range(0, 2_400, 3)])
    queries = probes if kept else synthetic_queries_from(VectorIndex.open(tmp_path / "ix").vectors.gather, 2_400)
    if kept:
        queries = queries.astype(np.float16).astype(np.float32)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)

    def true_recall() -> float:
        index = VectorIndex.open(tmp_path / "ix")
        alive = np.flatnonzero(index.alive)
        flat = faiss.IndexFlatIP(HashEncoder.dim)
        flat.add(index.vectors.gather(alive))
        least = flat.search(queries, 10)[0][:, -1:]
        return float((index.search_vectors(queries, 10, candidates=100)[0] >= least - 1e-5).mean())

    trained = true_recall()
    monkeypatch.setattr("searchapp.index.encoder_match.differing", lambda *_: [])
    monkeypatch.setattr("searchapp.index.extend.FRESH_NUMBERS", 100)
    for number in (1, 2):
        more = {f"m{number}-{i}": {"text": f"{number} {i}"} for i in range(300)}
        drift = add([write(tmp_path / "more.jsonl", more)], tmp_path / "ix", HashEncoder()).manifest.drift
        assert (drift.trained, drift.now) == pytest.approx((trained, true_recall()), abs=0.002)
        assert drift.first == 2_400


def set_nprobe(root: Path, nprobe: int):
    """Commit a state whose index looks into so many lists."""
    with Writer.open(root) as writer:
        ann = replace(writer.manifest.ann, parameters={"nprobe": nprobe})
        return writer.commit(writer.manifest.with_files(ann=ann))
