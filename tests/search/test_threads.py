"""One request sees one state, and an index can be shared between threads, also while a writer works on it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from searchapp.index import VectorIndex, add, build, compact, delete
from searchapp.search import Fusion, Index

WORDS = ("bees", "honey", "clover", "hive", "queen", "wax", "nectar", "swarm")


def write(path: Path, texts: dict[str, str]) -> Path:
    path.write_text("\n".join(json.dumps({"_id": name, "text": text}) for name, text in texts.items()))
    return path


def text_of(number: int) -> str:
    return " ".join(WORDS[(number * step) % len(WORDS)] for step in (1, 3, 5)) + f" number {number}"


@pytest.fixture
def place(tmp_path: Path, tiny_encoder) -> Path:
    texts = {f"d{number}": text_of(number) for number in range(60)}
    build([str(write(tmp_path / "d.jsonl", texts))], tmp_path / "ix", tiny_encoder, segment_size=20)
    return tmp_path / "ix"


class Refreshing:
    """A reranker that refreshes the index while a request is under way: between the search and the texts."""

    name, kind, fingerprint = "refreshing", "head", "refreshing"

    def __init__(self, index: Index, change) -> None:
        self.index, self.change = index, change

    def score(self, queries, documents, *, progress=None):
        self.change()
        assert self.index.refresh()
        return [np.arange(len(texts), 0, -1, dtype=np.float32) for texts in documents]


def test_a_request_reads_its_texts_from_the_state_it_searched(place: Path, tiny_encoder) -> None:
    index = Index.open(place, encoder=tiny_encoder)
    query = text_of(50)
    before = index.search(query, k=5)
    gone = [f"d{number}" for number in range(30) if f"d{number}" not in {hit.id for hit in before}]

    def change() -> None:
        delete(place, gone)
        compact(place)  # row numbers change

    during = index.search(query, k=5, rerank=Refreshing(index, change))
    assert [(hit.id, hit.text) for hit in during] == [(hit.id, hit.text) for hit in before]
    assert all(hit.text == text_of(int(hit.id[1:])) for hit in during)
    assert index.vectors.manifest.documents == 60 - len(gone), "the refresh is seen by the next request"
    assert [(hit.id, hit.text) for hit in index.search(query, k=5)] == [(hit.id, hit.text) for hit in before]


def test_answers_are_of_one_state_while_a_writer_works(place: Path, tiny_encoder, tmp_path: Path) -> None:
    """Every state holds documents whose text names its version; no answer may mix two versions."""
    index = Index.open(place, encoder=tiny_encoder)
    failures: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                hits = index.search("bees honey", k=60, hybrid=Fusion())
            except Exception as error:  # noqa: BLE001 - a failure in a thread has to reach the test
                failures.append(f"{type(error).__name__}: {error}")
                return
            versions = {hit.text.partition(" version ")[2] for hit in hits}
            if len(versions) > 1 or len({hit.id for hit in hits}) != len(hits):
                failures.append(f"versions {versions}")
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(1, 7):
        changed = {f"d{number}": f"{text_of(number)} version {version}" for number in range(60)}
        add([str(write(tmp_path / "more.jsonl", changed))], place, tiny_encoder)
        index.refresh()
        if version % 2:
            compact(place)
            index.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    assert index.search("bees", k=1)[0].text.endswith("version 6")


def test_weights_that_are_thrown_away_are_safe_under_threads(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("searchapp.index.lexical.bm25.HELD", 40)
    lexical = VectorIndex.open(place).lexical
    queries = [f"{one} {other}" for one in WORDS for other in WORDS]
    expected = lexical.search(queries, 10)
    failures: list[str] = []

    def ask(offset: int) -> None:
        for number in range(200):
            place_of = (number * 7 + offset) % len(queries)
            try:
                scores, rows = lexical.search([queries[place_of]], 10)
            except Exception as error:  # noqa: BLE001 - a failure in a thread has to reach the test
                failures.append(f"{type(error).__name__}: {error}")
                return
            if not (
                np.array_equal(rows[0], expected[1][place_of]) and np.array_equal(scores[0], expected[0][place_of])
            ):
                failures.append(queries[place_of])

    threads = [threading.Thread(target=ask, args=(offset,)) for offset in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    assert 0 <= lexical._held <= 40 + max(len(lexical._weight(word)[0]) for word in WORDS)
