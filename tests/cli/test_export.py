"""``searchapp export`` as it is run: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from searchapp import Encoder
from searchapp.search import Index


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory, index: Path, tiny_model: Path) -> Path:
    from searchapp.cli import main

    place = tmp_path_factory.mktemp("reduced") / "ix"
    with pytest.raises(SystemExit) as stop:
        main(
            ["build", str(index.parent / "docs.jsonl"), "--index", str(place), "--model", str(tiny_model), "--pca", "3"]
        )
    assert stop.value.code == 0
    return place


def test_what_is_written_loads_as_it_is_said(run, tmp_path: Path, tiny_model: Path) -> None:
    target = tmp_path / "merged"
    outcome = run("export", tiny_model, "--to", target)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].startswith(f"{target}: 32 dimensions, float32")
    program = "\n".join(line.strip() for line in lines[-2:])
    names: dict = {}
    exec(program, names)  # what a user copies
    want = Encoder.load(str(tiny_model)).encode_documents(["bees fly"])
    np.testing.assert_allclose(names["model"].encode(["bees fly"]), want, atol=1e-5)
    assert "more than 400 tokens" in outcome.err
    outcome = run("export", tiny_model, "--to", target)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "is not empty" in outcome.err
    assert run("export", tiny_model, "--to", target, "--overwrite", "--dtype", "bfloat16").code == 0
    assert "bfloat16" in json.loads((target / "config.json").read_text())["dtype"]


def test_a_query_of_sentence_transformers_is_one_of_the_index(run, tmp_path: Path, tiny_model: Path, reduced) -> None:
    from sentence_transformers import SentenceTransformer

    target = tmp_path / "merged"
    outcome = run("export", tiny_model, "--to", target, "--with-pca", reduced)
    assert outcome.code == 0, outcome.err
    assert "3 dimensions, reduced from 32" in outcome.out
    index = Index.open(reduced)
    queries = ["bees", "how do foxes jump"]
    want = index.vectors.reduction.apply(index.encoder.encode_queries(queries))
    got = SentenceTransformer(str(target), device="cpu").encode_query(queries)
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert Encoder.load(str(target)).dim == 32


def test_refusals_are_one_line(run, tmp_path: Path, tiny_model: Path, index: Path, reduced: Path) -> None:
    target = tmp_path / "merged"
    used = tmp_path / "used"
    used.mkdir()
    (used / "a").write_text("a")
    for arguments, words in (
        ((tiny_model, "--to", target, "--with-pca", index), "is not reduced"),
        ((tiny_model, "--to", target, "--with-pca", tmp_path / "none"), "does not exist"),
        (("bundled", "--to", target, "--with-pca", reduced), "made by another encoder"),
        ((tiny_model, "--to", target, "--with-pca", reduced, "--pooling", "last"), "pooling differs"),
        ((tiny_model, "--to", target, "--with-pca", reduced, "--merge-only"), "give one"),
        ((tiny_model, "--to", target, "--pooling", "weighted_mean"), "--merge-only"),
        ((tiny_model, "--to", used), "is not empty"),
        ((tiny_model, "--to", used, "--overwrite"), "no earlier export"),
        ((tmp_path / "none", "--to", target), "does not exist"),
        ((tiny_model,), "--to"),
    ):
        outcome = run("export", *arguments)
        assert (outcome.code, outcome.out) == (2, ""), arguments
        assert outcome.err.count("\n") == 1
        assert words in outcome.err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["used"]


def test_merge_only(run, tmp_path: Path, tiny_model: Path) -> None:
    outcome = run("export", tiny_model, "--to", tmp_path / "merged", "--merge-only", "--pooling", "weighted_mean")
    assert outcome.code == 0, outcome.err
    assert "Encoder.load" in outcome.out
    want = Encoder.load(str(tiny_model), pooling="weighted_mean").encode(["bees fly"])
    np.testing.assert_allclose(Encoder.load(str(tmp_path / "merged")).encode(["bees fly"]), want, atol=1e-5)
