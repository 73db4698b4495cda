"""``searchapp tune`` and ``reindex`` by hand's eye: what they print, what they store, what they refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def mine(index: Path, tmp_path: Path) -> Path:
    """A copy of the small index that may be changed."""
    return Path(shutil.copytree(index, tmp_path / "ix"))


def test_reindex_says_what_was_measured_and_info_keeps_it(run, mine: Path) -> None:
    outcome = run("reindex", mine, "--pca", 2, "--factory", "SQ8", "--recall", 0.5)
    assert outcome.code == 0
    assert "→ 2 by PCA" in outcome.out and "SQ8" in outcome.out and "of exact search" in outcome.out
    content = json.loads(run("info", mine, "--json").out)
    assert content["build"]["targets"] == {"recall": 0.5} and content["ann"]["measured"]["recall"] >= 0.5
    assert "recall@10" in run("info", mine).out
    ann = json.loads(run("reindex", mine, "--pca", 0, "--factory", "Flat", "--json").out)["ann"]
    assert (ann["factory"], ann["candidates"], ann["measured"]["recall"]) == ("Flat", 0, 1.0)
    assert run("search", mine, "bees", "-k", 1).code == 0
    assert run("verify", mine).code == 0


def test_tune_prints_the_curve_draws_it_and_stores_a_setting(run, mine: Path, tmp_path: Path) -> None:
    run("reindex", mine, "--factory", "HNSW8,Flat")
    outcome = run("tune", mine, "--recall", 1, "--set", "--png", tmp_path / "curve.png")
    assert outcome.code == 0
    assert "ms/query" in outcome.out and "chosen" in outcome.out and "stored" in outcome.out
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "q.txt").write_text("bees and honey\n\na quick fox\n")
    content = json.loads(run("tune", mine, "--queries", tmp_path / "q.txt", "--json").out)
    assert content["queries"] == 2 and content["current"]["recall"] == 1.0 and len(content["points"]) > 5
    assert json.loads(run("info", mine, "--json").out)["ann"]["candidates"] == content["current"]["candidates"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pca", "many"], ["pca 'many' (--pca)", "auto"]),
        (["--pca", "-3"], ["pca -3 (--pca)"]),
        (["--recall", "1.2"], ["recall 1.2 (--recall)", "0.95"]),
        (["--memory", "lots"], ["--memory 'lots'", "2GB"]),
        (["--memory", "10B"], ["fits into 10 bytes", "--memory"]),
        (["--factory", "Nonsense"], ["'Nonsense'", "IVF1024,SQ8"]),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_one_line(run, mine: Path, arguments: list[str], words: list[str]) -> None:
    before = sorted(path.name for path in mine.glob("manifest-*"))
    outcome = run("reindex", mine, *arguments)
    assert outcome.code == 2
    line = outcome.err.strip().splitlines()[-1]
    assert all(word in line for word in words), line
    assert sorted(path.name for path in mine.glob("manifest-*")) == before


def test_tune_needs_queries_that_are_there(run, mine: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    assert "holds no query" in run("tune", mine, "--queries", tmp_path / "empty.txt").err
    assert "cannot be read" in run("tune", mine, "--queries", tmp_path / "none.txt").err
    assert "does not exist" in run("tune", tmp_path / "nowhere").err
