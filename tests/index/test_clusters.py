"""FAISS writes nothing of its own while it trains; what it would have warned of is said of a user's factory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from searchapp.bench.vectors import Synthetic, array_blocks, index_of
from searchapp.index import reindex
from searchapp.index.ann.kmeans import undertrained_notes
from searchapp.index.ann.rules import AnnConfig
from searchapp.index.ann.train import train

ROWS, DIM = 600, 32
FACTORIES = (  # "np": without the annealing of codes that takes FAISS half a minute
    "IVF64,SQ8", "PQ8np", "PQ8x4fs", "IVF16,PQ8x4fs", "OPQ8_16,IVF16,PQ8np", "HNSW16,PQ8np", "HNSW8_2x4+PQ4",
    "HNSW8_32+PQ8", "RQ4x8", "PRQ2x2x8", "IVF16,RQ2x8", "PRQ2x2x4fs", "PQ8np,RFlat", "IVF64(IVF8,Flat),Flat",
    "PCA16,IVF16,Flat", "IVF16_HNSW8,RaBitQfs", "NSG16,PQ8np",
)  # fmt: skip


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, DIM)).astype(np.float32)


@pytest.mark.parametrize("factory", FACTORIES)
def test_faiss_is_silent_and_what_it_says_of_a_type_we_say(
    vectors: np.ndarray, factory: str, capfd: pytest.CaptureFixture[str]
) -> None:
    import faiss

    faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT).train(vectors)
    warned = capfd.readouterr().err
    least = {
        int(line.split("at least ")[1].split()[0])
        for line in warned.splitlines()
        if f"clustering {ROWS} points" in line
    }
    assert least, "FAISS warns of this one by itself"
    index = train(AnnConfig(factory, 0, {}), vectors)
    assert capfd.readouterr() == ("", "")
    said = undertrained_notes(factory, index, ROWS)
    for note in said:
        if "vectors a list" in note:
            assert any(f"is trained on {39 * ROWS // count} vectors a list" in note for count in least)
        else:
            assert any(f"on {ROWS} vectors; {count:,} and more are advised" in note for count in least)
    assert said


def test_a_build_says_it_in_its_notes_and_trials_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made = Synthetic(2_000, DIM, topics=9)
    index_of(tmp_path / "ix", array_blocks(np.concatenate([*made.blocks()])), DIM, made.queries(50))
    ann = reindex(tmp_path / "ix", factory="IVF128,SQ8").ann
    assert ann is not None
    assert "IVF128,SQ8 is trained on 15 vectors a list; 39 and more are advised" in ann.notes
    ann = reindex(tmp_path / "ix", factory="IVF16,SQ8").ann
    assert ann is not None and not any("advised" in note for note in ann.notes)
    monkeypatch.setattr("searchapp.index.ann.rules.EXACT_LIMIT", 0)
    monkeypatch.setattr("searchapp.index.ann.rules.TABLE", _eager())
    ann = reindex(tmp_path / "ix", factory="auto").ann
    assert ann is not None and not any("advised" in note for note in ann.notes)
    assert capfd.readouterr().err == ""


def _eager() -> tuple:
    """Rules whose lists are far too many for 2,000 rows."""
    from searchapp.index.ann.rules import TABLE, Rule

    return (TABLE[0], Rule("lists", "IVF256,SQ8", 1, 24, lists=4), Rule("codes", "IVF256,PQ8", 1, 24, lists=4))
