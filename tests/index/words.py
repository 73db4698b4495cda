"""Documents of words in topics, and an encoder that adds up the vectors of words: near texts have near vectors."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np

from searchapp.encoder import Encoded
from tests.index.conftest import HashEncoder

DIM = 64
SCALE = (np.arange(1, DIM + 1) ** -0.4).astype(np.float32)  # a spectrum that falls as that of real embeddings
OFFSET = 0.5 * np.random.default_rng(7).normal(size=DIM).astype(np.float32) * SCALE  # common to all words
TOPICS, OWN, COMMON = 60, 25, 300  # topics of so many words of their own, and words that any may have


class WordEncoder(HashEncoder):
    """The vector of a text is the sum of its words', each drawn from a hash; of length 1."""

    dim = DIM

    def encode_counted(self, texts, instruction=None, normalize=True, *, progress=None, dtype=np.float32, **_):
        self.encoded += list(texts)
        words = [word(name) for text in texts for name in text.split()]
        begins = np.cumsum([0, *(len(text.split()) for text in texts)][:-1])
        rows = np.add.reduceat(np.array(words), begins, axis=0)
        return Encoded((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype), len(words))

    def encode_queries(self, texts, instruction=None) -> np.ndarray:
        return WordEncoder().encode_counted(texts).vectors


@cache
def word(name: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return OFFSET + np.random.default_rng(seed).normal(size=DIM).astype(np.float32) * SCALE


def text_of(rng: np.random.Generator, words: int = 0) -> str:
    """A text on one of the topics; the first topics are the largest. ``words`` is how many, some 16 by default."""
    topic = min(int(rng.exponential(TOPICS / 4)), TOPICS - 1)
    own = rng.random(words or int(rng.integers(10, 24))) < 0.6
    names = np.where(own, rng.integers(0, OWN, len(own)), rng.integers(0, COMMON, len(own)))
    return " ".join(f"{f't{topic}' if mine else 'c'}-{name}" for mine, name in zip(own, names, strict=True))
