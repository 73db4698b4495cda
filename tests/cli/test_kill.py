"""A build that is really killed, several times, ends as an uninterrupted one; no finished segment is encoded again."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import numpy as np

from searchapp import Encoder
from searchapp.index import VectorIndex, build, verify
from searchapp.index.storage.snapshot import Snapshot
from tests.models import make_checkpoint
from tests.preloaded import Forked, Server

WORDS = "bees fly make honey hives search engine quality measure fox dog quick brown lazy web query passages".split()


def _finish(preloaded: Server, *arguments: object) -> str:
    done = preloaded.start(*arguments).finish()
    assert done.code == 0, done.err
    return done.out


def _kill(process: Forked, index: Path, vectors: int, later: float = 0.0) -> None:
    """Kill it with -9, a moment after so many files of vectors are there."""
    deadline = time.time() + 200
    while len(_vectors(index)) < vectors and time.time() < deadline:
        assert process.poll() is None, "it was over before it could be killed"
        time.sleep(0.01)
    time.sleep(later)
    assert process.kill() == -signal.SIGKILL, "it was over before it could be killed"


def test_kill_minus_nine_at_several_moments(tmp_path: Path, tiny_model: Path, preloaded: Server) -> None:
    rng = random.Random(0)
    corpus = tmp_path / "docs.jsonl"
    with corpus.open("w") as file:
        for i in range(300):
            file.write(json.dumps({"_id": f"d{i}", "text": " ".join(rng.choices(WORDS, k=30)), "n": i}) + "\n")
            if i % 50 == 0:
                file.write("{broken\n")
    queries = ["make honey", "search engine quality", "quick fox"]
    command = ("build", corpus, "--model", tiny_model, "--segment-size", 20, "--pca", 8, "--index")
    _finish(preloaded, *command, tmp_path / "whole")
    want = _finish(preloaded, "search", tmp_path / "whole", *queries, "--json", "--candidates", 50)

    index = tmp_path / "killed"
    before: list[str] = []
    for segments in (1, 5, 10):
        _kill(preloaded.start(*command, index), index, segments, rng.random() * 0.05)
        names = _committed(index)
        assert names[: len(before)] == before, "a finished segment was written again"
        assert len(names) >= segments - 1
        before = names
    _finish(preloaded, *command, index)
    assert [segment.vectors_file for segment in Snapshot.open(index).manifest.segments][: len(before)] == before
    assert _finish(preloaded, "search", index, *queries, "--json", "--candidates", 50) == want
    assert json.loads(_finish(preloaded, "verify", index, "--json")) == {"ok": True, "problems": [], "notices": []}
    rejected = [json.loads(line)["line"] for line in (index / "rejected.jsonl").read_text().splitlines()]
    assert rejected == [
        json.loads(line)["line"] for line in (tmp_path / "whole" / "rejected.jsonl").read_text().splitlines()
    ]
    assert len(rejected) == 6


def test_kill_minus_nine_in_the_middle_of_a_reembed(
    tmp_path: Path, tiny_model: Path, tokenizer, preloaded: Server
) -> None:
    other = make_checkpoint(tmp_path / "other", tokenizer, seed=1, hidden_size=48)
    rng, corpus, index = random.Random(0), tmp_path / "docs.jsonl", tmp_path / "index"
    rows = [{"_id": f"d{i}", "text": " ".join(rng.choices(WORDS, k=30)), "n": i} for i in range(300)]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    old, new = (Encoder.load(str(model), dtype="float32") for model in (tiny_model, other))
    build([str(corpus)], index, old, segment_size=20, pca=8)
    _kill(preloaded.start("reembed", index, "--model", other, "--dtype", "float32"), index, 21)
    found = VectorIndex.open(index)
    assert found.ids()[found.search_vectors(old.encode([rows[7]["text"]]), 1)[1][0, 0]] == "d7"
    done = json.loads(_finish(preloaded, "reembed", index, "--model", other, "--dtype", "float32", "--json"))
    assert done["resumed"] >= 80 and done["resumed"] + done["encoded"] == 300
    assert verify(index) == []
    build([str(corpus)], tmp_path / "fresh", new, segment_size=20, pca=8)
    query = new.encode(["make honey"])
    (scores, rows), (others, places) = (
        VectorIndex.open(root).search_vectors(query, 20) for root in (index, tmp_path / "fresh")
    )
    np.testing.assert_allclose(scores, others, atol=1e-6)
    np.testing.assert_array_equal(rows, places)
    assert build([str(corpus)], index, new, segment_size=20, pca=8).already_done


def _vectors(index: Path) -> list[Path]:
    return list((index / "data").glob("vectors-*"))


def _committed(index: Path) -> list[str]:
    """The vectors of the newest state; none before there is one."""
    if not list(index.glob("manifest-*.json")):
        return []
    return [segment.vectors_file for segment in Snapshot.open(index).manifest.segments]
