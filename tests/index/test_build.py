"""Building: what is indexed, what is refused, and that an interrupted build ends as an uninterrupted one."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from searchapp.errors import CorpusError, IndexStoreError
from searchapp.index import BuildSettings, VectorIndex, verify
from searchapp.index.storage.directory import Disk
from searchapp.index.storage.manifest_json import dump, load
from searchapp.index.storage.snapshot import Snapshot
from tests.index.conftest import HashEncoder
from tests.index.handed import build


def hits(path: Path, encoder: HashEncoder, texts: list[str], k: int = 10) -> list[list[tuple[str, float]]]:
    index = VectorIndex.open(path)
    scores, rows = index.search_vectors(np.vstack([encoder.vector(text) for text in texts]), k)
    return [
        [(index.rows.read(r).id, float(s)) for s, r in zip(*pair, strict=True)]
        for pair in zip(scores, rows, strict=True)
    ]


QUERIES = ["title 3 text number 3", "title 49 text number 49", "something else"]


def test_every_document_is_found_by_its_own_text(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    summary = build([str(corpus(50))], tmp_path / "ix", hash_encoder, segment_size=7)
    assert (summary.manifest.rows, len(summary.manifest.segments), summary.encoded) == (50, 8, 50)
    assert verify(tmp_path / "ix") == []
    for i in range(50):
        [[(first, score), *_]] = hits(tmp_path / "ix", hash_encoder, [f"title {i} text number {i}"])
        assert first == f"d{i}"
        assert score == pytest.approx(1, abs=1e-3)


def test_search_equals_brute_force(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    build([str(corpus(300))], tmp_path / "ix", hash_encoder, segment_size=64)
    index = VectorIndex.open(tmp_path / "ix")
    stored = np.concatenate([*index.vectors.blocks()])
    queries = np.vstack([hash_encoder.vector(text) for text in QUERIES])
    scores, rows = index.search_vectors(queries, 20)
    exact = queries @ stored.T
    np.testing.assert_array_equal(rows, np.argsort(-exact, axis=1)[:, :20])
    np.testing.assert_allclose(scores, np.sort(exact, axis=1)[:, ::-1][:, :20], atol=1e-6)


def test_documents_come_back_whole(tmp_path: Path, hash_encoder: HashEncoder) -> None:
    rows = [
        {"_id": "a", "title": "T", "text": "x", "n": 1, "nested": {"deep": [1, None, "é"]}, "odd key": True},
        {"_id": "b", "text": "y", "n": "a string here", "big": 2**70},
    ]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    build([str(path)], tmp_path / "ix", hash_encoder)
    index = VectorIndex.open(tmp_path / "ix")
    first, second = index.rows.read(0), index.rows.read(1)
    assert dict(first.metadata) == {"n": 1, "nested": {"deep": [1, None, "é"]}, "odd key": True}
    assert (first.id, first.title, first.text, second.title) == ("a", "T", "x", "")
    assert second.metadata["big"] == 2**70


def test_bad_records_are_counted_and_written_down(tmp_path: Path, hash_encoder: HashEncoder) -> None:
    path = tmp_path / "d.jsonl"
    lines = [b'{"_id": "a", "text": "x"}', b"{broken", b'{"_id": "b"}', b'{"_id": "a", "text": "again"}',
             b'{"_id": "c", "text": "\xff"}', b'{"_id": "d", "text": ""}', b'{"_id": "e", "text": "fine"}',
             json.dumps({"_id": "f", "text": "x" * 10_000_000}).encode()]  # fmt: skip
    path.write_bytes(b"\n".join(lines))
    summary = build([str(path)], tmp_path / "ix", hash_encoder, segment_size=1)
    assert summary.manifest.rows == 2
    written = [json.loads(line) for line in (tmp_path / "ix" / "rejected.jsonl").read_text().splitlines()]
    assert [row["line"] for row in written] == [2, 3, 4, 5, 6, 8]
    assert {row["file"] for row in written} == {str(path)}
    assert summary.manifest.build.rejected == 6
    assert "duplicate id" in written[2]["reason"]
    assert "1,000,000" in written[5]["reason"]


def test_duplicates_are_found_across_segments_and_sources(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    summary = build([str(corpus(40)), str(corpus(45, "more.jsonl"))], tmp_path / "ix", hash_encoder, segment_size=8)
    assert (summary.manifest.rows, summary.manifest.build.rejected) == (45, 40)
    assert summary.manifest.build.reasons == {"duplicate id": 40}


def test_an_empty_corpus_is_refused(tmp_path: Path, hash_encoder: HashEncoder) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("")
    with pytest.raises(CorpusError, match="no documents"):
        build([str(path)], tmp_path / "ix", hash_encoder)
    path.write_text('{"_id": "a", "text": ""}\n{"_id": "b", "text": " "}\n')
    with pytest.raises(CorpusError, match="all 2 rejected.*empty text"):
        build([str(path)], tmp_path / "ix", hash_encoder)
    path.write_text('{"_id": "a", "text": "now it works"}\n')
    assert build([str(path)], tmp_path / "ix", hash_encoder).manifest.rows == 1


def test_a_finished_build_is_left_alone(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    path = str(corpus())
    build([path], tmp_path / "ix", hash_encoder)
    again = build([path], tmp_path / "ix", HashEncoder())
    assert again.already_done
    assert again.encoded == 0


def test_another_reduction_encodes_nothing_again(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    path = str(corpus())
    build([path], tmp_path / "ix", hash_encoder)
    other = HashEncoder()
    summary = build([path], tmp_path / "ix", other, pca=4)
    assert other.encoded == []
    assert summary.manifest.reduction is not None
    assert summary.manifest.reduction.dim == 4
    assert verify(tmp_path / "ix") == []


def test_other_sources_models_and_changed_files_are_refused(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    path = corpus()
    build([str(path)], tmp_path / "ix", hash_encoder)
    with pytest.raises(IndexStoreError, match="other sources"):
        build([str(corpus(3, "b.jsonl"))], tmp_path / "ix", hash_encoder)
    with pytest.raises(IndexStoreError, match="weights, pooling differ"):
        build([str(path)], tmp_path / "ix", HashEncoder("other"))
    path.write_text(path.read_text() + '{"_id": "new", "text": "new"}\n')
    with pytest.raises(IndexStoreError, match="has changed since"):
        build([str(path)], tmp_path / "ix", hash_encoder)
    assert build([str(path)], tmp_path / "ix", hash_encoder, overwrite=True).manifest.rows == 51


def test_pca_that_does_not_fit_is_refused_and_nothing_is_lost(
    tmp_path: Path, corpus, hash_encoder: HashEncoder
) -> None:
    path = str(corpus(10))
    with pytest.raises(IndexStoreError, match=r"pca 17 \(--pca\).*16 dimensions"):
        build([path], tmp_path / "ix", hash_encoder, pca=17)
    with pytest.raises(IndexStoreError, match=r"pca 12 \(--pca\) needs at least 12 documents.*there are 10"):
        build([path], tmp_path / "ix", hash_encoder, pca=12)
    other = HashEncoder()
    assert build([path], tmp_path / "ix", other, pca=8).manifest.rows == 10
    assert other.encoded == []


@pytest.mark.parametrize("factory", ["nonsense", "IVF99999,Flat", ""])
def test_factories_that_do_not_work_are_refused(
    tmp_path: Path, corpus, hash_encoder: HashEncoder, factory: str
) -> None:
    with pytest.raises(IndexStoreError, match="--factory"):
        build([str(corpus())], tmp_path / "ix", hash_encoder, factory=factory)


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF8,Flat", "IVF8,SQ8", "HNSW16", "PCA8,Flat", "HNSW16,SQ8"])
@pytest.mark.parametrize("pca", [None, 8])
def test_any_factory_finds_what_is_stored(tmp_path: Path, corpus, hash_encoder: HashEncoder, factory: str, pca) -> None:
    build([str(corpus(400))], tmp_path / "ix", hash_encoder, factory=factory, pca=pca)
    assert verify(tmp_path / "ix") == []
    assert [row[0][0] for row in hits(tmp_path / "ix", hash_encoder, QUERIES[:2])] == ["d3", "d49"]


class Stop(BaseException):
    """The machine stops here."""


class StoppingDisk(Disk):
    """Counts durable steps and stops before or after the given one."""

    def __init__(self, stop_at: int) -> None:
        self.steps, self.stop_at = 0, stop_at

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.stop_at:
            raise Stop

    def create(self, path):
        self._step()
        return super().create(path)

    def replace(self, source, target) -> None:
        self._step()
        super().replace(source, target)

    def link(self, source, target) -> None:
        self._step()
        super().link(source, target)

    def remove(self, path) -> None:
        self._step()
        super().remove(path)

    def sync_directory(self, path) -> None:
        super().sync_directory(path)
        self._step()


@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_stopped_at_any_durable_step_the_same_command_finishes_the_same_index(
    tmp_path: Path, corpus, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    path = str(corpus(30))
    build([path], tmp_path / "whole", HashEncoder(), segment_size=8, pca=6)
    want = hits(tmp_path / "whole", HashEncoder(), QUERIES)
    for step in count(1, stride):
        root = tmp_path / f"ix{step}"
        disk = StoppingDisk(step)
        monkeypatch.setattr("tests.index.handed.make_disk", lambda disk=disk: disk)
        first = HashEncoder()
        try:
            build([path], root, first, segment_size=8, pca=6)
            finished = True
        except Stop:
            finished = False
        monkeypatch.setattr("tests.index.handed.make_disk", Disk)
        if finished:
            break
        try:
            committed = Snapshot.open(root).manifest.rows
        except IndexStoreError:
            committed = 0
        second = HashEncoder()
        build([path], root, second, segment_size=8, pca=6)
        assert len(second.encoded) == 30 - committed, "a committed segment was encoded again"
        assert hits(root, HashEncoder(), QUERIES) == want
        assert verify(root) == []
    assert step > 40


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path, corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    path = str(corpus(30))
    written = []

    class FullDisk(Disk):
        def create(self, path):
            written.append(path)
            if len(written) == 5:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().create(path)

    monkeypatch.setattr("tests.index.handed.make_disk", FullDisk)
    with pytest.raises(IndexStoreError, match="no space left.*run the same command again"):
        build([path], tmp_path / "ix", HashEncoder(), segment_size=8)
    monkeypatch.setattr("tests.index.handed.make_disk", Disk)
    second = HashEncoder()
    build([path], tmp_path / "ix", second, segment_size=8)
    assert len(second.encoded) < 30
    assert verify(tmp_path / "ix") == []


def test_a_vector_that_is_no_number_stops_the_build(tmp_path: Path, corpus) -> None:
    from searchapp.encoder import Encoded
    from searchapp.errors import ModelError

    class Broken(HashEncoder):
        def encode_counted(self, texts, *args, **options) -> Encoded:
            encoded = super().encode_counted(texts)
            encoded.vectors[2, 3] = np.nan
            return encoded

    with pytest.raises(ModelError, match="'d2'"):
        build([str(corpus())], tmp_path / "ix", Broken())


def test_a_newer_format_is_refused_both_ways(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    path = str(corpus())
    summary = build([path], tmp_path / "ix", hash_encoder)
    newer = replace(summary.manifest, format=99, number=summary.manifest.number + 1)
    (tmp_path / "ix" / f"manifest-{newer.number:010d}.json").write_bytes(dump(newer))
    for use in (VectorIndex.open, lambda root: build([path], root, hash_encoder)):
        with pytest.raises(IndexStoreError, match="format 99.*reads formats 1 to 3"):
            use(tmp_path / "ix")


def test_manifests_are_readable_and_round_trip(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    summary = build([str(corpus())], tmp_path / "ix", hash_encoder, pca=3)
    newest = max((tmp_path / "ix").glob("manifest-*.json"))
    head, body = newest.read_text().split("\n", 1)
    assert len(head) == 32
    assert json.loads(body)["rows"] == 50
    assert load(newest) == summary.manifest


def test_the_time_of_encoding_covers_every_segment(tmp_path: Path, corpus) -> None:
    import time

    class Slow(HashEncoder):
        def encode_counted(self, texts, *args, **options):
            time.sleep(0.1)
            return super().encode_counted(texts)

    summary = build([str(corpus(30))], tmp_path / "ix", Slow(), segment_size=10)
    seconds = summary.manifest.build.seconds
    assert seconds["encode"] >= 0.3
    assert 0.29 <= seconds["encode_wait"] <= seconds["encode"]  # it slept; what another thread did then is no waiting
    assert seconds["cpu"] == pytest.approx(seconds["read_cpu"] + seconds["encode_cpu"])
    assert seconds["index_wait"] <= seconds["index"] + seconds.get("reduce", 0.0)
    assert seconds["index_cpu"] > 0


def test_work_of_encoding_is_no_waiting(tmp_path: Path, corpus) -> None:
    import time

    class Busy(HashEncoder):
        def encode_counted(self, texts, *args, **options):
            until = time.process_time() + 0.2
            while time.process_time() < until:
                pass
            return super().encode_counted(texts)

    seconds = build([str(corpus(10))], tmp_path / "ix", Busy()).manifest.build.seconds
    assert seconds["encode_cpu"] >= 0.2
    assert seconds["encode_wait"] <= seconds["encode"] - 0.19


def test_settings_and_keywords_say_the_same(tmp_path: Path, corpus, hash_encoder: HashEncoder) -> None:
    source = [str(corpus(40))]
    given = BuildSettings(pca=16, factory="Flat", lexical=False, segment_size=9)
    one = build(source, tmp_path / "one", hash_encoder, given).manifest
    two = build(source, tmp_path / "two", hash_encoder, pca=16, factory="Flat", lexical=False, segment_size=9).manifest
    both = build(source, tmp_path / "both", hash_encoder, given, pca=8).manifest
    assert one.reduction and two.reduction and both.reduction
    assert (one.reduction.dim, two.reduction.dim, both.reduction.dim) == (16, 16, 8)
    assert (
        (len(one.segments), one.lexical) == (len(two.segments), two.lexical) == (len(both.segments), None) == (5, None)
    )
    with pytest.raises(TypeError, match="pcs"):
        build(source, tmp_path / "three", hash_encoder, pcs=8)
    assert not (tmp_path / "three").exists()
