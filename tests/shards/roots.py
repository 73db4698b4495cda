"""An index of made documents, with vectors that repeat, deleted documents and fresh ones; and roots of shards of it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

import searchapp

WORDS = "bee honey clover hive queen wax nectar swarm river stone bridge boat sail harbour light storm".split()
DIM = 16
DOCUMENTS = 240


def vectors(count: int, seed: int = 0) -> np.ndarray:
    """Vectors (count, DIM) of which every third stands several times."""
    drawn = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    drawn[::3] = drawn[np.arange(0, count, 3) % 30]
    return drawn


def documents(count: int, seed: int = 0, begin: int = 0) -> list[dict[str, object]]:
    """Documents ``d0`` on, of few words, with a year and a language."""
    chance = random.Random(seed)
    return [
        {
            "id": f"d{number}",
            "title": chance.choice(WORDS),
            "text": " ".join(chance.choice(WORDS) for _ in range(chance.randint(1, 12))),
            "metadata": {"year": 2000 + number % 9, "lang": ("en", "de", "fr")[number % 3]},
        }
        for number in range(begin, begin + count)
    ]


def made(path: Path, factory: str = "auto", pca: int | None = None) -> Path:
    """An index of them: some deleted, some added after it was built."""
    built = searchapp.build(
        documents(DOCUMENTS - 20), path, vectors=vectors(DOCUMENTS)[:-20], factory=factory, pca=pca, segment_size=50,
        progress=False,
    )  # fmt: skip
    built.add(documents(20, 5, DOCUMENTS - 20), vectors=vectors(DOCUMENTS)[-20:], fold=False, progress=False)
    built.delete([f"d{number}" for number in (*range(0, 60, 4), *range(100, 110), DOCUMENTS - 3)])
    return path
