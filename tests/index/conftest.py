"""A tiny corpus on disk, and an encoder that needs no model where only the index is looked at."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from searchapp.encoder import Encoded, Settings


class HashEncoder:
    """Embeds a text as a unit vector drawn from its hash: deterministic, instant, and it counts its work."""

    dim = 16
    dtype, device, backend = "float32", "cpu", SimpleNamespace(name="torch")
    settings = Settings()
    reference = {"model": "hash", "adapters": []}
    document_reach, tokenizer_digest, instruction_origin = 400, "hash", ""

    def __init__(self, name: str = "hash") -> None:
        self.fingerprint = {part: name for part in ("sha256", "weights", "pooling")}
        self.encoded: list[str] = []

    def encode_counted(
        self, texts, instruction=None, normalize=True, *, batch_size=None, progress=None, dtype=np.float32
    ) -> Encoded:
        self.encoded += list(texts)
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") for text in texts]
        rows = np.stack([np.random.default_rng(seed).normal(size=self.dim) for seed in seeds]).astype(np.float32)
        return Encoded((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype), len(texts))

    def document_tokens(self, texts) -> np.ndarray:
        return np.array([len(text.split()) for text in texts], dtype=np.int64)

    def encode_queries(self, texts, instruction=None) -> np.ndarray:
        return HashEncoder().encode_counted(texts).vectors

    def vector(self, text: str) -> np.ndarray:
        return self.encode_counted([text]).vectors


@pytest.fixture
def hash_encoder() -> HashEncoder:
    return HashEncoder()


@pytest.fixture
def corpus(tmp_path: Path):
    """Write documents as JSONL and return the path."""

    def write(count: int = 50, name: str = "docs.jsonl", **fields) -> Path:
        path = tmp_path / name
        rows = [
            {"_id": f"d{i}", "title": f"title {i}", "text": f"text number {i}", "year": 2000 + i % 30,
             "lang": "en" if i % 3 else "de", **fields} for i in range(count)
        ]  # fmt: skip
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
        return path

    return write
