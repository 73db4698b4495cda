"""A plan: committed once, read back as it was, refused for another build; its chunks hold the build's documents."""

from __future__ import annotations

import os

import numpy as np
import pytest

from searchapp.corpus.selection import Selection
from searchapp.errors import CorpusError, IndexStoreError
from searchapp.index import Snapshot, build
from searchapp.index.building import BuildSettings
from searchapp.shards.chunk import DATA, done_ids, encode_chunk, missing, read_done
from searchapp.shards.make import EngineSettings, make
from searchapp.shards.plan import commit_plan, load_plan
from searchapp.shards.publish import start_again
from searchapp.shards.sample import merged, sample_of
from searchapp.shards.store import LocalStore
from tests.index.conftest import HashEncoder
from tests.index.power import Unsynced
from tests.shards.building import planned, rebuilt, write_sources


def test_a_plan_is_read_back_and_decides_for_ever(tmp_path):
    sources = write_sources(tmp_path / "in")
    store, plan = planned(tmp_path / "root", sources)
    assert load_plan(store) == plan == rebuilt(plan)
    assert len(plan.chunks) > 15 and len({chunk.id for chunk in plan.chunks}) == len(plan.chunks)
    _, again = planned(tmp_path / "root", sources, tokens=1_000_000)  # how it was cut the first time counts
    assert again == plan
    with pytest.raises(IndexStoreError, match="another search index was begun here"):
        planned(tmp_path / "root", sources, pca=4)
    with pytest.raises(IndexStoreError, match="another set of sources"):
        planned(tmp_path / "root", sources[:2])
    with pytest.raises(IndexStoreError, match="another model"):
        planned(tmp_path / "root", sources, HashEncoder("other"))


def test_a_damaged_plan_is_refused(tmp_path):
    store, plan = planned(tmp_path / "root", write_sources(tmp_path / "in"))
    path = tmp_path / "root" / "build" / "plan.json"
    path.write_bytes(path.read_bytes().replace(b"2", b"3", 1))
    with pytest.raises(IndexStoreError, match="does not match its checksum"):
        load_plan(store)


def test_chunks_hold_what_a_plain_build_encodes(tmp_path):
    sources = write_sources(tmp_path / "in")
    encoder = HashEncoder()
    store, plan = planned(tmp_path / "root", sources)
    for number in reversed(range(len(plan.chunks))):
        assert encode_chunk(store, plan, number, encoder)
    assert not missing(plan, done_ids(store))
    encoded = len(encoder.encoded)
    assert not encode_chunk(store, plan, 3, encoder) and len(encoder.encoded) == encoded  # done once
    whole = build(sources, tmp_path / "plain", HashEncoder(), disk=Unsynced()).manifest
    done = [read_done(store, chunk) for chunk in plan.chunks]
    snapshot = Snapshot.open(tmp_path / "plain")
    vectors = {
        snapshot.documents.read(row).id: snapshot.vectors.stored(np.array([row]))[0] for row in range(whole.rows)
    }
    stored = np.concatenate(
        [
            np.fromfile(tmp_path / "root" / DATA / part.vectors, dtype="<f2").reshape(-1, 16)
            for one in done
            for part in one.segments
        ]
    )
    assert {row.tobytes() for row in stored} >= {row.tobytes() for row in vectors.values()}
    # Duplicates within a chunk are rejected there; those across chunks are settled when shards are made.
    assert sum(one.documents + one.rejected for one in done) == whole.rows + whole.build.rejected
    assert sum(one.consumed for one in done) == whole.build.consumed
    samples = [sample_of(snapshot, 0.1, 50), sample_of(snapshot, 1.0, 50)]
    assert samples[0].end < samples[1].end or len(samples[0].hashes) == whole.rows


def test_a_source_that_changed_is_refused(tmp_path):
    sources = write_sources(tmp_path / "in")
    store, plan = planned(tmp_path / "root", sources)
    os.utime(tmp_path / "in" / "c.csv", ns=(1, 1))
    with pytest.raises(CorpusError, match=r"c\.csv has changed since the plan"):
        encode_chunk(store, plan, len(plan.chunks) - 1, HashEncoder())
    assert encode_chunk(store, plan, 0, HashEncoder())
    assert not list((tmp_path / "root" / "build" / "work").iterdir())


