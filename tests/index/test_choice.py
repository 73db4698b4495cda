"""The choice of an index against brute force by FAISS: what it says of itself is true, and what misses is replaced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from searchapp.bench.vectors import Synthetic, index_of
from searchapp.errors import IndexStoreError
from searchapp.index import VectorIndex, reindex
from searchapp.index.ann.builder import BuiltIndex
from searchapp.index.ann.calibration import CalibrationQueries, OperatingPoint
from searchapp.index.ann.faiss_lib import check_factory
from searchapp.index.ann.finalists import pick
from searchapp.index.ann.request import Targets
from searchapp.index.ann.rules import (
    EXACT_LIMIT,
    FRUGAL,
    TABLE,
    AnnConfig,
    Rule,
    applicable,
    bytes_of,
    default_config,
    instantiate,
    lists_in,
)
from searchapp.index.ann.searcher import AnnIndex
from searchapp.index.ann.train import add, train
from searchapp.index.reindexing import reindex as make_anew
from searchapp.index.storage.manifest_json import load
from searchapp.index.storage.snapshot import Snapshot
from searchapp.index.tune import settle, tune

ROWS, DIM = 4_000, 96


@pytest.fixture(scope="module")
def made() -> Synthetic:
    return Synthetic(ROWS, DIM, topics=60)


@pytest.fixture
def index(tmp_path: Path, made: Synthetic) -> Path:
    index_of(tmp_path / "ix", made.blocks(), DIM, made.queries(200))
    return tmp_path / "ix"


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules as for an index too large for exact search."""
    monkeypatch.setattr("searchapp.index.ann.rules.EXACT_LIMIT", 0)


def true_recall(path: Path, queries: np.ndarray) -> float:
    import faiss

    opened = VectorIndex.open(path)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(np.concatenate([*opened.vectors.blocks()]))
    least = flat.search(queries, 10)[0][:, -1:]
    scores, _ = opened.search_vectors(queries, 10)
    return float((scores >= least - 1e-5).mean())


def test_small_is_exact_and_large_is_frugal() -> None:
    assert [choice.factory for _, choice in applicable(1_000, 256, None, Targets())] == ["Flat"]
    for rows, dim in ((300_000, 4_096), (160_000, 1_024), (2_000_000, 768), (150_000, 256)):
        pairs = applicable(rows, dim, None, Targets())
        assert pairs
        for rule, choice in pairs:
            if not rule.exact:
                assert bytes_of(rule, choice.pca or dim, rows) <= 4 * dim / FRUGAL
            else:
                assert rows * dim * 4 <= 1 << 32
    assert EXACT_LIMIT < 150_000 * 256


def test_no_fast_scan_of_flat_codes_where_its_sums_overflow() -> None:
    for dim in (1_025, 2_048, 4_096):
        for reduced in (None, 0, dim):
            for _, choice in applicable(300_000, dim, reduced, Targets(memory=1e12)):
                assert choice.pca or not choice.factory.endswith(",RaBitQfs") or "IVF" in choice.factory


