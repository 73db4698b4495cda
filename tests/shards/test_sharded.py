"""A root of any number of shards answers as one index with the same documents: ids, order and scores."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from searchapp import Index
from searchapp.errors import IndexStoreError, SearchAppError
from searchapp.index import VectorIndex
from searchapp.search import Fusion
from searchapp.shards.checking import examine
from searchapp.shards.opening import open_index, open_root
from searchapp.shards.sharded import depth_of
from searchapp.shards.split import split
from tests.shards.roots import DIM, DOCUMENTS, WORDS, made, vectors

CUTS = {
    "one": [],
    "two": [97],
    "seven": [60, 61, 100, 110, 150, 150],  # one empty, one of a single row, one of which all are deleted
}
MODES = {
    "dense": {"mode": "dense"},
    "bm25": {"mode": "bm25"},
    "spread": {"mode": "hybrid"},
    "rrf": {"hybrid": Fusion("rrf", depth=40)},
    "weighted": {"hybrid": Fusion("weighted", 0.4, "minmax", depth=30)},
    "deep": {"mode": "dense", "candidates": 60},
}
FILTERS = (None, 'year >= 2004 and lang != "de"', "year == 2003")


class Lengths:
    """A reranker that prefers long texts, with many ties."""

    name = "lengths"

    def score(self, queries, texts, *, progress=None):
        return [np.array([len(text) // 9 for text in line], dtype=np.float32) for line in texts]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    made(folder / "single")
    for name, cuts in CUTS.items():
        split(folder / "single", folder / name, cuts)
    return folder


@pytest.fixture(scope="module")
def single(folder: Path) -> Index:
    return Index(VectorIndex.open(folder / "single"))


@pytest.fixture(scope="module", params=CUTS)
def sharded(folder: Path, request: pytest.FixtureRequest) -> Index:
    return Index.open(folder / request.param)


def _equal(one: Index, other: Index, seed: int, **options: object) -> None:
    chance = random.Random(seed)
    drawn = np.random.default_rng(seed)
    for _ in range(8):
        text = " ".join(chance.sample(WORDS, 2))
        known = vectors(DOCUMENTS)[chance.randrange(DOCUMENTS)]
        vector = known if chance.random() < 0.5 else known + drawn.normal(size=DIM).astype(np.float32)
        k = chance.choice((1, 10, 300))
        found = [index.answer([text], vectors=vector, k=k, **options)[0].hits for index in (one, other)]
        assert [hit.id for hit in found[0]] == [hit.id for hit in found[1]]
        assert [hit.score for hit in found[0]] == [hit.score for hit in found[1]]
        assert [(hit.text, hit.places) for hit in found[0]] == [(hit.text, hit.places) for hit in found[1]]


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("mode", MODES)
def test_shards_answer_as_the_single_index(single: Index, sharded: Index, mode: str, filter: str | None) -> None:
    _equal(single, sharded, 3, filter=filter, **MODES[mode])


def test_reranked_hits_are_those_of_the_single_index(single: Index, sharded: Index) -> None:
    _equal(single, sharded, 4, rerank=Lengths(), rerank_depth=25)


def test_quotes_and_misspelt_words_are_those_of_the_single_index(single: Index, sharded: Index) -> None:
    for text in ('"honey bee" river', "hony stonn", '"light storm"'):
        asked = [index.answer([text], vectors=vectors(1), k=20)[0] for index in (single, sharded)]
        assert asked[0].notices == asked[1].notices
        assert asked[0].hits == asked[1].hits


def test_rows_that_pass_a_filter_are_searched_in_each_shard(
    single: Index, sharded: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("searchapp.index.reader.FEW", 0)  # so that they are not compared all
    for number, filter in enumerate(FILTERS[1:]):
        for index in (single, sharded):
            index.vectors.__dict__.pop("_masks", None)
        _equal(single, sharded, number, mode="dense", filter=filter)


def test_a_batch_finds_what_its_queries_find_alone(single: Index, sharded: Index) -> None:
    asked = vectors(DOCUMENTS)[:70]
    one, other = (index.answer(["x"] * 70, vectors=asked, k=12, mode="dense") for index in (single, sharded))
    for left, right in zip(one, other, strict=True):
        assert [hit.id for hit in left.hits] == [hit.id for hit in right.hits]
        assert np.allclose([hit.score for hit in left.hits], [hit.score for hit in right.hits], atol=1e-6)


def test_documents_ids_vectors_and_likeness_are_those_of_the_single_index(single: Index, sharded: Index) -> None:
    assert len(single) == len(sharded)
    assert list(single) == list(sharded)
    assert ("d1" in sharded, "d0" in sharded, "nothing" in sharded) == (True, False, False)
    names = ["d239", "d1", "d150"]
    assert single.documents(names) == sharded.documents(names)
    assert np.array_equal(single.vectors_of(names), sharded.vectors_of(names))
    assert single.like("d33", 9) == sharded.like("d33", 9)
    with pytest.raises(SearchAppError, match="no document of .* has the id 'd0'"):
        sharded.documents(["d0"])
    with pytest.raises(SearchAppError, match="year"):
        sharded.search("bee", filter="yaer == 2000", mode="bm25")


def test_a_sound_root_has_no_problems_and_a_changed_byte_is_one(folder: Path, tmp_path: Path) -> None:
    split(folder / "single", tmp_path / "root", 3)
    assert examine(tmp_path / "root").problems == ()
    file = next((tmp_path / "root" / "shards" / "s0001" / "data").glob("vectors-*"))
    data = bytearray(file.read_bytes())
    data[5] ^= 4
    file.write_bytes(data)
    assert "does not match its checksum" in examine(tmp_path / "root").problems[0]
    file.write_bytes(data[:-1])
    with pytest.raises(IndexStoreError, match="s0001 cannot be opened: data/vectors"):
        open_index(tmp_path / "root")
    manifest = next((tmp_path / "root" / "shards" / "s0002").glob("manifest-*.json"))
    manifest.write_bytes(manifest.read_bytes().replace(b'"ready"', b'"READY"'))
    manifest.with_suffix(".copy").unlink()
    with pytest.raises(IndexStoreError, match="not the manifest that was published"):
        open_root(tmp_path / "root", names=["s0002"])
    manifest.unlink()
    with pytest.raises(IndexStoreError, match="names manifest . of the shard s0002, which is not there"):
        open_root(tmp_path / "root", names=["s0002"])


def test_some_of_the_shards_are_an_index_of_their_documents(folder: Path, single: Index) -> None:
    part = open_root(folder / "seven", names=["s0003", "s0001"])
    assert [shard.name for shard in part.snapshot.shards] == ["s0001", "s0003"]
    assert part.manifest.rows == 1 + 10
    names = [document.id for document in Index(part)]
    everyone = [f"d{number}" for number in (60, *range(100, 110))]
    assert names == [name for name in everyone if name in single]
    with pytest.raises(IndexStoreError, match="no shard 's9'; expected one of s0000"):
        open_root(folder / "seven", names=["s9"])


@pytest.mark.parametrize("factory", ["SQ4", "IVF8,Flat"])
def test_compressed_shards_lose_no_more_than_the_single_index(
    tmp_path: Path, factory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("searchapp.shards.sharded.SPREAD", 1.0)
    made(tmp_path / "single", factory)
    split(tmp_path / "single", tmp_path / "root", 4)
    single, root = VectorIndex.open(tmp_path / "single"), open_root(tmp_path / "root")
    asked = vectors(100, 9)
    truth = single.search_rows(asked, 10, single.alive, indexed=0)[1]
    recall = []
    for index in (single, root):
        found = index.search_vectors(asked, 10, candidates=20)[1]
        recall.append(np.mean([len(np.intersect1d(*pair)) for pair in zip(found, truth, strict=True)]) / 10)
    assert recall[1] >= recall[0] - 0.01
    everything = root.search_vectors(asked, 10, candidates=1_000)
    assert np.array_equal(everything[1], truth) or factory.startswith("IVF")
    if factory == "SQ4":
        with pytest.raises(IndexStoreError, match="trained apart"):
            root.search_vectors(asked, 10, candidates=0)


def test_a_shard_rescores_its_part_and_some_deviations_more() -> None:
    assert depth_of(100, 1_000, 8_000, 0) == 13
    assert depth_of(100, 1_000, 8_000, 1) == 17
    assert depth_of(200, 10_000_000, 1_000_000_000, 2) == 5
    assert depth_of(100, 7, 7) == 7
    assert depth_of(100, 0, 0) == 0
