"""What is said of files that are not in memory follows from pages counted, reads measured, and the memory there is."""

from __future__ import annotations

import json
import mmap
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from searchapp.bench.vectors import Synthetic, index_of
from searchapp.index import VectorIndex, reindex
from searchapp.index.ann import build_ann, cold
from searchapp.index.ann.calibration import OperatingPoint
from searchapp.index.ann.cold import ColdReads, measure_reads, row_milliseconds, with_point
from searchapp.index.ann.files import _prefetch
from searchapp.index.ann.rules import GIVEN, default_config
from searchapp.index.ann.trials import Trial, finalists

READS = ColdReads(page=0.25, rate=1_000.0)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cold") / "ix"
    made = Synthetic(9_000, 48, topics=40)  # two segments, rows of 96 bytes, some over the end of a page
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_ann, "measure_reads", lambda files: READS)
        index_of(path, made.blocks(), 48, made.queries(50))
        reindex(path, factory="HR,RaBitQfs")
    return path


def test_pages_of_rows_are_those_their_bytes_lie_on(index: Path) -> None:
    vectors = VectorIndex.open(index).vectors
    assert len(vectors.files()) == 2
    first = vectors.files()[0].stat().st_size // 96
    rng = np.random.default_rng(0)
    for rows in (np.array([42]), np.array([0, 1, 2]), np.array([first - 1, first]), rng.choice(9_000, 200)):
        pages = set()
        for row in rows.tolist():
            file, place = (0, row) if row < first else (1, row - first)
            pages |= {(file, byte // mmap.PAGESIZE) for byte in range(96 * place, 96 * place + 96)}
        assert vectors.pages(rows) == len(pages)
    assert vectors.pages(np.array([], dtype=np.int64)) == 0


def test_a_cold_query_takes_its_reads_longer(index: Path) -> None:
    opened = VectorIndex.open(index)
    ann = opened.manifest.ann
    assert ann is not None
    said = ann.measured
    assert said["cold_milliseconds"] == pytest.approx(said["milliseconds"] + said["pages"] * 0.25)
    assert 1 < said["pages"] <= 2 * ann.candidates
    assert said["page_milliseconds"] == 0.25
    codes = opened.snapshot.path(ann.file).stat().st_size
    assert said["load_milliseconds"] == pytest.approx(codes / 1_000, rel=0.01)


def test_it_is_printed_and_follows_the_setting(run, index: Path) -> None:
    outcome = run("info", index)
    assert "ms/query while the vectors are on disk only" in outcome.out
    said = json.loads(run("info", index, "--json").out)["ann"]["measured"]
    ann = VectorIndex.open(index).manifest.ann
    assert ann is not None
    after = with_point(said, ann.candidates, OperatingPoint({}, 2 * ann.candidates, 1.0, milliseconds=7.0))
    assert after["pages"] == pytest.approx(2 * said["pages"])
    assert after["cold_milliseconds"] == pytest.approx(7 + after["pages"] * 0.25)
    before = {"recall": 1.0, "milliseconds": 1.0}  # of an index made before
    assert with_point(before, 40, OperatingPoint({}, 80, 1.0)) == before


def test_reading_counts_where_vectors_do_not_fit(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = VectorIndex.open(index).vectors
    stored = 9_000 * 48 * 2
    monkeypatch.setattr(cold, "machine_memory", lambda: 10 * stored)
    assert row_milliseconds(READS, vectors) == 0
    monkeypatch.setattr(cold, "machine_memory", lambda: stored / cold.IN_MEMORY / 2)  # half of them fit
    found = row_milliseconds(READS, vectors)
    assert 0.5 * 0.25 <= found <= 0.5 * 0.25 * 1.1  # few rows lie on two pages
    assert row_milliseconds(None, vectors) == 0


def test_an_index_with_fewer_candidates_is_preferred_then() -> None:
    deep = Trial(GIVEN, default_config("A", reduced=False), OperatingPoint({}, 400, 1.0), expected=1.0)
    slow = Trial(GIVEN, default_config("B", reduced=False), OperatingPoint({}, 40, 1.0), expected=2.0)
    [first, _], _ = finalists([deep, slow], 8, 1_000, 0.9)
    assert first.config == deep.config
    [first, _], _ = finalists([one.with_reading(0.01) for one in (deep, slow)], 8, 1_000, 0.9)
    assert first.config == slow.config
    assert replace(deep.point, milliseconds=1.0, reading=4.0).expected == 5.0  # type: ignore[type-var]


def test_reads_are_measured_on_files_that_are_not_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.write(bytes(1 << 22))
        file.flush()
        os.fsync(file.fileno())
    found = measure_reads([tmp_path / "f"])
    assert found is None or (0 < found.page < 1_000 and found.rate > 0)
    every = np.arange((1 << 22) // mmap.PAGESIZE)
    monkeypatch.setattr(cold, "absent_pages", lambda mapped: every)
    found = measure_reads([tmp_path / "f"])
    assert found is not None
    assert found.page > 0 < found.rate
    monkeypatch.setattr(cold, "absent_pages", lambda mapped: every[:3])  # all but three are kept by other programs
    assert measure_reads([tmp_path / "f"]) is None
    assert measure_reads([]) is None


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no system to ask")
def test_an_index_is_read_ahead_of_its_opening(tmp_path: Path) -> None:
    path, absent = tmp_path / "f", -1
    with path.open("wb") as file:
        file.write(bytes(1 << 22))
        file.flush()
        os.fsync(file.fileno())
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if not len(cold.absent_pages(mapped)):
            pytest.skip("this file system is memory")
        _prefetch(path)
        until = time.monotonic() + 10
        while (absent := len(cold.absent_pages(mapped))) and time.monotonic() < until:
            time.sleep(0.01)
    assert absent == 0
    _prefetch(tmp_path / "none")  # FAISS says what is wrong with that
