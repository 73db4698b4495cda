"""Shards on several servers answer as one index; what is lost is said; one answer is of one generation."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("msgspec")

from searchapp import Index
from searchapp.errors import SearchAppError
from searchapp.index import VectorIndex
from searchapp.serve.shard_mount import mounted
from searchapp.shards.peers import LostShardsError, PeerAddress, StaleGenerationError
from searchapp.shards.remote import Cluster, RemoteIndex
from searchapp.shards.split import split
from tests.serve.local import running
from tests.shards.roots import DIM, DOCUMENTS, WORDS, made, vectors
from tests.shards.test_sharded import FILTERS, MODES, Lengths

CUTS = [60, 61, 100, 110, 150, 150]
NAMES = [f"s{number:04d}" for number in range(7)]
TOKEN = "a-token-of-the-machines"


def serving(stack: ExitStack, root: Path, names: tuple[str, ...], port: int = 0, token: str | None = TOKEN) -> str:
    """The address of a shard server that runs until the stack is left."""
    server = stack.enter_context(running({"root": root}, shards=names, mounts=(mounted,), port=port, token=token))
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("machines")
    made(folder / "single")
    split(folder / "single", folder / "root", CUTS)
    return folder


@pytest.fixture(scope="module")
def two(folder: Path) -> Iterator[list[str]]:
    """Two servers, one with the first three shards, one with the others and the third."""
    with ExitStack() as stack:
        yield [serving(stack, folder / "root", tuple(NAMES[:3])), serving(stack, folder / "root", tuple(NAMES[2:]))]


def cluster(addresses: list[str], **more: object) -> Cluster:
    named = [f"{addresses[0]}={','.join(NAMES[:3])}", f"{addresses[1]}={','.join(NAMES[2:])}"]
    return Cluster([PeerAddress.of(text) for text in named], TOKEN, **more)


@pytest.fixture(scope="module")
def remote(folder: Path, two: list[str]) -> RemoteIndex:
    return cluster(two).open(folder / "root")


@pytest.fixture(scope="module")
def single(folder: Path) -> Index:
    return Index(VectorIndex.open(folder / "single"))


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("mode", MODES)
def test_shards_on_two_servers_answer_as_the_single_index(
    single: Index, remote: RemoteIndex, mode: str, filter: str | None
) -> None:
    chance, drawn, other = random.Random(7), np.random.default_rng(7), Index(remote)
    for _ in range(4):
        text = " ".join(chance.sample(WORDS, 2))
        known = vectors(DOCUMENTS)[chance.randrange(DOCUMENTS)]
        vector = known if chance.random() < 0.5 else known + drawn.normal(size=DIM).astype(np.float32)
        k = chance.choice((1, 10, 300))
        options = {"filter": filter, "vectors": vector, "k": k, "literal": True, **MODES[mode]}
        one, two = (index.answer([text], **options)[0].hits for index in (single, other))
        assert [(hit.id, hit.text, hit.metadata) for hit in one] == [(hit.id, hit.text, hit.metadata) for hit in two]
        scores = [[hit.score for hit in hits] for hits in (one, two)]
        assert scores[0] == scores[1] if mode == "bm25" or filter is None else np.allclose(*scores, atol=1e-5)


def test_hits_are_reranked_once_and_ids_are_found(single: Index, remote: RemoteIndex) -> None:
    other = Index(remote)
    options = {"vectors": vectors(1), "rerank": Lengths(), "rerank_depth": 25, "literal": True, "k": 30}
    one, two = (index.answer(["honey hive"], **options)[0].hits for index in (single, other))
    assert one == two
    assert single.like("d33", 9) == other.like("d33", 9)
    assert other.documents(["d239", "d1"]) == single.documents(["d239", "d1"])
    assert "d0" not in other
    with pytest.raises(SearchAppError, match="yaer"):
        other.answer(["honey"], mode="bm25", filter="yaer == 2000", literal=True)
    [typed] = other.answer(['"honey hive"'], mode="bm25")  # its words and texts are not here
    assert typed.notices == ("over machines quotes are not looked up; searched without them",)
    assert typed.hits == other.answer(["honey hive"], mode="bm25", literal=True)[0].hits


def test_another_server_answers_for_one_that_is_gone(folder: Path, two: list[str], single: Index) -> None:
    with ExitStack() as stack:
        gone = serving(stack, folder / "root", tuple(NAMES))
    named = [f"{gone}", *(f"{address}" for address in two)]
    named[1] += "=" + ",".join(NAMES[:3])
    named[2] += "=" + ",".join(NAMES[2:])
    index = Cluster([PeerAddress.of(text) for text in named], TOKEN).open(folder / "root")
    asked = vectors(5, 3)
    for _ in range(3):
        found, truth = (one.search_vectors(asked, 10) for one in (index.for_request(), single.vectors))
        assert np.array_equal(found[1], truth[1])


def test_lost_shards_are_refused_or_said(folder: Path, two: list[str]) -> None:
    with ExitStack() as stack:
        gone = serving(stack, folder / "root", tuple(NAMES))
    strict = cluster([two[0], gone]).open(folder / "root")
    with pytest.raises(LostShardsError, match="s0003, s0004, s0006") as lost:  # the empty one is not asked
        strict.for_request().search_vectors(vectors(1), 10)
    with pytest.raises(LostShardsError):
        strict.after(lost.value)
    lenient = cluster([two[0], gone], require_all=False).open(folder / "root").for_request()
    part = lenient.after(lost.value)
    assert part.coverage.shards == (4, 7)  # of which one is empty
    assert part.coverage.missing == ("s0003", "s0004", "s0006")
    scores, rows = part.search_vectors(vectors(1), 300)
    assert set(rows[0][rows[0] >= 0].tolist()) <= set(range(100))
    assert (rows[0] >= 0).sum() == part.count() == part.coverage.documents[0]
    assert part.search_words(["honey"], 5)[1].max() < 100
    everything = lost.value.names + ("s0000", "s0001", "s0002")
    with pytest.raises(LostShardsError):
        lenient.after(LostShardsError(everything, "test"))


def test_a_generation_that_is_not_held_is_refused(remote: RemoteIndex) -> None:
    from dataclasses import replace

    other = RemoteIndex(remote.snapshot, replace(remote.root, generation=9), remote.cluster)
    with pytest.raises(StaleGenerationError, match="generation 9 is not held; there are 1"):
        other.search_vectors(vectors(1), 3)


def test_strangers_and_wrong_bytes_are_refused(folder: Path, two: list[str]) -> None:
    stranger = Cluster([PeerAddress.of(address) for address in two], "another-token-of-someone").open(folder / "root")
    with pytest.raises(SearchAppError, match="asks for another token"):
        stranger.search_vectors(vectors(1), 3)
    for text in ("127.0.0.1:80", "ftp://host=a", "http://host/path=a", "http://:80", "http://u@host"):
        with pytest.raises(SearchAppError, match="no shard server"):
            PeerAddress.of(text)
    with pytest.raises(SearchAppError, match="does not hold the shard s0003"):
        named = [PeerAddress.of(f"{two[0]}={','.join(NAMES)}")]
        Cluster(named, TOKEN).open(folder / "root").search_vectors(vectors(1), 3)
