"""Checkpoints to embedders: loading, bidirectional attention, tokenization, pooling, fingerprint.

All names are imported when first touched: ``Encoder`` needs numpy, and what reads a constant of one module needs none
of the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchapp.encoder.encoder import Encoded, Encoder
    from searchapp.encoder.options import LoadOptions
    from searchapp.encoder.settings import Settings
    from searchapp.encoder.template import Template
    from searchapp.encoder.token_vectors import TokenVectors

__all__ = ["Encoded", "Encoder", "LoadOptions", "Settings", "Template", "TokenVectors"]
_MODULES = {
    "Encoded": "encoder", "Encoder": "encoder", "LoadOptions": "options", "Settings": "settings",
    "Template": "template", "TokenVectors": "token_vectors",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"searchapp.encoder.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'searchapp.encoder' has no attribute {name!r}")