@pytest.mark.parametrize("dim", [1, 3, 8, 17, 100, 127, 128, 384, 1_000, 1_025, 2_049, 4_096])
def test_whatever_the_rules_come_to_faiss_can_make(dim: int) -> None:
    rows = 300_000
    for reduced in (None, 0, max(1, dim // 3)):
        for rule, choice in applicable(rows, dim, reduced, Targets(memory=1e12, latency=1)):
            size = choice.pca or dim
            assert choice.pca is None or choice.pca < dim
            check_factory(choice.factory, size)
            small = instantiate(rule, 5_000, dim, choice.pca)
            if lists_in(small.factory):
                assert lists_in(small.factory) < lists_in(choice.factory)


def test_bytes_of_a_vector_are_estimated_as_written(made: Synthetic) -> None:
    """Of what each vector adds; rotations, codebooks and centroids are there once."""
    import faiss

    vectors = np.concatenate([*made.blocks()])
    for rule in TABLE:
        choice = instantiate(rule, 100, DIM, None)  # few lists: they are filled up to a multiple of 32
        size = choice.pca or DIM
        kept = np.ascontiguousarray(vectors[:, :size])
        index, sizes = train(choice, kept), []
        for half in (kept[: ROWS // 2], kept[ROWS // 2 :]):
            add(choice, index, iter([half]))
            sizes.append(len(faiss.serialize_index(index)))
        written = (sizes[1] - sizes[0]) / (ROWS / 2)
        assert written == pytest.approx(rule.per_dim * size + rule.fixed, rel=0.2, abs=1.5), choice.factory


def test_a_target_is_reached_with_an_error_to_spare() -> None:
    rng = np.random.default_rng(0)
    shares = rng.choice([0.9, 1.0], size=300)  # a mean of 0.95, and a standard error of 0.003
    probes = CalibrationQueries(np.zeros((300, 4), dtype=np.float32), np.zeros(300, dtype=np.float32), 10)
    cosines = np.where(np.arange(10) < np.round(10 * shares)[:, None], 1.0, -1.0)
    point = probes.point({}, 10, cosines)
    assert point.recall == pytest.approx(shares.mean())
    assert point.error == pytest.approx(shares.std() / np.sqrt(300))


def test_one_index_is_built_where_it_keeps_to_what_was_asked(
    index: Path, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searchapp.index.ann import builder

    honest, built = builder.calibrate, []

    def slowed(subject, probes, factory, target, likely):  # noqa: ANN202
        """The first index that is built over all vectors takes long."""
        built.append(factory)
        point = honest(subject, probes, factory, target, likely)
        return replace(point, milliseconds=9.0 if len(built) == 1 else 1.0)

    monkeypatch.setattr("searchapp.index.ann.builder.calibrate", slowed)
    monkeypatch.setattr("searchapp.index.ann.rules.TABLE", (Rule("a", "SQ8", 1, 0), Rule("b", "HNSW8,SQ8", 1, 80)))
    manifest = reindex(index, factory="auto", targets=Targets(memory=1e9, latency=2.0))
    assert len(built) == 2 and manifest.ann is not None
    assert manifest.ann.factory == built[1]
    assert f"{built[0]} took 9.00 ms a query over all vectors" in manifest.ann.notes
    assert [name.split("-")[0] for name in manifest.files].count("faiss") == 1
    assert len([*(index / "data").glob("faiss-*")]) <= 1
    built.clear()
    reindex(index, factory="auto", targets=Targets(memory=1e9))
    assert len(built) == 1


@pytest.mark.parametrize(("rows", "dim"), [(2, 16), (5, 8), (12, 32), (50, 256), (50, 768), (700, 96)])
def test_few_documents_are_no_reason_to_fail(tmp_path: Path, rows: int, dim: int) -> None:
    made = Synthetic(rows, dim, topics=2)
    index_of(tmp_path / "ix", made.blocks(), dim, made.queries(20))
    for targets in (Targets(latency=5), Targets(memory=4.0 * rows * dim + 1e5)):
        ann = reindex(tmp_path / "ix", factory="auto", targets=targets).ann
        assert ann is not None and ann.measured["recall"] >= 0.99


def test_the_smallest_reduction_is_the_last_that_is_tried(tmp_path: Path, large: None) -> None:
    made, stages = Synthetic(6_000, 128, topics=60), []
    index_of(tmp_path / "ix", made.blocks(), 128, made.queries(100))
    targets = Targets(recall=0.8, memory=250_000)
    manifest = make_anew(tmp_path / "ix", pca="auto", factory="auto", targets=targets, stage=stages.append)
    assert manifest.ann is not None and manifest.reduction is not None
    built = [stage for stage in stages if stage.startswith("building")]
    assert built and all(f"x {manifest.reduction.dim}" in stage for stage in built)


@pytest.mark.parametrize(
    ("targets", "measured", "chosen"),
    [
        (Targets(latency=1.0), {"SQ8": (0.97, 100), "SQ4": (1.04, 50)}, "SQ8"),
        (Targets(latency=2.0), {"SQ8": (0.97, 100), "SQ4": (1.04, 50)}, "SQ4"),
        (Targets(memory=95.0 * ROWS), {"SQ8": (0.90, 100), "SQ4": (1.04, 90)}, "SQ4"),
        (Targets(memory=80.0 * ROWS), {"SQ8": (0.90, 100), "SQ4": (1.04, 90)}, "SQ8"),
        (Targets(), {"SQ8": (1.0, 100), "SQ4": (1.2, 50)}, "SQ8"),
    ],
)
def test_of_finalists_the_one_that_keeps_to_what_was_asked(
    targets: Targets, measured: dict[str, tuple[float, int]], chosen: str
) -> None:
    built = [
        BuiltIndex(AnnConfig(name, 50, {}), name, OperatingPoint({}, 50, 0.995, milliseconds), size)
        for name, (milliseconds, size) in measured.items()
    ]
    assert pick(built, targets, ROWS).config.factory == chosen


def test_what_is_stored_is_what_brute_force_finds(index: Path, made: Synthetic, large: None) -> None:
    manifest = reindex(index, factory="auto")
    ann = manifest.ann
    assert ann is not None and ann.factory != "Flat" and ann.candidates >= 100
    assert ann.measured["recall"] >= 0.99
    assert true_recall(index, made.queries(200)) == pytest.approx(ann.measured["recall"], abs=0.002)
    assert ann.measured["bytes"] == pytest.approx(manifest.files[ann.file].size / ROWS)
    assert ann.measured["milliseconds"] > 0
    assert load(max(index.glob("manifest-*.json"))).ann == ann


def test_a_type_that_misses_on_the_sample_is_replaced_and_that_is_said(
    index: Path, made: Synthetic, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Rule("product codes", "PQ2x4", 0.01, 0)
    monkeypatch.setattr("searchapp.index.ann.rules.TABLE", (TABLE[0], bad))
    ann = reindex(index, factory="auto").ann
    assert ann is not None and ann.factory == "Flat"
    assert any("PQ2x4 reached recall 0." in note and "4,000 vectors" in note for note in ann.notes)
    monkeypatch.setattr("searchapp.index.ann.rules.TABLE", (bad,))
    ann = reindex(index, factory="auto").ann
    assert ann is not None and ann.factory == "PQ2x4"
    assert any("0.99 was asked for" in note for note in ann.notes)


def test_a_type_that_only_shines_on_the_sample_is_replaced(
    index: Path, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from searchapp.index.ann import builder

    honest = builder.calibrate

    def dimmed(subject, probes, factory, target, likely):  # noqa: ANN202
        point = honest(subject, probes, factory, target, likely)
        return (
            point
            if factory == "Flat"
            else builder.OperatingPoint(point.parameters, point.candidates, 0.5, point.milliseconds)
        )

    monkeypatch.setattr("searchapp.index.ann.builder.calibrate", dimmed)
    manifest = reindex(index, factory="auto")
    assert manifest.ann is not None and manifest.ann.factory == "Flat"
    assert any("reached recall 0.500 of 0.99 over all vectors" in note for note in manifest.ann.notes)
    assert sum(name.startswith("faiss-") for name in manifest.files) == 1


def test_targets_are_kept_to_or_said(index: Path, made: Synthetic, large: None) -> None:
    loose = reindex(index, factory="auto", targets=Targets(recall=0.9)).ann
    assert loose is not None and loose.measured["recall"] >= 0.9
    with pytest.raises(IndexStoreError, match="no index of 4,000 vectors of 96 dimensions fits into 100 bytes"):
        reindex(index, targets=Targets(memory=100))
    slow = reindex(index, targets=Targets(latency=1e-6)).ann
    assert slow is not None and any("ms were asked for" in note for note in slow.notes)
    for wrong in (Targets(recall=0), Targets(recall=1.1), Targets(memory=-1), Targets(latency=0)):
        with pytest.raises(IndexStoreError, match="--(recall|memory|latency)"):
            reindex(index, targets=wrong)


@pytest.mark.parametrize("factory", ["IVF16,Flat", "SQ8", "PQ8x4fs", "HNSW16,Flat", "RR,RaBitQ", "PCA32,SQ8"])
def test_any_factory_string_is_measured_as_it_is(index: Path, made: Synthetic, factory: str) -> None:
    ann = reindex(index, factory=factory, targets=Targets(recall=0.95)).ann
    assert ann is not None and ann.factory == factory
    assert true_recall(index, made.queries(200)) == pytest.approx(ann.measured["recall"], abs=0.002)
    assert ann.measured["recall"] >= 0.95 or any("0.95 was asked for" in note for note in ann.notes)


def test_the_smallest_reduction_that_keeps_the_target(index: Path, made: Synthetic) -> None:
    manifest = reindex(index, pca="auto", factory="Flat", targets=Targets(recall=0.95))
    assert manifest.reduction is not None and manifest.ann is not None
    small = manifest.reduction.dim
    assert small < DIM and manifest.ann.measured["recall"] >= 0.95
    assert true_recall(index, made.queries(200)) >= 0.94
    assert any(f"PCA {dim} reached recall" in note for note in manifest.ann.notes for dim in range(small))
    more = reindex(index, pca="auto", factory="Flat", targets=Targets(recall=0.999))
    assert more.reduction is None or more.reduction.dim > small


def test_a_reader_keeps_the_old_index_and_what_is_not_given_stays(index: Path, made: Synthetic) -> None:
    reindex(index, factory="IVF8,Flat", pca=16)
    reader = VectorIndex.open(index)
    before = reader.search_vectors(made.queries(5), 10)
    after = make_anew(index, factory="SQ8")
    assert after.reduction is not None and after.reduction.dim == 16 and after.build.factory == "SQ8"
    assert make_anew(index, pca=0).reduction is None
    make_anew(index, factory="Flat")
    np.testing.assert_array_equal(reader.search_vectors(made.queries(5), 10)[1], before[1])


def test_a_curve_is_measured_and_a_setting_of_it_stored(index: Path, made: Synthetic) -> None:
    reindex(index, factory="IVF32,SQ8", targets=Targets(recall=0.9))
    curve = tune(VectorIndex.open(index))
    pareto_front = curve.pareto_front()
    assert all(
        a.recall < b.recall and a.milliseconds <= b.milliseconds
        for a, b in zip(pareto_front, pareto_front[1:], strict=False)
    )
    chosen = curve.fastest(0.999)
    settle(index, VectorIndex.open(index).manifest, chosen, curve.queries)
    ann = Snapshot.open(index).manifest.ann
    assert (ann.parameters, ann.candidates, ann.measured["recall"]) == (
        chosen.parameters,
        chosen.candidates,
        chosen.recall,
    )
    assert true_recall(index, made.queries(200)) == pytest.approx(chosen.recall, abs=0.002)
    with pytest.raises(IndexStoreError, match="reaches recall"):
        curve.fastest(1.01)


@pytest.mark.parametrize(
    "factory", ["IVF16,SQ8", "HNSW16,Flat", "RR,RaBitQ", "SQ8", "RR,IVF8,RaBitQfs", "RR,IVF8,RaBitQ"]
)
def test_filters_reach_into_every_type(made: Synthetic, factory: str) -> None:
    vectors, queries = np.concatenate([*made.blocks()]), made.queries(20)
    allowed = np.random.default_rng(0).random(ROWS) < 0.1
    choice = default_config(factory, reduced=False)
    raw = train(choice, vectors)
    add(choice, raw, iter([vectors]))
    opened = AnnIndex(raw, choice.parameters)
    opened.set(choice.parameters)
    assert opened.filters
    _, rows = opened.search(queries, 200, allowed)
    assert allowed[rows[rows >= 0]].all()
    truth = np.argsort(-np.where(allowed, queries @ vectors.T, -2), axis=1)[:, :10]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, truth, strict=True)]) >= 0.95