def test_the_second_of_two_workers_leaves_nothing(tmp_path):
    store, plan = planned(tmp_path / "root", write_sources(tmp_path / "in"))

    def first(step):
        if step == "encoded":
            assert encode_chunk(store, plan, 0, HashEncoder())

    assert not encode_chunk(store, plan, 0, HashEncoder(), step=first)
    named = set(read_done(store, plan.chunks[0]).files)
    assert {path.name for path in (tmp_path / "root" / DATA).iterdir()} == named


def test_samples_merge_to_the_smallest_hashes(tmp_path):
    rng = np.random.default_rng(0)
    from searchapp.shards.sample import Sample

    hashes = rng.permutation(np.arange(1, 1001, dtype=np.uint64) * np.uint64(1 << 50))
    parts = []
    for chunk in np.array_split(hashes, 7):
        kept = np.sort(chunk)[:60]
        vectors = (kept[:, None] / 2**60).astype("<f2")
        parts.append(Sample(kept, vectors, tuple(map(str, kept[:9])), int(kept[-1]), int(kept[8])))
    found = merged(parts, 200, 1)
    assert found.hashes.tolist() == np.sort(hashes)[:200].tolist()
    assert merged(parts[::-1], 200, 1).hashes.tolist() == found.hashes.tolist()
    back = Sample.from_bytes(found.to_bytes(), "x")
    assert back.queries == found.queries == tuple(map(str, np.sort(hashes)[: len(found.queries)])) != ()
    with pytest.raises(IndexStoreError, match="no readable sample"):
        Sample.from_bytes(found.to_bytes()[:-40], "x")


def test_commit_is_by_the_first(tmp_path):
    store, plan = planned(tmp_path / "root", write_sources(tmp_path / "in"))
    assert commit_plan(store, plan) == plan


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/a.md?sig=s3cret", "https://s3cret@127.0.0.1/a.md", "sftp://me:s3cret@h"]
)
def test_a_url_that_no_worker_could_open_is_refused_before_anything_is_written(tmp_path, url):
    sources = [*write_sources(tmp_path / "in"), url]
    settings = EngineSettings(engine="processes", overwrite=True)
    with pytest.raises(CorpusError, match="which no plan keeps for its workers; expected a URL without") as error:
        make(sources, str(tmp_path / "root"), lambda: pytest.fail("a model was loaded"), BuildSettings(), settings)
    assert "s3cret" not in str(error.value) and not (tmp_path / "root").exists()


def test_a_chunk_is_of_its_plan_alone(tmp_path):
    """Another selection, or the same request again, gives other ids: a worker left of the one is none of the other."""
    sources = write_sources(tmp_path / "in", rows=20)
    _, one = planned(tmp_path / "a", sources)
    _, again = planned(tmp_path / "b", sources)
    _, other = planned(tmp_path / "c", sources, selection=Selection(columns="text=id"))
    ids = [{chunk.id for chunk in plan.chunks} for plan in (one, again, other)]
    assert len(ids[0] | ids[1] | ids[2]) == sum(map(len, ids))
    store, known = planned(tmp_path / "a", sources)  # the plan that was committed is found, with its ids
    assert known.chunks == one.chunks
    assert load_plan(store).chunks == one.chunks


def test_the_plan_is_forgotten_last(tmp_path):
    """Wherever starting again stops, what is left of chunks and shards is still that of a plan."""

    class Stopping(LocalStore):
        left = 0

        def delete(self, name):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            super().delete(name)

    store, plan = planned(tmp_path / "root", write_sources(tmp_path / "in", rows=20))
    for number in range(2):
        store.put_new(f"build/done/{plan.chunks[number].id}.json", b"x")
        store.put_new(f"build/data/rows-{number}", b"x")
    stopping = Stopping(store.root, store.disk)
    for steps in range(20):
        stopping.left = steps
        try:
            start_again(stopping)
        except KeyboardInterrupt:
            assert load_plan(store).chunks == plan.chunks
            if store.list("build/done"):
                assert len(store.list("build/data")) == 2
        else:
            break
    assert store.list("build") == store.list("build/done") == store.list("build/data") == []
