"""The benchmark of indexes against brute force: recall, sizes and settings are what they are said to be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from searchapp.bench import libraries
from searchapp.bench.vectors import Synthetic, index_of
from searchapp.index import reindex

ROWS, DIM = 3_000, 32
SOME = ["--rival", "SQ8", "--rival", "IVF16,Flat", "--rival", "usearch", "--rival", "hnswlib", "--rounds", 1]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder, made = tmp_path_factory.mktemp("vectors"), Synthetic(ROWS, DIM, topics=40)
    np.save(folder / "v.npy", 3 * np.concatenate([*made.blocks()]))  # the length of a vector does not count
    np.save(folder / "q.npy", made.queries(60))
    return folder / "v.npy", folder / "q.npy"


def test_rivals_are_measured_on_the_same_vectors(run, files: tuple[Path, Path], tmp_path: Path) -> None:
    vectors, queries = files
    target, picture = tmp_path / "b.md", tmp_path / "p.png"
    outcome = run("bench", "index", "--vectors", vectors, "--queries", queries, *SOME, "--json", "--markdown", target,
                  "--plot", picture)  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["vectors"] == {"name": "v.npy", "rows": ROWS, "dim": DIM, "queries": 30, "origin": "q.npy"}
    results = {result["index"].split(":")[0]: result for result in found["results"]}
    libraries = [name for name in ("usearch", "hnswlib") if name not in found["skipped"]]
    assert set(results) == {"Flat", "searchapp auto", "SQ8", "IVF16,Flat", *(
        "usearch f16" if name == "usearch" else name for name in libraries)}  # fmt: skip
    assert results["Flat"]["recall"] == results["searchapp auto"]["recall"] == 1
    assert results["Flat"]["bytes"] == pytest.approx(4 * DIM, rel=0.01)
    assert results["SQ8"]["bytes"] == pytest.approx(DIM, rel=0.1)
    first, second = results["SQ8"]["points"]  # 50 rescored find all there is: with more it is not timed
    assert (first["parameters"], second["parameters"]) == ({}, {"candidates": 50})
    assert first["recall"] < second["recall"] == 1
    assert [point["parameters"] for point in results["IVF16,Flat"]["points"]][-1] == {"nprobe": 16}
    assert results["IVF16,Flat"]["points"][-1]["recall"] == 1  # all lists
    assert all(result["single_ms"] > 0 < result["batch_ms"] for result in results.values())
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert target.read_text().startswith("# Benchmarks\n")
    assert target.read_text().count("\n| ") == 2 + len(results)  # the head and the rule


def test_recall_is_that_of_brute_force(run, files: tuple[Path, Path]) -> None:
    vectors, queries = (np.load(path) for path in files)
    outcome = run("bench", "index", "--vectors", files[0], "--queries", files[1], "--rival", "IVF16,Flat", "--rounds", 1, "--json")  # fmt: skip
    points = json.loads(outcome.out)["results"][-1]["points"]
    least = points[0]
    assert least["parameters"] == {"nprobe": 1}
    import faiss

    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    index = faiss.index_factory(DIM, "IVF16,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(units)
    index.add(units)
    truth = np.argsort(-queries[30:] @ units.T, axis=1)[:, :10]
    rows = index.search(queries[30:], 10)[1]
    recall = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(truth, rows, strict=True)])
    assert least["recall"] == pytest.approx(recall, abs=0.03)  # the vectors are rounded to half precision there
    assert least["recall"] < points[-1]["recall"]


def test_peers_filters_and_updates_are_measured_at_one_recall(run, files: tuple[Path, Path]) -> None:
    outcome = run("bench", "index", "--vectors", files[0], "--queries", files[1], "--rival", "peers", "--no-curves",
                  "--filters", "--updates", "--rounds", 1, "--recall", 0.9, "--json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "this takes about" in outcome.err
    found = json.loads(outcome.out)
    results = {result["index"].split(":")[0]: result for result in found["results"]}
    assert {"Flat", "searchapp auto", "PCAR16,PQ8x4fs,RFlat", "PQ16x4fs,RFlat", "HNSW32"} <= set(results)
    assert len(results) + len(found["skipped"]) == 10
    assert all(result["reached"] == (result["recall"] >= 0.9) for result in results.values())
    assert results["HNSW32"]["reached"]
    least = results["HNSW32"]["parameters"]["efSearch"]
    assert all(
        point["recall"] < 0.9 for point in results["HNSW32"]["points"] if point["parameters"]["efSearch"] < least
    )
    own = results["searchapp auto"]
    assert [round(one["share"], 2) for one in own["filters"]] == [0.01, 0.5]
    assert all(one["recall"] == 1 for result in (own, results["Flat"]) for one in result["filters"])
    assert 10 < own["filters"][0]["passing"] < 60
    assert results["PQ16x4fs,RFlat"]["filters"] == []
    assert own["updates"]["rows"] == 300
    assert own["updates"]["added_recall"] == own["updates"]["deleted_recall"] == 1
    assert "deleted_ms" not in results["HNSW32"]["updates"]
    for name in set(results) & {"usearch f16", "hnswlib", "scann"}:
        assert results[name]["updates"]["deleted_recall"] > 0.8
        assert results[name]["updates"]["added_ms"] > 0


def test_what_takes_longer_than_there_is_time_is_left_out(run, files: tuple[Path, Path]) -> None:
    outcome = run("bench", "index", "--vectors", files[0], "--rival", "HNSW32", "--minutes", 0, "--rounds", 1, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert [result["index"].split(":")[0] for result in found["results"]] == ["Flat", "searchapp auto"]
    assert "give more --minutes" in found["skipped"]["HNSW32"]


def test_an_index_is_measured_without_what_was_deleted(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Synthetic(500, 16, topics=9)
    index_of(tmp_path / "ix", made.blocks(), 16, made.queries(40))
    reindex(tmp_path / "ix")
    assert run("delete", tmp_path / "ix", "3", "7").code == 0
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    outcome = run("bench", "index", tmp_path / "ix", "--rival", "hnswlib", "--rounds", 1, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["vectors"]["rows"] == 498
    assert list(found["skipped"]) == ["hnswlib"]
    assert "hnswlib is left out: not installed" in outcome.err


def test_texts_are_encoded_and_auto_compresses(run, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("searchapp.index.ann.rules.EXACT_LIMIT", 0)
    outcome = run("bench", "index", "--texts", "python:stdlib", "--model", tiny_model, "--documents", 300, "--rounds",
                  1, "--rival", "Flat", "--json", "--memory", "20KB")  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["vectors"]["rows"] == 300
    own = found["results"][1]
    assert "Flat" not in own["index"]
    assert own["points"][0]["recall"] == own["recall"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing given"),
        (["--synthetic", "10"], "100000,1024"),
        (["--synthetic", "10,0"], "100000,1024"),
        (["--synthetic", "100,8", "--texts", "x"], "--texts and --synthetic"),
        (["--synthetic", "100,8", "--rival", "IVFx,Fl"], "no FAISS index"),
        (["--synthetic", "100,8", "--rival", "auto"], "always measured"),
        (["--vectors", "nowhere.npy"], "cannot be read"),
        (["--synthetic", "100,8", "--queries", "q.npy"], "leave it out"),
        (["--synthetic", "100,8", "--plot", "p.png", "--no-curves"], "leave out one of them"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_line(run, arguments: list[str], said: str) -> None:
    outcome = run("bench", "index", *arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
