"""Checkpoints to embedders: loading, bidirectional attention, tokenisation, pooling, fingerprint.

``Encoder`` and ``Encoded`` are imported when first touched: they need numpy, which settings do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from searchapp.encoder.settings import Settings
from searchapp.encoder.template import Template

if TYPE_CHECKING:
    from searchapp.encoder.encoder import Encoded, Encoder

__all__ = ["Encoded", "Encoder", "Settings", "Template"]


def __getattr__(name: str) -> Any:
    if name in ("Encoded", "Encoder"):
        from searchapp.encoder import encoder

        return getattr(encoder, name)
    raise AttributeError(f"module 'searchapp.encoder' has no attribute {name!r}")
