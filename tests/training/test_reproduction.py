"""The reproduction's own arithmetic: one pass for all poolings, paired resamples, the order of the cells."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from searchapp import Encoder
from searchapp.encoder.inference import embed_tokens
from tests.models import make_checkpoint, make_tokenizer
from training.reproduction import tasks, vectors
from training.reproduction.cells import Places, measure, ready
from training.reproduction.plan import POOLINGS, TASKS, cells, variants
from training.reproduction.report import difference, needed, read_results, tables
from training.reproduction.vectors import Pass

TEXTS = ["a bee", "honey from the hives of the north", "", "a bee", "wax", "one two three four five six seven"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model"), make_tokenizer())


def test_one_pass_gives_what_an_encoder_of_each_pooling_gives(model: Path) -> None:
    found = Pass(Encoder.load(str(model))).pooled(TEXTS, POOLINGS, "Find:")
    for pooling in POOLINGS:
        expected = Encoder.load(str(model), pooling=pooling).encode(TEXTS, "Find:")
        np.testing.assert_allclose(found[pooling], expected, atol=1e-5)


def test_a_pass_that_was_stopped_goes_on_with_the_windows_that_are_left(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "WINDOW", 2)
    encoder = Encoder.load(str(model))
    expected = Pass(encoder).pooled(TEXTS, POOLINGS)
    read: list[int] = []

    def counted(backend: object, items: list[object], rows: object) -> object:
        read.append(len(items))
        if sum(read) == 4:
            raise KeyboardInterrupt
        return embed_tokens(backend, items, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(vectors, "embed_tokens", counted)
    with pytest.raises(KeyboardInterrupt):
        Pass(encoder, tmp_path / "kept").pooled(TEXTS, POOLINGS)
    found = Pass(encoder, tmp_path / "kept").pooled(TEXTS, POOLINGS)
    assert sum(read) == 4 + 3  # five distinct texts: two, then two that were lost; then three
    assert all((found[pooling] == expected[pooling]).all() for pooling in POOLINGS)


def test_resamples_are_the_same_for_every_model_and_differ_between_sets() -> None:
    assert (tasks.resamples("a", 50) == tasks.resamples("a", 50)).all()
    assert (tasks.resamples("a", 50) != tasks.resamples("b", 50)).any()


def test_a_paired_difference_is_narrower_than_the_parts() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(200)
    one, other = hard + 0.02 * rng.random(200) + 0.05, hard
    parts = [
        tasks.figures({"set": (values.mean(), values[tasks.resamples("set", 200)].mean(axis=1))})
        for values in (one, other)
    ]
    value, low, high = difference(*parts)
    assert value == pytest.approx(float((one - other).mean()), abs=1e-4)
    assert 0.055 < low < value < high < 0.065
    assert parts[1]["high"] - parts[1]["low"] > 5 * (high - low)


def test_how_many_queries_would_decide() -> None:
    assert needed(100, (0.1, -0.1, 0.3)) == 400
    assert needed(100, (-0.2, -0.3, -0.1)) == 25


def test_cells_are_distinct_and_each_is_one_that_a_variant_has() -> None:
    order = cells()
    assert len(set(order)) == len(order)
    assert all(task in variants(seed)[name].tasks for name, task, seed in order)
    assert {(name, task) for name, task, _ in order} == {
        (name, task) for name, variant in variants(42).items() for task in variant.tasks
    }
    known = list(variants(42))
    assert all(
        variant.start == "base" or known.index(variant.start) < known.index(name)
        for name, variant in variants(42).items()
    )
    assert set(TASKS) == set(tasks.MEASURES)


def test_a_cell_is_measured_once_and_its_figures_are_those_of_scipy(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(0)
    rows = [(rng.choice(TEXTS[:2] + TEXTS[4:]) + f" {n}", rng.choice(TEXTS[4:]), rng.random()) for n in range(40)]
    monkeypatch.setattr(tasks, "STS", ("mine/dev",))
    (tmp_path / "sts" / "mine").mkdir(parents=True)
    with gzip.open(tmp_path / "sts" / "mine" / "dev.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("".join(f"{one}\t{other}\t{score}\n" for one, other, score in rows))
    places = Places(model, tmp_path, tmp_path / "work", tmp_path / "results")
    found = measure(places, "bi", "sts", 42)["figures"]["mean"]
    encoder = Encoder.load(str(model), bidirectional=True)
    cosines = (encoder.encode([row[0] for row in rows]) * encoder.encode([row[1] for row in rows])).sum(axis=1)
    assert found["value"] == pytest.approx(spearmanr([row[2] for row in rows], cosines).statistic, abs=1e-4)
    file = places.result("bi", "sts", 42)
    before = file.stat().st_mtime_ns
    assert measure(places, "bi", "sts", 42) == json.loads(file.read_text(encoding="utf-8"))
    assert file.stat().st_mtime_ns == before
    assert "| bidirectional | " in tables(read_results(places))
    assert not ready(places, variants(42)["mntp"], 42)
