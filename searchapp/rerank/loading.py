"""From the name of a model to a reranker: what kind it is stands in its own configuration."""

from __future__ import annotations

from searchapp.encoder import Encoder
from searchapp.errors import ModelError
from searchapp.rerank.biencoder import BiEncoder
from searchapp.rerank.reranker import Reranker

KINDS = ("bi-encoder",)


def load_reranker(
    name: str, *, kind: str = "auto", instruction: str | None = None, device: str = "auto", dtype: str = "auto"
) -> Reranker:
    """Load a reranker from a checkpoint directory, a hub id, or ``bundled``."""
    if kind not in ("auto", *KINDS):
        raise ModelError(f"reranker kind {kind!r} is unknown; expected auto, {', '.join(KINDS)}")
    return BiEncoder(Encoder.load(name, device=device, dtype=dtype), instruction)
