"""Picks what runs a model, by the name that ``--backend`` has for it."""

from __future__ import annotations

from typing import Any

from searchapp.encoder.backend import Backend, TorchBackend
from searchapp.encoder.settings import Settings


def make_backend(backend: str, model: Any, tokenizer: Any, settings: Settings, dtype: str) -> Backend:
    """The backend of that name over a loaded model."""
    if backend == "torch":
        return TorchBackend(model, tokenizer, settings.pooling)
    from searchapp.encoder.openvino import OpenVinoBackend

    return OpenVinoBackend(model, tokenizer, settings, dtype)
